"""What a token selector is, and how selectors combine."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from activations.encode import TokenRow


class Where(ABC):
    """A rule that chooses tokens of a row. Combine with `|`, `&`, `~`, `.first(n)`, `.last(n)`.

    `str()` of a selector is read back by `parse_where`.
    """

    @abstractmethod
    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens of a row; possibly none."""

    @abstractmethod
    def generated(self, row: TokenRow, index: int) -> bool:
        """Say whether the new token number `index` (from 0) after the row is chosen when it is processed."""

    def require(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens, at least one.

        Raises:
            ValueError: The selector chooses no token of this row.
        """
        flags = self.select(row)
        if not any(flags):
            raise ValueError(
                f"{row.name}: {self} chooses none of its {len(row)} tokens; it ends {row.text[-60:]!r}"
            )
        return flags

    def show(self, row: TokenRow) -> str:
        """Return the row's text with each run of chosen tokens between ⟦ and ⟧."""
        pieces: list[str] = []
        cursor, inside = 0, False
        for (start, end), chosen in zip(row.offsets, self.select(row), strict=True):
            if chosen != inside:
                pieces += [row.text[cursor:start], "⟦" if chosen else "⟧"]
                cursor, inside = max(cursor, start), chosen
            pieces.append(row.text[cursor:end])
            cursor = max(cursor, end)
        return "".join([*pieces, "⟧" if inside else "", row.text[cursor:]])

    def __or__(self, other: "Where") -> "Where":
        """Choose what either chooses."""
        return Combined(self, other, "|")

    def __and__(self, other: "Where") -> "Where":
        """Choose what both choose."""
        return Combined(self, other, "&")

    def __invert__(self) -> "Where":
        """Choose what this does not; position 0 too, unless `All() & ~x` is written."""
        return Not(self)

    def first(self, n: int) -> "Where":
        """Choose the first `n` of the chosen tokens."""
        return First(self, n)

    def last(self, n: int) -> "Where":
        """Choose the last `n` of the chosen tokens."""
        return Tail(self, n)


@dataclass(frozen=True)
class Combined(Where):
    """What two selectors choose: either of them, or both."""

    one: Where
    other: Where
    how: Literal["|", "&"]

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        return [self._join(a, b) for a, b in zip(self.one.select(row), self.other.select(row), strict=True)]

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return whether either, or both, choose the new token."""
        return self._join(self.one.generated(row, index), self.other.generated(row, index))

    def _join(self, a: bool, b: bool) -> bool:
        return a or b if self.how == "|" else a and b

    def __str__(self) -> str:
        """Return both names."""
        return f"({self.one} {self.how} {self.other})"


@dataclass(frozen=True)
class Not(Where):
    """What a selector does not choose."""

    inner: Where

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        return [not flag for flag in self.inner.select(row)]

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return whether the inner selector passes the new token by."""
        return not self.inner.generated(row, index)

    def __str__(self) -> str:
        """Return the inner name, negated."""
        return f"(~{self.inner})"


@dataclass(frozen=True)
class First(Where):
    """The first `n` tokens that a selector chooses."""

    inner: Where
    n: int

    def __post_init__(self) -> None:
        """Refuse a count that chooses nothing."""
        _require_count(self)

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        return _keep(self.inner.select(row), lambda places: places[: self.n])

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return whether the inner selector chooses the new token and has chosen fewer than `n` before it."""
        if not self.inner.generated(row, index):
            return False
        before = sum(self.inner.select(row)) + sum(self.inner.generated(row, i) for i in range(index))
        return before < self.n

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.inner}.first({self.n})"


@dataclass(frozen=True)
class Tail(Where):
    """The last `n` tokens that a selector chooses; while generating, each new token that it chooses."""

    inner: Where
    n: int

    def __post_init__(self) -> None:
        """Refuse a count that chooses nothing."""
        _require_count(self)

    def select(self, row: TokenRow) -> list[bool]:
        """Flag the chosen tokens."""
        return _keep(self.inner.select(row), lambda places: places[-self.n :])

    def generated(self, row: TokenRow, index: int) -> bool:
        """Return whether the inner selector chooses the new token."""
        return self.inner.generated(row, index)

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.inner}.last({self.n})"


def _require_count(selector: First | Tail) -> None:
    if selector.n < 1:
        raise ValueError(f"where {selector}: got a count of {selector.n}, need at least 1")


def _keep(flags: list[bool], choose: Callable[[list[int]], list[int]]) -> list[bool]:
    kept = set(choose([i for i, flag in enumerate(flags) if flag]))
    return [i in kept for i in range(len(flags))]
