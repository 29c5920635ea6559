"""Turn activations with and without a behaviour into a direction that knows where it came from.

Does not: say whether the direction means anything (`reliability.py`, `controls.py`).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from activations import Activations, HookPoint
from steering.direction import Direction
from steering.estimators import ESTIMATORS, PAIRED
from steering.provenance import base_differences, code_version


def extract(
    positive: Activations,
    negative: Activations,
    *,
    name: str,
    estimator: str = "difference_of_means",
    seed: int | None = None,
    across_models: bool = False,
) -> Direction:
    """Return the direction from negative to positive at every hook point, with where it came from.

    Args:
        positive: Activations where the behaviour shows.
        negative: Those where it does not, at the same points and tokens. Their rows need not be the same
            prompts, except for an estimator that works on pairs.
        name: A label for the direction.
        estimator: A key of `ESTIMATORS`.
        seed: What seeded the choice of the rows, for the record; nothing is drawn here.
        across_models: Allow the sides to differ in their adapters, as in tuned minus base. The direction is
            then filed under the adapters of the positive side, and `made_from` names both.

    Raises:
        ValueError: The sides differ in subject, points or tokens, or a side is empty or not finite; says at
            which point.
        LookupError: There is no such estimator.
    """
    require_comparable(positive, negative, across_models=across_models)
    if estimator in PAIRED and not is_paired(positive, negative):
        raise ValueError(f"{estimator} works on pairs: both sides need the same row ids in the same order")
    found = [estimate(positive.at(point), negative.at(point), point, estimator) for point in positive.points]
    sides = [" + ".join(side.subject.adapters) or "base" for side in (positive, negative)]
    return Direction(
        vectors=torch.stack(found),
        points=positive.points,
        name=name,
        subject=positive.subject,
        where=positive.where,
        estimator=estimator,
        n_positive=len(positive.rows),
        n_negative=len(negative.rows),
        data=tuple(dict.fromkeys((positive.data, negative.data))),
        seed=seed,
        norms=((positive.norms.double().mean(dim=0) + negative.norms.double().mean(dim=0)) / 2).float(),
        code_version=code_version(),
        reliability={},
        made_from=name if sides[0] == sides[1] else f"{name}[{sides[0]} - {sides[1]}]",
    )


def estimate(
    positive: Float[Tensor, "n_positive d_model"],
    negative: Float[Tensor, "n_negative d_model"],
    point: HookPoint,
    estimator: str,
) -> Float[Tensor, " d_model"]:
    """Return what an estimator finds at one point, which errors name."""
    if estimator not in ESTIMATORS:
        raise LookupError(f"estimator {estimator!r}: have {', '.join(ESTIMATORS)}")
    try:
        return ESTIMATORS[estimator](positive, negative)
    except ValueError as error:
        raise ValueError(f"{estimator} at {point}: {error}") from error


def require_comparable(positive: Activations, negative: Activations, *, across_models: bool) -> None:
    """Raise ValueError naming each fact by which the sides differ beyond the behaviour."""
    differences = base_differences(positive.subject, negative.subject)
    if positive.subject.adapters != negative.subject.adapters and not across_models:
        pair = f"{positive.subject.adapters} are not {negative.subject.adapters}"
        differences.append(f"adapters {pair} (across_models=True allows it)")
    if positive.points != negative.points:
        pair = " are not ".join(", ".join(map(str, side.points)) for side in (positive, negative))
        differences.append(f"points {pair}")
    if positive.where != negative.where:
        differences.append(f"where {positive.where!r} is not {negative.where!r}")
    if differences:
        raise ValueError(f"positive and negative activations cannot be compared: {'; '.join(differences)}")


def is_paired(positive: Activations, negative: Activations) -> bool:
    """Return whether row i of both sides belongs together: the same row ids in the same order.

    Raises:
        ValueError: They have the same row ids in another order, which would quietly cost the pairing.
    """
    if positive.rows != negative.rows and sorted(positive.rows) == sorted(negative.rows):
        raise ValueError(
            "both sides have the same row ids, but in another order; select() one into the other's"
        )
    return positive.rows == negative.rows
