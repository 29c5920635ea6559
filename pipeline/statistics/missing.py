"""What scores that are missing could hide."""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from pipeline.statistics.checks import Number, as_values


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The least and the most that a quantity could have been, had every score been there.

    Attributes:
        observed: Without the missing scores.
        lowest: If each missing score had been as unfavourable as its scale allows.
        highest: If each had been as favourable.
    """

    observed: float
    lowest: float
    highest: float


def difference_bounds(
    first: ArrayLike,
    first_missing: int,
    second: ArrayLike,
    second_missing: int,
    *,
    scale: tuple[Number, Number] = (0.0, 100.0),
) -> Bounds:
    """Return the difference of two arms' means with its worst and best case over missing scores.

    No assumption on why they are missing. If both bounds have one sign, missing scores cannot turn it.

    Args:
        first: Scores of the first arm that are there.
        first_missing: How many are not.
        second: Scores of the second arm.
        second_missing: How many are not.
        scale: Lowest and highest score possible.

    Raises:
        ValueError: An arm has no score, a count is negative, or a score lies outside the scale.

    Source:
        Manski (1990), Nonparametric Bounds on Treatment Effects, AER 80(2).
    """
    one, two = (
        _extremes(first, first_missing, scale, "first"),
        _extremes(second, second_missing, scale, "second"),
    )
    return Bounds(
        observed=one.observed - two.observed,
        lowest=one.lowest - two.highest,
        highest=one.highest - two.lowest,
    )


def _extremes(scores: ArrayLike, n_missing: int, scale: tuple[Number, Number], arm: str) -> Bounds:
    values = as_values(scores, f"{arm} arm")
    low, high = scale
    if n_missing < 0:
        raise ValueError(f"{arm} arm: {n_missing} scores are missing, allowed: 0 or more")
    if outside := values[(values < low) | (values > high)].tolist():
        raise ValueError(f"{arm} arm: score {outside[0]:g} is outside the scale {low:g}..{high:g}")
    total, n = float(values.sum()), len(values) + n_missing
    return Bounds(
        observed=float(values.mean()),
        lowest=(total + n_missing * low) / n,
        highest=(total + n_missing * high) / n,
    )
