"""Bootstrap over independent units: draw questions, domains or items again, with everything in them."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy import stats

from pipeline.statistics.checks import Groups, as_values, group_codes, require_share
from pipeline.statistics.estimate import Estimate

Drawn: TypeAlias = Int[np.ndarray, " drawn"]


def bootstrap_interval(
    statistic: Callable[[Drawn], float],
    n_units: int,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_resamples: int = 2000,
    method: Literal["bca", "percentile"] = "bca",
) -> Estimate:
    """Return a statistic with its bootstrap interval over units.

    With few units (about 10) such an interval is for display only: it is too short. It cannot see beyond
    its units: a statistic that no draw changes has width 0 (for rates use `rate_interval`), and one unit
    alone sets no bounds. Draws where the statistic is nan are left out and counted in `method`.

    Args:
        statistic: Receives unit numbers from 0, some of them repeated, and returns the number of interest.
        n_units: How many units there are.
        rng: Where the draws come from; same state, same interval.
        level: Coverage to aim at.
        n_resamples: How many draws of `n_units` units.
        method: `bca` corrects for bias and skewness, and falls back to `percentile` where the corrections
            are not defined, which `method` of the result then says.

    Raises:
        ValueError: A setting is out of range, or the statistic is nan on the units as they are.

    Source:
        Efron (1987), Better Bootstrap Confidence Intervals, JASA 82(397).
    """
    require_share(level, "level")
    if n_units < 1 or n_resamples < 100:
        raise ValueError(f"{n_units} units, {n_resamples} resamples: need at least 1 and 100")
    if method not in ("bca", "percentile"):
        raise ValueError(f"method is {method!r}, allowed: 'bca' and 'percentile'")
    value = float(statistic(np.arange(n_units)))
    if np.isnan(value):
        raise ValueError(f"the statistic is nan on all {n_units} units: nothing to bootstrap")
    if n_units == 1:
        return Estimate(value=value, low=-np.inf, high=np.inf, n=1, level=level, method="one unit: no bounds")
    drawn = np.array([statistic(rng.integers(n_units, size=n_units)) for _ in range(n_resamples)])
    defined = drawn[~np.isnan(drawn)]
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    corrected = _bca_tails(statistic, n_units, value, defined, tails) if method == "bca" else None
    low, high = np.quantile(defined, tails if corrected is None else corrected)
    name = "percentile" if corrected is None else "BCa"
    left_out = (
        f", {n_resamples - len(defined)} of {n_resamples} undefined" if len(defined) < n_resamples else ""
    )
    how = f"{name} bootstrap{left_out}"
    return Estimate(value=value, low=float(low), high=float(high), n=n_units, level=level, method=how)


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Groups,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_resamples: int = 2000,
    method: Literal["bca", "percentile"] = "bca",
) -> Estimate:
    """Return the mean of all values with a bootstrap interval that draws whole clusters.

    Args:
        values: One number per row.
        clusters: The cluster of each row, e.g. its question.
        rng: Where the draws come from.
        level: Coverage to aim at.
        n_resamples: How many draws.
        method: See `bootstrap_interval`.

    Raises:
        ValueError: Values, labels or a setting are refused.
    """
    array = as_values(values, "values")
    codes = group_codes(clusters, len(array), "clusters")
    totals, sizes = np.bincount(codes, weights=array), np.bincount(codes)

    def mean_of(drawn: Drawn) -> float:
        return float(totals[drawn].sum() / sizes[drawn].sum())

    return bootstrap_interval(
        mean_of, len(sizes), rng=rng, level=level, n_resamples=n_resamples, method=method
    )


def _bca_tails(
    statistic: Callable[[Drawn], float],
    n_units: int,
    value: float,
    drawn: Float[np.ndarray, " resample"],
    tails: Float[np.ndarray, " 2"],
) -> Float[np.ndarray, " 2"] | None:
    """Return where to cut the drawn values, or None where bias or skewness is not defined."""
    below = np.mean(drawn < value) + np.mean(drawn == value) / 2
    units = np.arange(n_units)
    without = np.array([statistic(np.delete(units, unit)) for unit in units])
    pull = without.mean() - without
    spread = float((pull**2).sum())
    if not 0 < below < 1 or not spread > 0:
        return None
    bias = stats.norm.ppf(below)
    skewness = float((pull**3).sum()) / (6 * spread**1.5)
    z = bias + stats.norm.ppf(tails)
    if not (1 - skewness * z > 0).all():
        return None
    return np.asarray(stats.norm.cdf(bias + z / (1 - skewness * z)), dtype=np.float64)
