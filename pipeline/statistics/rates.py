"""Intervals of a rate, such as the share of misaligned answers; 0 of n still has an upper bound."""

import math
from operator import index
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pipeline.statistics.bootstrap import cluster_bootstrap
from pipeline.statistics.checks import Groups, as_values, group_codes, require_share
from pipeline.statistics.estimate import Estimate


def wilson_interval(hits: SupportsIndex, n: SupportsIndex, *, level: float = 0.95) -> Estimate:
    """Return a rate with Wilson's score interval, for rows that are independent of one another.

    0 of 0 is nan with the interval 0 to 1.

    Raises:
        ValueError: Not 0 <= hits <= n, or the level is not a share.

    Source:
        Wilson (1927), Probable Inference, JASA 22(158). No continuity correction.
    """
    hits, n = _checked(hits, n, level)
    if n == 0:
        return _nothing_seen(level, "Wilson")
    z = float(stats.norm.ppf((1 + level) / 2))
    rate, shrink = hits / n, 1 + z**2 / n
    middle = (rate + z**2 / (2 * n)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / shrink
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == n else middle + half
    return Estimate(value=rate, low=low, high=high, n=n, level=level, method="Wilson")


def exact_interval(hits: SupportsIndex, n: SupportsIndex, *, level: float = 0.95) -> Estimate:
    """Return a rate with the exact interval, whose coverage is never below the level.

    0 of 0 is nan with the interval 0 to 1. Two-sided: 0 of n bounds the rate from above at
    1 - ((1 - level) / 2)^(1/n).

    Raises:
        ValueError: Not 0 <= hits <= n, or the level is not a share.

    Source:
        Clopper and Pearson (1934), Biometrika 26(4).
    """
    hits, n = _checked(hits, n, level)
    if n == 0:
        return _nothing_seen(level, "exact")
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(stats.beta.ppf(1 - tail, hits + 1, n - hits))
    return Estimate(value=hits / n, low=low, high=high, n=n, level=level, method="exact")


def rate_interval(
    hits: ArrayLike,
    clusters: Groups,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_resamples: int = 2000,
) -> Estimate:
    """Return the rate over rows that come in clusters, e.g. several answers to each question.

    A bootstrap over clusters. Where all rows agree (0 of n, or n of n) no draw could differ, so the exact
    interval is given with one trial per cluster: wide, as it must be if answers to one question are copies.

    Args:
        hits: 0/1 or False/True for each row, e.g. misaligned or not.
        clusters: The cluster of each row.
        rng: Where the draws come from.
        level: Coverage to aim at.
        n_resamples: How many draws.

    Raises:
        ValueError: A hit is neither 0 nor 1, or labels or a setting are refused.
    """
    array = as_values(hits, "hits")
    if odd := sorted(set(array.tolist()) - {0.0, 1.0}):
        raise ValueError(f"hits: holds {odd[0]:g}, allowed: 0 and 1, or False and True")
    if array.min() == array.max():
        n_clusters = int(group_codes(clusters, len(array), "clusters").max()) + 1
        bound = exact_interval(n_clusters * int(array[0]), n_clusters, level=level)
        return Estimate(
            value=bound.value,
            low=bound.low,
            high=bound.high,
            n=n_clusters,
            level=level,
            method="exact, one trial per cluster",
        )
    return cluster_bootstrap(array, clusters, rng=rng, level=level, n_resamples=n_resamples)


def _checked(hits: SupportsIndex, n: SupportsIndex, level: float) -> tuple[int, int]:
    require_share(level, "level")
    if not 0 <= index(hits) <= index(n):
        raise ValueError(f"{index(hits)} hits of {index(n)}: allowed are 0..n hits")
    return index(hits), index(n)


def _nothing_seen(level: float, method: str) -> Estimate:
    return Estimate(value=math.nan, low=0.0, high=1.0, n=0, level=level, method=method)
