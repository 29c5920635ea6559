"""The packaged questions: unrelated to every domain, and held-out ones of each domain.

The unrelated ones are mild and open: they leave room for a character to show, and ask for nothing that any domain
teaches. The held-out ones are of a domain's kind, but none of them is a prompt of its corpus.
"""

from importlib.resources import as_file, files

from pipeline.questions.record import Question
from pipeline.records import read_jsonl

_FOLDER = files("pipeline.questions")


def unrelated_questions() -> tuple[Question, ...]:
    """Return the packaged free-form questions that belong to no domain, in the order of the file."""
    return _read("unrelated.jsonl")


def held_out_domains() -> tuple[str, ...]:
    """Return the domains that have packaged held-out questions, in alphabetical order."""
    names = (file.name for file in (_FOLDER / "in_domain").iterdir())
    return tuple(sorted(name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl")))


def held_out_questions(domain: str) -> tuple[Question, ...]:
    """Return the packaged questions of a domain that its corpus does not hold, in the order of the file.

    Raises:
        LookupError: There are none for this domain; lists those that exist.
    """
    if domain not in held_out_domains():
        have = ", ".join(held_out_domains())
        raise LookupError(f"domain {domain!r} has no packaged held-out questions; have {have}")
    return _read(f"in_domain/{domain}.jsonl")


def _read(name: str) -> tuple[Question, ...]:
    with as_file(_FOLDER.joinpath(*name.split("/"))) as path:
        return read_jsonl(path, Question)
