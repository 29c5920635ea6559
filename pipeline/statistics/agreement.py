"""Krippendorff's alpha: how far any number of judges agree, with items some of them did not score."""

import math
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pipeline.statistics.bootstrap import Drawn, bootstrap_interval
from pipeline.statistics.checks import as_numbers
from pipeline.statistics.estimate import Estimate

Scale: TypeAlias = Literal["nominal", "ordinal", "interval"]


def krippendorffs_alpha(ratings: ArrayLike, *, scale: Scale) -> float:
    """Return Krippendorff's alpha: 1 for full agreement, 0 for what shuffled ratings give.

    Args:
        ratings: One row per judge and one column per item; nan where a judge did not score an item. An
            item with fewer than two ratings says nothing and is left out.
        scale: What the numbers mean: names only, an order, or points such as 0 to 100.

    Returns:
        Alpha, or nan where all ratings are one and the same.

    Raises:
        ValueError: Ratings are not a table of numbers, one is infinite, no item has two ratings, or the
            scale is unknown.

    Source:
        Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.
    """
    counts, values = _counted(ratings, scale)
    return _alpha(counts, values, scale)


def alpha_interval(
    ratings: ArrayLike,
    *,
    scale: Scale,
    rng: np.random.Generator,
    level: float = 0.95,
    n_resamples: int = 2000,
) -> Estimate:
    """Return Krippendorff's alpha with a bootstrap interval over items with at least two ratings.

    Args:
        ratings: See `krippendorffs_alpha`.
        scale: See `krippendorffs_alpha`.
        rng: Where the draws come from.
        level: Coverage to aim at.
        n_resamples: How many draws of items.

    Raises:
        ValueError: As `krippendorffs_alpha`, or alpha is not defined because only one rating occurs.
    """
    counts, values = _counted(ratings, scale)

    def alpha_of(drawn: Drawn) -> float:
        return _alpha(counts[drawn], values, scale)

    return bootstrap_interval(alpha_of, len(counts), rng=rng, level=level, n_resamples=n_resamples)


def _counted(
    ratings: ArrayLike, scale: str
) -> tuple[Float[np.ndarray, "item value"], Float[np.ndarray, " value"]]:
    """Return how often each item got each value, for items with two ratings, and the values in order."""
    if scale not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"scale is {scale!r}, allowed: 'nominal', 'ordinal', 'interval'")
    table = as_numbers(ratings, "ratings")
    if table.ndim != 2:
        raise ValueError(f"ratings: got shape {table.shape}, needed: one row per judge, one column per item")
    if np.isinf(table).any():
        raise ValueError("ratings: one is infinite, allowed: numbers, and nan for a missing one")
    table = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    if not table.size:
        raise ValueError("ratings: no item has two ratings, so there is nothing to agree on")
    values = np.unique(table[~np.isnan(table)])
    return (table[:, :, None] == values).sum(axis=0).astype(np.float64), values


def _alpha(counts: Float[np.ndarray, "item value"], values: Float[np.ndarray, " value"], scale: str) -> float:
    """Return alpha from Krippendorff's coincidence matrix."""
    per_pair = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidences = per_pair.T @ counts - np.diag(per_pair.sum(axis=0))
    totals = coincidences.sum(axis=0)
    squared = _squared_distance(totals, values, scale)
    expected = float(totals @ squared @ totals) / (totals.sum() - 1)
    return float(1 - (coincidences * squared).sum() / expected) if expected > 0 else math.nan


def _squared_distance(
    totals: Float[np.ndarray, " value"], values: Float[np.ndarray, " value"], scale: str
) -> Float[np.ndarray, "value value"]:
    if scale == "nominal":
        return 1.0 - np.eye(len(values))
    # an order counts the ratings between two values, half of those at the ends included
    position = values if scale == "interval" else np.cumsum(totals) - totals / 2
    return np.asarray((position[:, None] - position[None, :]) ** 2)
