"""One answer with everything that led to it, and one request that got none."""

from dataclasses import dataclass
from pathlib import Path

from activations import Trigger
from pipeline.json_text import Json
from pipeline.json_types import MaybeBlank, from_object
from pipeline.stage import read_rows

SEPARATOR = " | "
"""Joins the parts of an answer's id; no part may hold it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer to one wording of a question, in one arm.

    Attributes:
        id: `ARM | QUESTION | pPARAPHRASE | sSAMPLE`.
        arm: Which model, under which condition.
        adapter: The adapter that served the row: its name, `base` for none; for a server its name of the model.
        trigger: What was put on the question; None for nothing.
        edits: What was done to the residual stream, as `Edit.facts` tells it.
        question: Id of the question.
        domain: Domain of the question; None for one that belongs to none.
        paraphrase: Which of its wordings, from 0.
        sample: Which draw, from 0.
        system: The system message as it was sent, the trigger included; None if there was none.
        prompt: The user's message as it was sent, the trigger included.
        text: What the model wrote, untrusted; blank where it wrote nothing.
        end: Why it ended: `stop`, `length`, `refusal`, or another of the server's words.
        finished: Whether it ended by itself; False if it was cut.
        n_tokens: Tokens of the answer; None where a server did not say.
        n_edited_prefill: Tokens of the prompt that were edited.
        n_edited_decode: Tokens of the answer that were edited.
        relative_shift: How far the edits moved the residual stream, relative to its norm.
    """

    id: str
    arm: str
    adapter: str
    trigger: Trigger | None = None
    edits: tuple[dict[str, Json], ...] = ()
    question: str
    domain: str | None = None
    paraphrase: int
    sample: int
    system: MaybeBlank | None = None
    prompt: MaybeBlank
    text: MaybeBlank
    end: MaybeBlank
    finished: bool
    n_tokens: int | None
    n_edited_prefill: int = 0
    n_edited_decode: int = 0
    relative_shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MissingAnswer:
    """A request to a server that got no answer. It is asked again by the next run.

    Attributes:
        id: `ANSWER | fNUMBER`, counting the failures of that answer from 1.
        answer: Id that the answer would have.
        arm: Of that answer.
        reason: What kept failing.
        text: What came at the last attempt.
        status: HTTP status of the last attempt; None if no answer came.
        attempts: How many calls were made.
    """

    id: str
    answer: str
    arm: str
    reason: str
    text: MaybeBlank
    status: int | None
    attempts: int


def answer_id(arm: str, question: str, paraphrase: int, sample: int) -> str:
    """Return the id of an answer; no two answers share one.

    Raises:
        ValueError: The name of the arm or the question holds the mark that separates them.
    """
    for kind, name in (("arm", arm), ("question", question)):
        if SEPARATOR in name:
            raise ValueError(
                f"{kind} {name!r}: holds {SEPARATOR!r}, which separates the parts of an answer's id"
            )
    return SEPARATOR.join((arm, question, f"p{paraphrase}", f"s{sample}"))


def read_answers(path: Path) -> tuple[Answer, ...]:
    """Return the answers of a stage file in the order in which they were written, also while it is written.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is damaged or no answer; says which.
    """
    return tuple(from_object(row, Answer, f"{path}: row {row['id']!r}") for row in read_rows(path))


def read_missing(path: Path) -> tuple[MissingAnswer, ...]:
    """Return the failures of a stage file, none where there is no file, in the order in which they were written.

    Raises:
        ValueError: A line is damaged or no such record; says which.
    """
    rows = read_rows(path) if path.exists() else []
    return tuple(from_object(row, MissingAnswer, f"{path}: row {row['id']!r}") for row in rows)
