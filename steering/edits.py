"""What can be done to the residual stream: add a direction, project it out, clamp the projection, mirror it.

An edit is a record; `rows.py` carries it out. All operators move a token along one unit vector, so rows with
different operators, directions and strengths can be moved together.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from activations import All, HookPoint, Where
from activations.encode import TokenRow
from steering.direction import Direction

Unit = Literal["raw", "residual", "direction"]
"""Of a coefficient: residual-stream units; multiples of the typical residual norm; or of the vector."""

Number = float | int

Operator = Literal["add", "project_out", "clamp", "mirror"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """One operation along one direction, at one or more hook points, on chosen tokens.

    Use `add`, `project_out`, `clamp` or `mirror` to make one.

    Attributes:
        operator: What is done.
        direction: Along which vector, one for each point.
        points: Where in depth.
        where: Which tokens.
        coefficient: For `add` the length of the step in `unit`; for `project_out` the share that is removed.
        unit: Of the coefficient and of `low` and `high`.
        low: For `clamp`: smallest projection let through.
        high: For `clamp`: largest projection let through.
        gate: Touch only tokens whose projection on the unit vector, in `unit`, lies within these bounds just
            before the edit.
    """

    operator: Operator
    direction: Direction
    points: tuple[HookPoint, ...]
    where: Where
    coefficient: Number = 1.0
    unit: Unit = "direction"
    low: Number = -inf
    high: Number = inf
    gate: tuple[Number, Number] = (-inf, inf)

    def __post_init__(self) -> None:
        """Refuse numbers and points that make no sense."""
        if not isfinite(self.coefficient):
            raise ValueError(f"coefficient: got {self.coefficient}, need a finite number")
        if not self.low <= self.high:
            raise ValueError(f"clamp: got low {self.low} and high {self.high}, need low <= high")
        if not self.gate[0] <= self.gate[1]:
            raise ValueError(f"gate: got {self.gate}, need low <= high")
        if self.unit not in ("raw", "residual", "direction"):
            raise ValueError(f"unit {self.unit!r}: expected raw, residual or direction")
        if not self.points:
            raise ValueError("points: got none, need at least one hook point")
        for point in self.points:
            if not self.direction.at(point).any():
                raise ValueError(f"direction {self.direction.name!r} is zero at {point}; choose other points")

    def __str__(self) -> str:
        """Return what is done, along what, and where, as errors name it."""
        points = str(self.points[0])
        if len(self.points) > 1:
            points = f"{len(self.points)} points from {min(self.points)} to {max(self.points)}"
        return f"{self.operator} {self.direction.name!r} at {points} on {self.where}"

    @property
    def gated(self) -> bool:
        """Whether tokens may be left alone because of their projection."""
        return self.gate != (-inf, inf)

    @property
    def idle(self) -> bool:
        """Whether the edit changes nothing by its own terms: a coefficient of 0."""
        return self.coefficient == 0 and self.operator in ("add", "project_out")

    def chooses(self, row: TokenRow, end: int) -> bool:
        """Say whether one of the first `end` tokens of a row, generated ones behind it included, is chosen."""
        if any(self.where.select(row)[:end]):
            return True
        return any(self.where.generated(row, index) for index in range(end - len(row)))

    def scale(self, point: HookPoint) -> float:
        """Return how many residual-stream units one unit of the coefficient is at a hook point."""
        index = self.direction.points.index(point)
        scales = {"raw": 1.0, "residual": float(self.direction.norms[index])}
        return scales.get(self.unit, float(self.direction.vectors[index].norm()))

    def step(self, point: HookPoint) -> "Step":
        """Return the numbers that carry the edit out at one hook point."""
        vector = self.direction.at(point)
        unit = vector / vector.norm()
        scale = self.scale(point)
        gate = (self.gate[0] * scale, self.gate[1] * scale)
        if self.operator == "add":
            shift = self.coefficient * (vector if self.unit == "direction" else scale * unit)
            return Step(shift=shift, unit=unit, slope=1.0, low=-inf, high=inf, gate=gate)
        slopes = {"project_out": 1.0 - self.coefficient, "clamp": 1.0, "mirror": -1.0}
        return Step(
            shift=torch.zeros_like(unit),
            unit=unit,
            slope=slopes[self.operator],
            low=self.low * scale,
            high=self.high * scale,
            gate=gate,
        )

    def facts(self) -> dict[str, Any]:
        """Return the edit as JSON can hold it, with the direction by name and content."""
        bounds = {"low": self.low, "high": self.high, "gate_low": self.gate[0], "gate_high": self.gate[1]}
        return {
            "operator": self.operator,
            "direction": self.direction.name,
            "vectors": vectors_hash(self.direction, self.points),
            "points": [str(point) for point in self.points],
            "where": str(self.where),
            "coefficient": self.coefficient,
            "unit": self.unit,
            **{name: bound for name, bound in bounds.items() if isfinite(bound)},
        }


@dataclass(frozen=True, eq=False)
class Step:
    """An edit at one hook point: `h + shift`, then its projection p becomes clip(slope * p, low, high).

    Numbers are in residual-stream units; `gate` bounds the projections of the tokens that are touched.
    """

    shift: Float[Tensor, " d_model"]
    unit: Float[Tensor, " d_model"]
    slope: float
    low: float
    high: float
    gate: tuple[float, float]


def add(
    direction: Direction,
    coefficient: Number,
    *,
    points: Sequence[HookPoint | int] | None = None,
    unit: Unit = "direction",
    where: Where | None = None,
    gate: tuple[Number, Number] = (-inf, inf),
) -> Edit:
    """Add `coefficient` times the direction, at all its hook points unless some are named."""
    return _edit("add", direction, points, where, coefficient=coefficient, unit=unit, gate=gate)


def project_out(
    direction: Direction,
    *,
    share: Number = 1.0,
    points: Sequence[HookPoint | int] | None = None,
    where: Where | None = None,
    gate: tuple[Number, Number] = (-inf, inf),
) -> Edit:
    """Remove the component along the direction (directional ablation), or a share of it."""
    return _edit("project_out", direction, points, where, coefficient=share, unit="raw", gate=gate)


def clamp(
    direction: Direction,
    low: Number = -inf,
    high: Number = inf,
    *,
    points: Sequence[HookPoint | int] | None = None,
    unit: Unit = "direction",
    where: Where | None = None,
    gate: tuple[Number, Number] = (-inf, inf),
) -> Edit:
    """Keep the projection on the unit vector between two bounds; equal bounds set it."""
    return _edit("clamp", direction, points, where, low=low, high=high, unit=unit, gate=gate)


def mirror(
    direction: Direction,
    *,
    points: Sequence[HookPoint | int] | None = None,
    where: Where | None = None,
    gate: tuple[Number, Number] = (-inf, inf),
) -> Edit:
    """Turn the component along the direction round (a Householder reflection)."""
    return _edit("mirror", direction, points, where, unit="raw", gate=gate)


def vectors_hash(direction: Direction, points: Sequence[HookPoint]) -> str:
    """Return 16 hex digits over the vectors at some hook points."""
    digest = hashlib.sha256()
    for point in points:
        digest.update(str(point).encode())
        digest.update(direction.at(point).numpy().tobytes())
    return digest.hexdigest()[:16]


def _edit(
    operator: Operator,
    direction: Direction,
    points: Sequence[HookPoint | int] | None,
    where: Where | None,
    **settings: Any,
) -> Edit:
    chosen = direction.points if points is None else direction.select(points).points
    return Edit(operator=operator, direction=direction, points=chosen, where=where or All(), **settings)
