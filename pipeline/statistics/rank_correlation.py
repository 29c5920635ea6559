"""Spearman's rank correlation, with an exact p for up to 12 units, ties included."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy import stats

from pipeline.statistics.checks import as_matched, require_share
from pipeline.statistics.estimate import Estimate

EXACT_UP_TO = 12
"""Up to this many units all orders are counted: 12! of them, on 2^12 subsets."""


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """How far two measures put the units in the same order.

    Attributes:
        rho: Spearman's coefficient with Bonett and Wright's interval (-1 to 1 below four units).
        p: Two-sided.
        method: `exact` over all orders, or `t` for more than 12 units.
    """

    rho: Estimate
    p: float
    method: str


def spearman(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> RankCorrelation:
    """Return Spearman's rank correlation of two measures of the same units.

    With domains as units prefer it, on rates as they are, to an AUC over a median split, which throws most
    of the order away.

    Args:
        first: One number per unit.
        second: One number per unit, in the same order.
        level: Coverage of the interval.

    Raises:
        ValueError: Fewer than 2 units, lengths differ, a value is not finite, or one list is all equal.

    Source:
        Interval: Bonett and Wright (2000), Psychometrika 65(1).
        A rho of 1 or -1 enters it half a step inside.
    """
    one, two = as_matched(first, second, ("first", "second"), at_least=2)
    require_share(level, "level")
    for name, values in (("first", one), ("second", two)):
        if np.ptp(values) == 0:
            raise ValueError(f"{name}: all {len(values)} values are {values[0]:g}, so they have no order")
    x, y = (np.rint(2 * stats.rankdata(values)).astype(np.int64) for values in (one, two))
    rho = float(_rho(np.array([int(x @ y)]), x, y)[0])
    n = len(x)
    if n <= EXACT_UP_TO:
        p, method = _exact_p(rho, x, y), "exact"
    else:
        t = rho * math.sqrt((n - 2) / (1 - rho**2)) if abs(rho) < 1 else math.inf
        p, method = float(2 * stats.t.sf(abs(t), n - 2)), "t"
    return RankCorrelation(rho=_interval(rho, n, level), p=p, method=method)


def _exact_p(rho: float, x: Int[np.ndarray, " unit"], y: Int[np.ndarray, " unit"]) -> float:
    ways = _ways_per_product(x, y)
    products = np.flatnonzero(ways)
    extreme = np.abs(_rho(products, x, y)) >= abs(rho) - 1e-12
    return float(ways[products[extreme]].sum() / ways.sum())


def _ways_per_product(
    x: Int[np.ndarray, " unit"], y: Int[np.ndarray, " unit"]
) -> Float[np.ndarray, " product"]:
    """Return how many orders of `y` give each value of the sum of x * y, growing sets of used y's by one."""
    n, most = len(x), int(np.sort(x) @ np.sort(y))
    ways = np.zeros((2**n, most + 1))
    ways[0, 0] = 1
    for used in range(2**n - 1):
        rank = x[used.bit_count()]
        for unit in range(n):
            if not used >> unit & 1:
                step = rank * y[unit]
                ways[used | 1 << unit, step:] += ways[used, : most + 1 - step]
    return np.asarray(ways[-1])


def _rho(
    products: Int[np.ndarray, " value"], x: Int[np.ndarray, " unit"], y: Int[np.ndarray, " unit"]
) -> Float[np.ndarray, " value"]:
    """Return the correlation of double ranks `x` and `y` for sums of products."""
    middle = len(x) * x.mean() * y.mean()
    return np.asarray(np.clip((products - middle) / (len(x) * x.std() * y.std()), -1.0, 1.0))


def _interval(rho: float, n: int, level: float) -> Estimate:
    method = "Bonett-Wright"
    if n < 4:
        return Estimate(value=rho, low=-1.0, high=1.0, n=n, level=level, method=method)
    half = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    inside = 1 - 6 / (n * (n**2 - 1))  # half the smallest step: at 1 itself the width would be 0
    centre = math.atanh(max(-inside, min(inside, rho)))
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Estimate(value=rho, low=min(low, rho), high=max(high, rho), n=n, level=level, method=method)
