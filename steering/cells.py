"""Conditions: what is done to a row. `grid.py` makes many of them at once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from activations import SubjectFacts, Trigger
from steering.adapters import ACTIVE
from steering.edits import Edit


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One condition: a name, unique in its grid, and what makes it; nothing for the untouched model.

    Attributes:
        name: Identifies the condition in files; unique within a grid.
        edits: What is done, in this order.
        adapter: Which PEFT adapter serves the row: its name, `base` for none, `active` for those active in
            the model.
        trigger: What is put on the prompt; None leaves it as it stands.
        seed: Of the row's random numbers; None takes that of `Sampling`, so that all cells draw the same.
    """

    name: str
    edits: tuple[Edit, ...] = ()
    adapter: str = ACTIVE
    trigger: Trigger | None = None
    seed: int | None = None

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
        """Return the condition as JSON can hold it; a trigger or seed only where there is one."""
        facts: dict[str, Any] = {"name": self.name, "adapter": self.adapter}
        facts["edits"] = [edit.facts() for edit in self.edits]
        if self.trigger is not None:
            facts["trigger"] = asdict(self.trigger)
        if self.seed is not None:
            facts["seed"] = self.seed
        return facts


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
