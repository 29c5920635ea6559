"""Conditions and small algebra for grids of them: every layer, times every coefficient, times every direction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from activations import HookPoint, SubjectFacts, Where
from steering.adapters import ACTIVE
from steering.direction import Direction
from steering.edits import Edit, Unit, add


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One condition: a name that is unique in its grid, and the edits that make it; none for the untouched model.

    Attributes:
        name: Identifies the condition in files; unique within a grid.
        edits: What is done, in this order.
        adapter: Which PEFT adapter serves the row: its name, `base` for none, `active` for those active in the model.
    """

    name: str
    edits: tuple[Edit, ...] = ()
    adapter: str = ACTIVE

    @property
    def idle(self) -> bool:
        """Whether no edit changes anything."""
        return all(edit.idle for edit in self.edits)

    @property
    def start(self) -> int | None:
        """The last block that runs before anything is edited; -1 where the input of block 0 is; None if nothing is."""
        points = [point for edit in self.edits if not edit.idle for point in edit.points]
        return min((point.layer - (point.site == "resid_pre") for point in points), default=None)

    def facts(self) -> dict[str, Any]:
        """Return the condition as JSON can hold it."""
        return {"name": self.name, "adapter": self.adapter, "edits": [edit.facts() for edit in self.edits]}


UNEDITED = Cell(name="base")
"""The untouched model."""


def additions(
    directions: Iterable[Direction],
    points: Sequence[HookPoint | int],
    coefficients: Sequence[float],
    *,
    unit: Unit = "residual",
    where: Where | None = None,
) -> tuple[Cell, ...]:
    """Return a cell for each direction, hook point and coefficient, in this nesting, each adding at one point."""
    cells = []
    for direction in directions:
        for point in direction.select(points).points:
            for coefficient in coefficients:
                edit = add(direction, coefficient, points=[point], unit=unit, where=where)
                cells.append(Cell(name=f"{direction.name} @ {point} x {coefficient:g}", edits=(edit,)))
    return tuple(cells)


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
