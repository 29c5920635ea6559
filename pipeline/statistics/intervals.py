"""Intervals of a mean: Student's t over independent values, and over clusters of dependent ones."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats

from pipeline.statistics.checks import Groups, Number, as_values, group_codes, require_share
from pipeline.statistics.estimate import Estimate


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Return the mean with its t interval, for values that are independent of one another.

    Samples of one question are not: average them first, or use `clustered_interval`. One value alone sets
    no bounds (-inf to inf); values that are all the same give an interval of width 0.

    Raises:
        ValueError: There are no values, one is not finite, or the level is not a share.
    """
    array = as_values(values, "values")
    return t_interval(float(array.mean()), standard_error(array), len(array) - 1, len(array), level, "t")


def clustered_se(values: ArrayLike, clusters: Groups) -> float:
    """Return the standard error of the mean of all values when values of one cluster depend on each other.

    The mean weighs every value alike, so a question with more samples counts more. With one value per
    cluster this is the plain standard error; a single cluster gives inf.

    Args:
        values: One number per row, e.g. the score of a sample.
        clusters: The cluster of each row, e.g. its question.

    Raises:
        ValueError: Values are refused, or the labels do not match them.

    Source:
        Miller (2024), Adding Error Bars to Evals, arXiv:2411.00640, with the factor C/(C-1) for C clusters
        as in inspect_ai.
    """
    array = as_values(values, "values")
    totals = _cluster_residuals(array, clusters)
    n_clusters = len(totals)
    if n_clusters == 1:
        return math.inf
    return math.sqrt(n_clusters / (n_clusters - 1) * float(totals @ totals)) / len(array)


def clustered_interval(values: ArrayLike, clusters: Groups, *, level: float = 0.95) -> Estimate:
    """Return the mean of all values with a t interval on clusters - 1 degrees of freedom.

    The default for scores of several samples per question; `n` is the number of clusters. One cluster
    alone sets no bounds.

    Raises:
        ValueError: Values, labels or the level are refused.
    """
    array = as_values(values, "values")
    n_clusters = len(_cluster_residuals(array, clusters))
    se = clustered_se(array, clusters)
    return t_interval(float(array.mean()), se, n_clusters - 1, n_clusters, level, "t, clustered")


def t_interval(mean: float, se: float, df: Number, n: int, level: float, method: str) -> Estimate:
    """Return mean +- t * se; without degrees of freedom or with an infinite error nothing is bounded."""
    require_share(level, "level")
    if df <= 0 or math.isinf(se):
        return Estimate(value=mean, low=-math.inf, high=math.inf, n=n, level=level, method=method)
    half = float(stats.t.ppf((1 + level) / 2, df)) * se
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n, level=level, method=method)


def standard_error(values: Float[np.ndarray, " value"]) -> float:
    """Return the standard error of the mean of independent values; inf for one value."""
    return standard_deviation(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def standard_deviation(values: Float[np.ndarray, " value"]) -> float:
    """Return the n - 1 standard deviation; exactly 0 for equal values, which rounding would else hide."""
    return 0.0 if float(np.ptp(values)) == 0 else float(values.std(ddof=1))


def _cluster_residuals(values: Float[np.ndarray, " row"], clusters: Groups) -> Float[np.ndarray, " cluster"]:
    codes = group_codes(clusters, len(values), "clusters")
    residuals = values - values.mean() if float(np.ptp(values)) else np.zeros_like(values)
    return np.bincount(codes, weights=residuals)
