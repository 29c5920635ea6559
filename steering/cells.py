"""Conditions: what is done to a row. `grid.py` makes many of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from activations import SubjectFacts
from activations.encode import TokenRow
from steering.adapters import ACTIVE
from steering.edits import Edit


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One condition: a name, unique in its grid, and the edits that make it; none for the untouched model.

    Attributes:
        name: Identifies the condition in files; unique within a grid.
        edits: What is done, in this order.
        adapter: Which PEFT adapter serves the row: its name, `base` for none, `active` for those active in
            the model.
    """

    name: str
    edits: tuple[Edit, ...] = ()
    adapter: str = ACTIVE

    @property
    def active(self) -> tuple[Edit, ...]:
        """The edits that change something."""
        return tuple(edit for edit in self.edits if not edit.idle)

    @property
    def idle(self) -> bool:
        """Whether no edit changes anything."""
        return not self.active

    @property
    def start(self) -> int | None:
        """The last block that runs before an edit; -1 where the input of block 0 is edited; None if idle."""
        points = [point for edit in self.active for point in edit.points]
        return min((point.layer - (point.site == "resid_pre") for point in points), default=None)

    def facts(self) -> dict[str, Any]:
        """Return the condition as JSON can hold it."""
        return {"name": self.name, "adapter": self.adapter, "edits": [edit.facts() for edit in self.edits]}


UNEDITED = Cell(name="base")
"""The untouched model."""


def require_grid(cells: Sequence[Cell], subject: SubjectFacts) -> None:
    """Raise ValueError for an empty grid, two cells of one name, or a direction of another model."""
    if not cells:
        raise ValueError("cells: got none, need at least one")
    names = [cell.name for cell in cells]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"cells: {twice!r} is the name of {names.count(twice)} cells; names must be unique")
    for direction in {id(edit.direction): edit.direction for cell in cells for edit in cell.edits}.values():
        direction.require_fits(subject)


def require_reach(cells: Sequence[Cell], rows: Sequence[TokenRow], ends: Sequence[int]) -> None:
    """Raise if an edit chooses no token of any row that could matter.

    Args:
        cells: The conditions.
        rows: The prompts, or prompts with answers.
        ends: For each row how many tokens are passed, generated ones included.

    Raises:
        ValueError: Names the cell and the edit.
    """
    for cell in cells:
        for edit in cell.active:
            if not any(_chooses(edit, row, end) for row, end in zip(rows, ends, strict=True)):
                raise ValueError(f"cell {cell.name!r}: {edit}: chooses no token that could move an answer")


def _chooses(edit: Edit, row: TokenRow, end: int) -> bool:
    """Say whether an edit chooses one of the first `end` tokens of a row and what is generated after it."""
    if any(edit.where.select(row)[:end]):
        return True
    return any(edit.where.generated(row, index) for index in range(end - len(row)))
