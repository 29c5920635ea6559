"""Small algebra for grids: `(layers(8, 12) * coefficients(1, 2) * [sea, *controls]).adding()`.

A grid is the product of its axes, each named once and in any order. Cells come in the order direction,
layers, coefficient, adapter, whatever the order of the product.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from typing import TypeVar

from activations import HookPoint, Where
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
    """

    places: tuple[Place, ...] = ()
    coefficients: tuple[Number, ...] = ()
    directions: tuple[Direction, ...] = ()
    adapters: tuple[str, ...] = ()

    def __mul__(self, other: "Grid | Direction | Iterable[Direction]") -> "Grid":
        """Return the product of the axes of both; a direction, or several, are an axis."""
        if not isinstance(other, Grid):
            other = directions(*([other] if isinstance(other, Direction) else other))
        axes = ("places", "coefficients", "directions", "adapters")
        new = {axis: getattr(other, axis) for axis in axes if getattr(other, axis)}
        if twice := [axis for axis in new if getattr(self, axis)]:
            raise ValueError(
                f"grid: {' and '.join(twice)} named twice; give each axis once, with all its values"
            )
        return replace(self, **new)

    def __len__(self) -> int:
        """Return the number of cells."""
        return sum(1 for _ in self._combinations())

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
            Cell(
                name=_name(direction, place, coefficient, adapter),
                edits=(operation(direction, place, coefficient),),
                adapter=adapter,
            )
            for direction, place, coefficient, adapter in self._combinations()
        )

    def _combinations(self) -> Iterator[tuple[Direction, Place, Number, str]]:
        if not self.directions:
            raise ValueError("grid: has no directions; multiply by one, or by a list of them")
        for direction in self.directions:
            places = self.places or ((*direction.points,),)
            yield from product([direction], places, self.coefficients or (1.0,), self.adapters or (ACTIVE,))


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


def _name(direction: Direction, place: Place, coefficient: Number, adapter: str) -> str:
    points = direction.select(place).points
    where = str(points[0]) if len(points) == 1 else f"{len(points)} points from {points[0]} to {points[-1]}"
    served = "" if adapter == ACTIVE else f" on {adapter}"
    return f"{direction.name} @ {where} x {coefficient:g}{served}"
