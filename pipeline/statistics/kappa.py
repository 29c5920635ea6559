"""Cohen's kappa: how far two judges agree on the same items beyond chance."""

import math
from collections.abc import Hashable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from pipeline.statistics.bootstrap import Drawn, bootstrap_interval
from pipeline.statistics.checks import Groups, require_lengths
from pipeline.statistics.estimate import Estimate

Weights: TypeAlias = Literal["none", "linear", "quadratic"]


def cohens_kappa(
    first: Groups, second: Groups, *, weights: Weights = "none", order: Sequence[Hashable] | None = None
) -> float:
    """Return Cohen's kappa: 1 for full agreement, 0 for what their own rates give by chance.

    Args:
        first: One judge's label or score per item.
        second: The other judge's, in the same order; leave out items that one of them did not score.
        weights: How much a disagreement counts: all the same, by its distance, or by distance squared.
        order: Labels from lowest to highest, for weights of labels that are no numbers; the distance is
            then in places. Without it labels must be numbers and the distance is their difference.

    Returns:
        Kappa, or nan where both judges gave one and the same label to everything.

    Raises:
        ValueError: Lengths differ, there are no items, or labels do not suit the weights or the order.

    Source:
        Cohen (1960); weighted: Cohen (1968), Psychological Bulletin 70(4).
    """
    one, two, distance = _coded(first, second, weights, order)
    return _kappa(one, two, distance)


def kappa_interval(
    first: Groups,
    second: Groups,
    *,
    rng: np.random.Generator,
    weights: Weights = "none",
    order: Sequence[Hashable] | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
) -> Estimate:
    """Return Cohen's kappa with a bootstrap interval over items.

    Args:
        first: See `cohens_kappa`.
        second: See `cohens_kappa`.
        rng: Where the draws come from.
        weights: See `cohens_kappa`.
        order: See `cohens_kappa`.
        level: Coverage to aim at.
        n_resamples: How many draws.

    Raises:
        ValueError: As `cohens_kappa`, or kappa is not defined because only one label occurs.
    """
    one, two, distance = _coded(first, second, weights, order)

    def kappa_of(drawn: Drawn) -> float:
        return _kappa(one[drawn], two[drawn], distance)

    return bootstrap_interval(kappa_of, len(one), rng=rng, level=level, n_resamples=n_resamples)


def _kappa(
    one: Int[np.ndarray, " item"], two: Int[np.ndarray, " item"], distance: Float[np.ndarray, "label label"]
) -> float:
    n, n_labels = len(one), len(distance)
    observed = float(distance[one, two].mean())
    rates = [np.bincount(codes, minlength=n_labels) / n for codes in (one, two)]
    expected = float(rates[0] @ distance @ rates[1])
    return 1 - observed / expected if expected > 0 else math.nan


def _coded(
    first: Groups, second: Groups, weights: str, order: Sequence[Hashable] | None
) -> tuple[Int[np.ndarray, " item"], Int[np.ndarray, " item"], Float[np.ndarray, "label label"]]:
    if weights not in ("none", "linear", "quadratic"):
        raise ValueError(f"weights is {weights!r}, allowed: 'none', 'linear', 'quadratic'")
    one, two = (
        labels.tolist() if isinstance(labels, np.ndarray) else list(labels) for labels in (first, second)
    )
    require_lengths(len(one), len(two), ("first", "second"))
    if not one:
        raise ValueError("first: got no items, need at least 1")
    if any(label is None or label != label for label in [*one, *two]):  # only nan differs from itself
        raise ValueError(
            "a label is None or nan; leave out items that one judge did not score, and count them"
        )
    labels = list(dict.fromkeys([*one, *two] if order is None else order))
    if strange := [label for label in [*one, *two] if label not in set(labels)]:
        raise ValueError(f"label {strange[0]!r} is not in the order {labels}")
    places = {label: place for place, label in enumerate(labels)}
    distance = _distance(labels, weights, order is None)
    return np.array([places[label] for label in one]), np.array([places[label] for label in two]), distance


def _distance(labels: list[Hashable], weights: str, by_value: bool) -> Float[np.ndarray, "label label"]:
    if weights == "none":
        return 1.0 - np.eye(len(labels))
    values = np.array(labels) if by_value else np.arange(len(labels))
    if values.dtype.kind not in "biuf":
        raise ValueError(f"weights {weights!r} need numbers or an `order`; got labels such as {labels[0]!r}")
    apart = np.abs(values[:, None] - values[None, :].astype(np.float64))
    return apart if weights == "linear" else apart**2
