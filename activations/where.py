"""Say which tokens: one language for reading the residual stream and for writing to it.

A selector looks at a token row and flags tokens. While a model generates, each new token is judged when it
is processed, on the row as it then stands: `Last()` therefore means every new token, `Answer().first(4)`
the first four. Position 0 carries a huge activation in most models (an attention sink); `All` and `Prompt`
leave it out unless asked.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from activations.chat import ROLES
from activations.encode import TokenRow
from activations.selector import Where


@dataclass(frozen=True)
class All(Where):
    """Every token, but position 0 only with `sink=True`."""

    sink: bool = False

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        return [i > 0 or self.sink for i in range(len(row))]

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return True."""
        return True

    def __str__(self) -> str:
        """Return its name."""
        return "all+sink" if self.sink else "all"


@dataclass(frozen=True)
class Prompt(Where):
    """Every token before the answer, template tokens included, but position 0 only with `sink=True`."""

    sink: bool = False

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        return [i < row.n_prompt and (i > 0 or self.sink) for i in range(len(row))]

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return False."""
        return False

    def __str__(self) -> str:
        """Return its name."""
        return "prompt+sink" if self.sink else "prompt"


@dataclass(frozen=True)
class Answer(Where):
    """The content of the last message if it is the assistant's, and every generated token.

    With `lead=1` also the last prompt token, whose output predicts the answer's first token.
    """

    lead: int = 0

    def __post_init__(self) -> None:
        """Refuse a lead that means nothing."""
        if self.lead < 0:
            raise ValueError(f"where answer: got a lead of {self.lead}, need 0 or more")

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        flags = row.answer_flags()
        return [flag or row.n_prompt - self.lead <= i < row.n_prompt for i, flag in enumerate(flags)]

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return True."""
        return True

    def __str__(self) -> str:
        """Return its name."""
        return f"answer+lead{self.lead}" if self.lead else "answer"


@dataclass(frozen=True)
class Last(Where):
    """The last token of the row; while generating, each new token."""

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen token."""
        return [i == len(row) - 1 for i in range(len(row))]

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return True."""
        return True

    def __str__(self) -> str:
        """Return its name."""
        return "last"


@dataclass(frozen=True)
class Role(Where):
    """The contents of the messages of one role; `turn` picks one of them as an index does, None takes all."""

    role: str
    turn: int | None = None

    def __post_init__(self) -> None:
        """Refuse a role that no chat has."""
        if self.role not in ROLES:
            raise ValueError(f"where role: got {self.role!r}, expected one of {ROLES}")

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        spans = [(span.start, span.end) for span in row.spans if span.role == self.role]
        if self.turn is not None:
            spans = [spans[self.turn]] if -len(spans) <= self.turn < len(spans) else []
        return _any_of(row, spans)

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return whether the new token belongs to a chosen turn of the assistant."""
        if self.role != "assistant" or self.turn is None:
            return self.role == "assistant"
        return self.turn in (-1, sum(span.role == "assistant" for span in row.spans))

    def __str__(self) -> str:
        """Return its name."""
        return f"role:{self.role}" + ("" if self.turn is None else f"[{self.turn}]")


@dataclass(frozen=True)
class Text(Where):
    """Every token that covers a character of a phrase, wherever the phrase stands in the row."""

    phrase: str

    def __post_init__(self) -> None:
        """Refuse an empty phrase."""
        if not self.phrase:
            raise ValueError("where text: got an empty phrase, need at least one character")

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        starts = [match.start() for match in re.finditer(f"(?={re.escape(self.phrase)})", row.text)]
        return _any_of(row, [(start, start + len(self.phrase)) for start in starts])

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return False: what is being generated is not searched."""
        return False

    def __str__(self) -> str:
        """Return its name."""
        return f"text:{json.dumps(self.phrase, ensure_ascii=False)}"


@dataclass(frozen=True)
class From(Where):
    """Every token from a position on, counted from 0 at the row's first token."""

    position: int

    def __post_init__(self) -> None:
        """Refuse a position that no row has."""
        if self.position < 0:
            raise ValueError(f"where from: got position {self.position}, need 0 or more")

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        return [i >= self.position for i in range(len(row))]

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return whether the new token's position is reached."""
        return len(row) + index >= self.position

    def __str__(self) -> str:
        """Return its name."""
        return f"from:{self.position}"


def _any_of(row: TokenRow, spans: Sequence[tuple[int, int]]) -> list[bool]:
    flags = [row.overlapping(start, end) for start, end in spans]
    return [any(column) for column in zip(*flags, strict=True)] if flags else [False] * len(row)
