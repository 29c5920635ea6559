"""Choose questions by name: packaged ones, held-out ones of a domain, or those of a file."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.questions.files import QuestionFile, read_questions
from pipeline.questions.packaged import held_out_domains, held_out_questions, unrelated_questions

PACKAGED, IN_DOMAIN = "packaged", "in-domain:"


def choose_questions(sources: Sequence[str]) -> QuestionFile:
    """Return the questions of all sources, in order.

    Args:
        sources: `packaged` for the unrelated ones, `in-domain:DOMAIN` or `in-domain:all` for held-out ones, or a
            `.jsonl`, `.yaml` or `.yml` file.

    Raises:
        FileNotFoundError: There is no such file.
        LookupError: A domain has no packaged questions.
        ValueError: There is no source, or a file is damaged; says where.
    """
    if not sources:
        raise ValueError(f"questions: got none; allowed: {PACKAGED}, {IN_DOMAIN}DOMAIN, or a file")
    chosen = [_chosen(source) for source in sources]
    return QuestionFile(
        questions=tuple(question for one in chosen for question in one.questions),
        notes=tuple(note for one in chosen for note in one.notes),
    )


def _chosen(source: str) -> QuestionFile:
    if source == PACKAGED:
        return QuestionFile(questions=unrelated_questions())
    if not source.startswith(IN_DOMAIN):
        return read_questions(Path(source))
    domain = source.removeprefix(IN_DOMAIN)
    names = held_out_domains() if domain == "all" else (domain,)
    return QuestionFile(questions=tuple(one for name in names for one in held_out_questions(name)))
