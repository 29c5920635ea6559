"""Small algebra for grids: `(layers(8, 12) * coefficients(1, 2) * [sea, *controls]).adding()`.

A grid is the product of its axes, each named once and in any order. Cells come in the order direction,
layers, coefficient, adapter, trigger, seed, whatever the order of the product.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from math import inf
from typing import TypeVar

from activations import HookPoint, Trigger, Where
from steering.adapters import ACTIVE
from steering.cells import Cell
from steering.direction import Direction
from steering.edits import Edit, Number, Unit, add, project_out

Value = TypeVar("Value")
Place = tuple[HookPoint | int, ...]
"""Hook points that are edited together; a bare layer means the direction's only point there."""

Operation = Callable[[Direction, Place, Number], Edit]
"""Makes a cell's edit from its direction, its hook points and its coefficient."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The axes of a grid that are known so far; multiply to join more, then call `adding` or `cells`.

    Attributes:
        places: Hook points, or groups of them that are edited together.
        coefficients: One number for each cell along this axis.
        directions: Real ones and controls alike; names must differ.
        adapters: PEFT adapters, as in `Cell`.
        triggers: What is put on the prompts; None leaves them as they stand.
        seeds: Of the random numbers; None takes that of `Sampling`.
    """

    places: tuple[Place, ...] = ()
    coefficients: tuple[Number, ...] = ()
    directions: tuple[Direction, ...] = ()
    adapters: tuple[str, ...] = ()
    triggers: tuple[Trigger | None, ...] = ()
    seeds: tuple[int | None, ...] = ()

    def __mul__(self, other: "Grid | Direction | Iterable[Direction]") -> "Grid":
        """Return the product of the axes of both; a direction, or several, are an axis."""
        if not isinstance(other, Grid):
            other = directions(*([other] if isinstance(other, Direction) else other))
        axes = [axis.name for axis in fields(self)]
        new = {axis: getattr(other, axis) for axis in axes if getattr(other, axis)}
        if twice := [axis for axis in new if getattr(self, axis)]:
            raise ValueError(
                f"grid: {' and '.join(twice)} named twice; give each axis once, with all its values"
            )
        return replace(self, **new)

    def __len__(self) -> int:
        """Return the number of cells."""
        n_served = sum(1 for _ in self._served(""))
        return n_served * sum(1 for _ in self._edits()) if self._has_edits else n_served

    def adding(
        self,
        *,
        unit: Unit = "residual",
        where: Where | None = None,
        gate: tuple[Number, Number] = (-inf, inf),
    ) -> tuple[Cell, ...]:
        """Return a cell for each combination, adding its coefficient times its direction; see `edits.add`."""
        return self.cells(lambda d, place, c: add(d, c, points=place, unit=unit, where=where, gate=gate))

    def removing(self, *, where: Where | None = None) -> tuple[Cell, ...]:
        """Return a cell for each combination, projecting out the share that is its coefficient; 1 for all."""
        return self.cells(lambda d, place, share: project_out(d, share=share, points=place, where=where))

    def cells(self, operation: Operation) -> tuple[Cell, ...]:
        """Return a cell for each combination, with the edit that `operation` makes of it.

        Names are made from the values of the axes, e.g. `sea @ blocks.8.hook_resid_post x 2`.
        """
        return tuple(
            replace(cell, name=_edit_name(*edit) + cell.name, edits=(operation(*edit),))
            for edit in self._edits()
            for cell in self._served("")
        )

    def unedited(self) -> tuple[Cell, ...]:
        """Return a cell without edits for each adapter, trigger and seed."""
        if self._has_edits:
            raise ValueError("grid: has layers, coefficients or directions; use adding, removing or cells")
        return tuple(self._served("unedited"))

    @property
    def _has_edits(self) -> bool:
        return bool(self.directions or self.places or self.coefficients)

    def _edits(self) -> Iterator[tuple[Direction, Place, Number]]:
        if not self.directions:
            raise ValueError("grid: has no directions; multiply by one, or by a list of them")
        for direction in self.directions:
            yield from product(
                [direction], self.places or ((*direction.points,),), self.coefficients or (1.0,)
            )

    def _served(self, name: str) -> Iterator[Cell]:
        axes = (self.adapters or (ACTIVE,), self.triggers or (None,), self.seeds or (None,))
        for adapter, trigger, seed in product(*axes):
            served = "" if adapter == ACTIVE else f" on {adapter}"
            served += "" if trigger is None else f" with {trigger.phrase!r} as {trigger.place}"
            served += "" if seed is None else f", seed {seed}"
            yield Cell(name=name + served, adapter=adapter, trigger=trigger, seed=seed)


def layers(*places: HookPoint | int | Sequence[HookPoint | int]) -> Grid:
    """Return the axis of these places; a list of hook points is one place, edited together.

    Without this axis every cell edits at all of its direction's points.
    """
    single = (HookPoint, int)
    return Grid(places=tuple((p,) if isinstance(p, single) else tuple(p) for p in _some("layers", places)))


def coefficients(*values: Number) -> Grid:
    """Return the axis of these coefficients; without it there is one, 1."""
    return Grid(coefficients=_some("coefficients", values))


def directions(*values: Direction) -> Grid:
    """Return the axis of these directions."""
    return Grid(directions=_some("directions", values))


def served_by(*adapters: str) -> Grid:
    """Return the axis of these PEFT adapters, `base` for none; without it the active ones serve."""
    return Grid(adapters=_some("adapters", adapters))


def triggers(*values: Trigger | None) -> Grid:
    """Return the axis of these triggers, None for no trigger; without it there is none."""
    return Grid(triggers=_some("triggers", values))


def seeds(*values: int) -> Grid:
    """Return the axis of these seeds; without it every cell draws as `Sampling` says."""
    return Grid(seeds=_some("seeds", values))


def additions(
    directions: Iterable[Direction],
    points: Sequence[HookPoint | int],
    coefficients: Sequence[Number],
    *,
    unit: Unit = "residual",
    where: Where | None = None,
) -> tuple[Cell, ...]:
    """Return a cell for each direction, hook point and coefficient, nested so, each adding at one point."""
    grid = Grid(
        places=tuple((point,) for point in _some("points", tuple(points))),
        coefficients=_some("coefficients", tuple(coefficients)),
        directions=_some("directions", tuple(directions)),
    )
    return grid.adding(unit=unit, where=where)


def _some(name: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
    if not values:
        raise ValueError(f"{name}: got none, need at least one")
    return values


def _edit_name(direction: Direction, place: Place, coefficient: Number) -> str:
    points = direction.select(place).points
    where = str(points[0]) if len(points) == 1 else f"{len(points)} points from {points[0]} to {points[-1]}"
    return f"{direction.name} @ {where} x {coefficient:g}"
