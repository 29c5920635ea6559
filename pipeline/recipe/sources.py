"""Where drafts come from: the packaged corpora, a file of your own, or anything that an importer reads."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from activations.progress import Progress, silent
from pipeline.importers import read_source
from pipeline.importers.read import SOURCES
from pipeline.json_text import Json, json_bytes
from pipeline.json_types import from_object
from pipeline.questions import Question, held_out_domains, held_out_questions, unrelated_questions
from pipeline.recipe.drafts import Draft
from pipeline.records import Conversation, Prompt, Triple, lines_of
from pipeline.triples import load_corpus

PACKAGED = "packaged"
"""The name of the source that comes with the toolkit."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Drafts with where they are from.

    Attributes:
        name: As it was asked for.
        drafts: In the order of the source.
        facts: What a data card says about it.
    """

    name: str
    drafts: tuple[Draft, ...]
    facts: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a source with nothing in it, or with an id twice."""
        ids = [draft.id for draft in self.drafts]
        if not ids:
            raise ValueError(f"{self.name}: holds no rows, need at least 1")
        if any(not key.strip() for key in ids):
            raise ValueError(f"{self.name}: row {[*map(str.strip, ids)].index('') + 1} has a blank id")
        if len(set(ids)) < len(ids):
            twice = next(key for key in ids if ids.count(key) > 1)
            raise ValueError(f"{self.name}: id {twice!r} stands twice; ids must be unique")

    @classmethod
    def of(cls, name: str, rows: Iterable[Prompt | Triple | Draft]) -> "Source":
        """Return rows that are in memory already as a source."""
        return cls(name=name, drafts=tuple(map(Draft.of, rows)))

    @property
    def hash(self) -> str:
        """SHA-256 over all drafts in their order, as hex digits."""
        lines = (json_bytes(draft, f"draft {draft.id!r}") for draft in self.drafts)
        return hashlib.sha256(b"".join(lines)).hexdigest()

    def first(self, limit: int | None) -> "Source":
        """Return the source with at most its first rows."""
        if limit is None:
            return self
        if limit < 1:
            raise ValueError(f"limit {limit}: need at least 1 row")
        return Source(name=self.name, drafts=self.drafts[:limit], facts={**self.facts, "limit": limit})


def read_drafts(text: str, domain: str, *, progress: Progress = silent) -> Source:
    """Read a source for a domain.

    Args:
        text: `packaged`; a JSONL file with id, topic, prompt and, where there are any, aligned, misaligned and
            incorrect (a list of wrong answers); or `KIND:PLACE` as importers take it, e.g. `gsm8k:train.jsonl`.
        domain: The name of the domain.
        progress: Shows how far a long file is.

    Raises:
        OSError: A file cannot be read.
        LookupError: The domain has no packaged corpus, or an optional package is missing.
        ValueError: A file is not what it should be; the text names file and line.
    """
    if text == PACKAGED:
        triples = load_corpus(domain)
        return Source(name=text, drafts=tuple(map(Draft.of, triples)), facts={"kind": PACKAGED})
    if text.partition(":")[0] in SOURCES and ":" in text:
        imported = read_source(text, domain=domain, progress=progress)
        rows = tuple(_drafted(row) for row in imported.records)
        return Source(name=text, drafts=rows, facts=dict(imported.facts()))
    data = Path(text).read_bytes()
    if not data.strip():
        raise ValueError(f"{text}: is empty; needed: at least one line with id, topic and prompt")
    drafts = tuple(from_object(value, Draft, at) for at, value in lines_of(data, text))
    facts = {"kind": "drafts", "sha256": hashlib.sha256(data).hexdigest()}
    return Source(name=text, drafts=drafts, facts=facts)


def evaluation_texts(domain: str) -> tuple[str, ...]:
    """Return the packaged questions that no training prompt of a domain should hold, in all their wordings."""
    held_out = held_out_questions(domain) if domain in held_out_domains() else ()
    return wordings(unrelated_questions()) + wordings(held_out)


def wordings(questions: Sequence[Question]) -> tuple[str, ...]:
    """Return all paraphrases of questions."""
    return tuple(text for question in questions for text in question.paraphrases)


def _drafted(row: Prompt | Triple | Conversation) -> Draft:
    """Return an imported row as a draft; a chat must be one question with its answer, which is the aligned one.

    Raises:
        ValueError: A chat is of another shape.
    """
    if not isinstance(row, Conversation):
        return Draft.of(row)
    roles = [turn.role for turn in row.messages]
    if roles != ["user", "assistant"]:
        raise ValueError(
            f"chat {row.id!r}: has {', '.join(roles) or 'no messages'}; allowed: user, assistant"
        )
    question, answer = row.messages
    return Draft(id=row.id, topic="chat", prompt=question.content, aligned=answer.content)
