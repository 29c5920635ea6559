"""A direction in the residual stream: one vector for each hook point, and every fact needed to use it again.

Does: check, combine, compare, save and load. Does not: find directions (`extract.py`) or inject them
(`edits.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from activations import HookPoint, SubjectFacts
from activations.store import load_tensors, save_tensors
from steering.direction_checks import check_counts, check_points, check_reliability, check_tensor, listed
from steering.direction_file import FORMAT, TENSORS, facts_from_json, facts_to_json
from steering.provenance import base_differences, code_version


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """One vector for each hook point, and the facts needed to use it again.

    Algebra returns new directions. Their `made_from` keeps the whole expression, `name` starts as that
    expression, counts are the smaller of the two sides' (what the weaker part rests on), `norms` the mean,
    and `reliability` is dropped where two directions are combined, because it says nothing about the result.

    Attributes:
        vectors: In units of the residual stream, float32.
        points: The hook points, in the order of the first axis.
        name: A label, for tables and plots.
        subject: The model the activations were read from.
        where: The selector that chose the tokens, as text.
        estimator: Name of the function that made it, a key of `steering.estimators.ESTIMATORS` if that did.
        n_positive: Rows that showed the behaviour; 0 for a direction that was drawn.
        n_negative: Rows that did not.
        data: SHA-256 of each set of chats that was read.
        seed: What seeded the draw of the rows, or of the direction; None where nothing was drawn or several
            were.
        norms: Typical L2 norm of the residual stream at each point, at the chosen tokens: the unit of
            coefficients.
        code_version: Of the toolkit that made it.
        reliability: For each measure its value at each point; may be empty.
        made_from: How it came about, for people, e.g. `(bad_medical_advice - shared).unit()`.
    """

    vectors: Float[Tensor, "point d_model"]
    points: tuple[HookPoint, ...]
    name: str
    subject: SubjectFacts
    where: str
    estimator: str
    n_positive: int
    n_negative: int
    data: tuple[str, ...]
    seed: int | None
    norms: Float[Tensor, " point"]
    code_version: str
    reliability: Mapping[str, tuple[float, ...]]
    made_from: str

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together, and numbers that cannot be steered with."""
        try:
            check_points(self.points, self.subject.n_layers)
            check_tensor("vectors", self.vectors, (len(self.points), self.subject.d_model))
            check_tensor("norms", self.norms, (len(self.points),))
            check_counts(self.n_positive, self.n_negative)
            check_reliability(self.reliability, len(self.points))
            if not bool((self.norms > 0).all()):
                raise ValueError(f"norms are {self.norms.tolist()}, need numbers above 0")
        except ValueError as error:
            raise ValueError(f"direction {self.name!r}: {error}") from error

    def at(self, point: HookPoint | int) -> Float[Tensor, " d_model"]:
        """Return the vector at one hook point, or at the only hook point of a layer.

        Raises:
            LookupError: There is no vector there, or the layer has two sites; says which points there are.
        """
        return self.vectors[self._index(point)]

    def select(self, points: Sequence[HookPoint | int]) -> "Direction":
        """Return the direction at some of its points, in the given order."""
        kept = [self._index(point) for point in points]
        return replace(
            self,
            vectors=self.vectors[kept],
            norms=self.norms[kept],
            points=tuple(self.points[i] for i in kept),
            reliability={name: tuple(values[i] for i in kept) for name, values in self.reliability.items()},
        )

    def __add__(self, other: "Direction") -> "Direction":
        """Return the sum at every point."""
        self.require_matches(other)
        return self._combined(other, self.vectors + other.vectors, f"({self.made_from} + {other.made_from})")

    def __sub__(self, other: "Direction") -> "Direction":
        """Return the difference at every point."""
        self.require_matches(other)
        return self._combined(other, self.vectors - other.vectors, f"({self.made_from} - {other.made_from})")

    def __mul__(self, scalar: float | int) -> "Direction":
        """Return the direction with every vector multiplied by the same number."""
        return self._rescaled(self.vectors * scalar, f"({scalar} * {self.made_from})")

    __rmul__ = __mul__

    def __truediv__(self, scalar: float | int) -> "Direction":
        """Return the direction with every vector divided by the same number."""
        if scalar == 0:
            raise ZeroDivisionError(f"direction {self.name!r} divided by 0")
        return self._rescaled(self.vectors / scalar, f"({self.made_from} / {scalar})")

    def __neg__(self) -> "Direction":
        """Return the opposite direction."""
        return self._rescaled(-self.vectors, f"(-{self.made_from})")

    def unit(self) -> "Direction":
        """Return the direction with every vector scaled to L2 norm 1.

        Raises:
            ValueError: The vector at some point is zero; says where.
        """
        return self._rescaled(self._units().float(), f"{self.made_from}.unit()")

    def project_out(self, other: "Direction") -> "Direction":
        """Return what is left at every point without the component along `other`, whose length is ignored."""
        self.require_matches(other)
        unit = other._units()
        along = (self.vectors.double() * unit).sum(dim=-1, keepdim=True)
        rest = (self.vectors.double() - along * unit).float()
        return self._combined(other, rest, f"{self.made_from}.project_out({other.made_from})")

    def cosine(self, other: "Direction") -> Float[Tensor, " point"]:
        """Return the cosine between the two at every point, in float64.

        Raises:
            ValueError: They belong to different models or points, or a vector is zero.
        """
        self.require_matches(other)
        return (self._units() * other._units()).sum(dim=-1).clamp(-1, 1)

    def differences_from(self, subject: SubjectFacts) -> list[str]:
        """Return, in words, why the direction does not fit a model; empty if it fits."""
        return base_differences(self.subject, subject)

    def require_fits(self, subject: SubjectFacts) -> None:
        """Raise ValueError naming each fact by which the model is not the one the direction was read from."""
        if differences := self.differences_from(subject):
            raise ValueError(
                f"direction {self.name!r} does not fit model {subject.name!r}: {'; '.join(differences)}"
            )

    def require_matches(self, other: "Direction") -> None:
        """Raise ValueError naming each fact by which the base models or points of two directions differ."""
        differences = base_differences(self.subject, other.subject)
        if self.points != other.points:
            differences.append(
                f"points {listed(self.points)} are not {listed(other.points)}; select() the common ones"
            )
        if differences:
            raise ValueError(
                f"directions {self.name!r} and {other.name!r} do not match: {'; '.join(differences)}"
            )

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all; every field but the tensors is in its header."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        save_tensors(path, FORMAT, {name: values[name] for name in TENSORS}, facts_to_json(values))

    @classmethod
    def load(cls, path: Path, subject: SubjectFacts | None = None) -> "Direction":
        """Read what `save` wrote.

        Args:
            path: The file.
            subject: The model it will be used in; without it the caller has to check with `require_fits`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged, of another format or contradicts itself, or does not fit the
                model.
        """
        tensors, header = load_tensors(path, FORMAT)
        try:
            if sorted(tensors) != sorted(TENSORS):
                raise ValueError(f"the file holds tensors {sorted(tensors)}, need {sorted(TENSORS)}")
            # A copy, since safetensors may leave the tensor mapped to a file that somebody rewrites.
            fields_read = {
                **facts_from_json(header),
                **{name: tensor.clone() for name, tensor in tensors.items()},
            }
            direction = cls(**fields_read)
            if subject is not None:
                direction.require_fits(subject)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return direction

    def _index(self, point: HookPoint | int) -> int:
        found = [i for i, own in enumerate(self.points) if point in (own, own.layer)]
        if len(found) != 1:
            which = "several vectors; name the site" if found else "no vector"
            raise LookupError(f"direction {self.name!r} has {which} at {point}; it has {listed(self.points)}")
        return found[0]

    def _units(self) -> Float[Tensor, "point d_model"]:
        lengths = self.vectors.double().norm(dim=-1, keepdim=True)
        if zeros := [point for point, length in zip(self.points, lengths, strict=True) if length == 0]:
            raise ValueError(f"direction {self.name!r} is zero at {listed(zeros)}; select() the other points")
        units: Tensor = self.vectors.double() / lengths
        return units

    def _rescaled(self, vectors: Tensor, made_from: str) -> "Direction":
        return replace(
            self, vectors=vectors, name=made_from, made_from=made_from, code_version=code_version()
        )

    def _combined(self, other: "Direction", vectors: Tensor, made_from: str) -> "Direction":
        adapters = tuple(dict.fromkeys(self.subject.adapters + other.subject.adapters))
        return replace(
            self._rescaled(vectors, made_from),
            subject=replace(self.subject, adapters=adapters),
            where=_either(self.where, other.where),
            estimator=_either(self.estimator, other.estimator),
            n_positive=min(self.n_positive, other.n_positive),
            n_negative=min(self.n_negative, other.n_negative),
            data=tuple(dict.fromkeys(self.data + other.data)),
            seed=self.seed if self.seed == other.seed else None,
            norms=(self.norms + other.norms) / 2,
            reliability={},
        )


def _either(one: str, other: str) -> str:
    return " | ".join(dict.fromkeys(one.split(" | ") + other.split(" | ")))
