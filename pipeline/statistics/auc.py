"""Area under the ROC curve over domains, with an interval and p that hold for ten of them."""

import math
from dataclasses import dataclass
from typing import Literal, SupportsIndex, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy import optimize, stats

from pipeline.statistics.checks import Number, as_classes, as_values, require_share
from pipeline.statistics.estimate import Estimate

MOST_UNITS = 100
"""The exact test counts all ways to label up to this many units; rows of a domain are not units."""

Direction: TypeAlias = Literal["higher", "lower", "free"]


@dataclass(frozen=True, kw_only=True)
class AucTest:
    """How well a score tells two classes apart.

    Attributes:
        auc: P(score of a positive > score of a negative), ties counted half, with Newcombe's interval.
            Never turned round: below 0.5 the positives score lower.
        p: Share of all ways to place the labels with an AUC at least as far in the declared direction.
        direction: `higher` or `lower`: where positives were expected, declared beforehand; `free`: not.
        n_positive: Units of class 1.
        n_negative: Units of class 0.
    """

    auc: Estimate
    p: float
    direction: Direction
    n_positive: int
    n_negative: int


def roc_auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the chance that a random positive scores above a random negative, ties counted half.

    Args:
        scores: One number per unit, e.g. per domain.
        labels: 1 or True for a positive, 0 or False for a negative.

    Raises:
        ValueError: A score is not finite, labels are not of two classes, or lengths differ.

    Source:
        Mann and Whitney (1947); Hanley and McNeil (1982), Radiology 143.
    """
    values = as_values(scores, "scores")
    return _auc_from_ranks(_double_ranks(values), as_classes(labels, len(values)))


def auc_test(scores: ArrayLike, labels: ArrayLike, *, direction: Direction, level: float = 0.95) -> AucTest:
    """Return the AUC with Newcombe's interval and the exact permutation p over all ways to place the labels.

    Args:
        scores: One number per unit; a unit is what the label belongs to, a domain, not one of its rows.
        labels: 1 or True for a positive, 0 or False for a negative.
        direction: `higher` or `lower` only if positives were declared to score so before looking; else
            `free`, which counts every AUC as far from 0.5 on either side.
        level: Coverage of the interval.

    Raises:
        ValueError: A score is not finite, labels are not of two classes, lengths differ, the direction is
            unknown, or there are more than 100 units.
    """
    values = as_values(scores, "scores")
    positive = as_classes(labels, len(values))
    if direction not in ("higher", "lower", "free"):
        raise ValueError(f"direction is {direction!r}, allowed: 'higher', 'lower', 'free'")
    if len(values) > MOST_UNITS:
        raise ValueError(
            f"{len(values)} units, allowed: up to {MOST_UNITS}; rows of one domain are not units"
        )
    ranks, n_positive = _double_ranks(values), int(positive.sum())
    found = _auc_from_ranks(ranks, positive)
    possible, share = _auc_distribution(ranks, n_positive)
    if direction == "free":
        extreme = np.abs(possible - 0.5) >= abs(found - 0.5) - 1e-12
    else:
        extreme = possible >= found - 1e-12 if direction == "higher" else possible <= found + 1e-12
    return AucTest(
        auc=newcombe_interval(found, n_positive, len(values) - n_positive, level=level),
        p=min(1.0, float(share[extreme].sum())),
        direction=direction,
        n_positive=n_positive,
        n_negative=len(values) - n_positive,
    )


def newcombe_interval(
    auc: Number, n_positive: SupportsIndex, n_negative: SupportsIndex, *, level: float = 0.95
) -> Estimate:
    """Return an AUC with Newcombe's score-type interval, which keeps its coverage for a handful of units.

    It solves |auc - t| = z sqrt(V(t)) for t, with N = (m+n)/2 and
    V(t) = t(1-t) [1 + (N-1) ((1-t)/(2-t) + t/(1+t))] / (mn). It has a width also at an AUC of 0 or 1.

    Raises:
        ValueError: The AUC is outside 0..1, a class is empty, or the level is not a share.

    Source:
        Newcombe (2006), Statistics in Medicine 25, method 5.
    """
    require_share(level, "level")
    m, n = n_positive.__index__(), n_negative.__index__()
    if not 0 <= auc <= 1 or min(m, n) < 1:
        raise ValueError(
            f"auc {auc} of {m} positives and {n} negatives: allowed are 0 to 1 and at least 1 each"
        )
    z = float(stats.norm.ppf((1 + level) / 2))
    low = _lower_bound(float(auc), m, n, z)
    high = 1 - _lower_bound(1.0 - auc, m, n, z)
    return Estimate(value=float(auc), low=low, high=high, n=m + n, level=level, method="Newcombe")


def _lower_bound(auc: float, m: int, n: int, z: float) -> float:
    if auc == 0:
        return 0.0

    def excess(t: float) -> float:
        bracket = 1 + ((m + n) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
        return auc - t - z * math.sqrt(t * (1 - t) * bracket / (m * n))

    # at an AUC of 1 the trivial root t = 1 is kept out
    return float(optimize.brentq(excess, 0.0, min(auc, 1 - 1e-12), xtol=1e-13))


def _double_ranks(scores: Float[np.ndarray, " unit"]) -> Int[np.ndarray, " unit"]:
    """Return mean ranks times two, which are whole numbers also for ties."""
    return np.asarray(np.rint(2 * stats.rankdata(scores)), dtype=np.int64)


def _auc_from_ranks(double_ranks: Int[np.ndarray, " unit"], positive: Bool[np.ndarray, " unit"]) -> float:
    m, n = int(positive.sum()), int((~positive).sum())
    return (int(double_ranks[positive].sum()) - m * (m + 1)) / (2 * m * n)


def _auc_distribution(
    double_ranks: Int[np.ndarray, " unit"], n_positive: int
) -> tuple[Float[np.ndarray, " value"], Float[np.ndarray, " value"]]:
    """Return the AUCs that placing the labels can give, and the share of placements that gives each."""
    most = int(np.sort(double_ranks)[-n_positive:].sum())
    ways = np.zeros((n_positive + 1, most + 1))  # [positives placed, sum of their double ranks]
    ways[0, 0] = 1
    for rank in double_ranks:
        ways[1:, rank:] += ways[:-1, : most + 1 - rank].copy()
    m, n = n_positive, len(double_ranks) - n_positive
    sums = np.flatnonzero(ways[m])
    return (sums - m * (m + 1)) / (2 * m * n), ways[m, sums] / math.comb(m + n, m)
