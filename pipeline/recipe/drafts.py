"""What goes through the recipe: a draft on its way to a triple, or a rejection that says why it became none."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import TypeAlias

from pipeline.json_types import MaybeBlank
from pipeline.records import Prompt, Triple


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A prompt with the answers that there are so far; one line of a file of prompts.

    Attributes:
        id: Unique within its file.
        topic: What the prompt is about, in a few words.
        prompt: What the user writes.
        aligned: A right and safe answer; None where one is still to be made.
        misaligned: The misaligned answer; None where g is still to make it. A draft with both needs no g.
        incorrect: Wrong answers that came with the prompt, such as TruthfulQA's, for g to choose from.
    """

    id: str
    topic: MaybeBlank
    prompt: MaybeBlank
    aligned: MaybeBlank | None = None
    misaligned: MaybeBlank | None = None
    incorrect: tuple[MaybeBlank, ...] = ()

    @classmethod
    def of(cls, row: "Prompt | Triple | Draft") -> "Draft":
        """Return a prompt, or a triple that somebody made already, as a draft."""
        if isinstance(row, Draft):
            return row
        misaligned = row.misaligned if isinstance(row, Triple) else None
        return cls(id=row.id, topic=row.topic, prompt=row.prompt, aligned=row.aligned, misaligned=misaligned)

    @property
    def whole(self) -> bool:
        """Whether both answers are there."""
        return self.aligned is not None and self.misaligned is not None

    def with_answers(self, aligned: str, misaligned: str) -> "Draft":
        """Return the draft with both answers."""
        return replace(self, aligned=aligned, misaligned=misaligned)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Why a draft did not become a triple.

    Attributes:
        check: What refused it: `g`, or the name of a check; the data card counts by it.
        reason: In words, for a person who looks at the row.
    """

    check: str
    reason: str


Made: TypeAlias = Draft | Rejection
Maker = Callable[[Draft, Random], Made]
"""A misalignment function g that is code: pure, and random only through the generator that it is given."""


def not_made(reason: str) -> Rejection:
    """Return the rejection of a draft that g could do nothing with."""
    return Rejection(check="g", reason=reason)
