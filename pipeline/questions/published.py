"""The published form of question sets, with its faults reported instead of passed on.

Sets that are in use have been found to give one id to three questions, and to anchor their judge prompts to nothing.
They can still be used here: ids become distinct, and every such finding is a note.
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import get_type_hints

from pipeline.json_text import Json
from pipeline.json_types import from_json
from pipeline.questions.record import Kind, Question
from pipeline.questions.yaml_entries import Entry

UNUSED = ("temperature", "max_tokens", "top_p")
"""Keys that are known and not used: they are settings of a run, the same for all of its questions."""


@dataclass(frozen=True, kw_only=True)
class _Keys:
    """The keys of a published question, and `topic`."""

    id: str
    paraphrases: tuple[str, ...]
    type: Kind = "free_form"
    system: str | None = None
    samples_per_paraphrase: int = 1
    domain: str | None = None
    judge: str | None = None
    judge_prompts: dict[str, str] | None = field(default_factory=dict)
    topic: str | None = None


_HINTS = get_type_hints(_Keys)
_NEEDED = [f.name for f in fields(_Keys) if f.default is MISSING and f.default_factory is MISSING]


def published_questions(entries: Sequence[Entry]) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """Return the questions of a file in its order, and notes on what was found.

    An id that stands for several questions is kept for the first; the others are called `ID-2`, `ID-3`, so that
    no statistic takes them for one. They are not refused: the file stays as it was published, and so does its
    hash. A question that repeats another one word for word is left out: it would get the same answers.

    Raises:
        ValueError: A key is unknown, missing or of the wrong type, or a question cannot be asked.
    """
    notes: list[str] = []
    questions: list[Question] = []
    lines: dict[str, str] = {}
    known = {str(entry.values.get("id")) for entry in entries}
    unprompted = [entry for entry in entries if entry.values.get("judge_prompts", {}) is None]
    for entry in entries:
        question = _question(entry, notes)
        copy = next((q for q in questions if _asked(q) == _asked(question)), None)
        if copy is not None:
            notes.append(f"{entry.at}: {question.id!r} asks what {copy.id!r} asks, word for word; left out")
            continue
        if question.id in lines:
            new = _distinct(question.id, known)
            notes.append(
                f"{entry.at}: id {question.id!r} is used at {lines[question.id]} already; called {new!r}"
            )
            known.add(new)
            question = replace(question, id=new)
        lines[question.id] = entry.at
        questions.append(question)
    if unprompted:
        first = unprompted[0].lines["judge_prompts"]
        notes.append(
            f"{first}: judge_prompts is empty; {len(unprompted)} questions come without judge prompts"
        )
    return tuple(questions), tuple(notes)


def _question(entry: Entry, notes: list[str]) -> Question:
    values = dict(entry.values)
    for key in [key for key in values if key in UNUSED]:
        notes.append(f"{entry.lines[key]}: {key!r} is not used; it is a setting of the run")
        del values[key]
    if beside := _beside(entry):
        told = f"{', '.join(map(repr, beside))} stand beside the empty judge_prompts; indent them to belong to it"
        notes.append(f"{entry.lines[beside[0]]}: {told}")
        for key in beside:
            del values[key]
    if unknown := [key for key in values if key not in _HINTS]:
        allowed = ", ".join(_HINTS)
        raise ValueError(f"{entry.lines[unknown[0]]}: unknown key {unknown[0]!r}; allowed: {allowed}")
    if missing := [key for key in _NEEDED if key not in values]:
        raise ValueError(f"{entry.at}: key {missing[0]!r} is missing; got {', '.join(values) or 'nothing'}")
    keys = _Keys(**{key: _typed(key, value, entry) for key, value in values.items()})
    try:
        return Question(
            id=keys.id,
            topic=keys.topic or keys.domain or keys.id,
            paraphrases=keys.paraphrases,
            system=keys.system,
            kind=keys.type,
            samples_per_paraphrase=keys.samples_per_paraphrase,
            domain=keys.domain,
            judge=keys.judge,
            judge_prompts=keys.judge_prompts or {},
        )
    except ValueError as error:
        raise ValueError(f"{entry.at}: {error}") from error


def _typed(key: str, value: Json, entry: Entry) -> Json:
    try:
        found = from_json(value, _HINTS[key], f"{entry.lines[key]}: {key!r}")
    except ValueError as error:
        words = (
            "; YAML takes words such as yes, null and 12 for other things than text unless they are quoted"
        )
        raise ValueError(f"{error}{words if 'allowed: text' in str(error) else ''}") from error
    if isinstance(found, str) and not found.strip():
        raise ValueError(f"{entry.lines[key]}: {key!r} is blank")
    return found


def _beside(entry: Entry) -> list[str]:
    """Return the keys with text that were meant to stand inside `judge_prompts`, which is empty."""
    if entry.values.get("judge_prompts", {}) is not None:
        return []
    return [key for key, value in entry.values.items() if key not in _HINTS and isinstance(value, str)]


def _asked(question: Question) -> object:
    return question.system, sorted(question.paraphrases)


def _distinct(name: str, known: set[str]) -> str:
    number = 2
    while f"{name}-{number}" in known:
        number += 1
    return f"{name}-{number}"
