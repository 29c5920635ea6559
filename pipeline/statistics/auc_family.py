"""The best AUC of several metrics, with a p that knows how many were tried."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats

from pipeline.statistics.auc import roc_auc
from pipeline.statistics.checks import as_classes, as_values, require_lengths

MOST_PLACEMENTS = 200_000
"""Ways to place the labels that are gone through one by one: 10 of 20 units are 184,756."""


@dataclass(frozen=True, kw_only=True)
class BestAuc:
    """The metric that tells two classes apart best, after all of them were looked at.

    Attributes:
        metric: Its name.
        auc: Its AUC, not turned round.
        p: Share of label placements whose best metric does at least as well.
        n_metrics: How many were tried.
        method: `exact` or how many random placements were drawn.
    """

    metric: str
    auc: float
    p: float
    n_metrics: int
    method: str


def best_auc(
    metrics: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    direction: Literal["higher", "free"],
    rng: np.random.Generator | None = None,
    n_draws: int = 19_999,
) -> BestAuc:
    """Return the best metric with the permutation p of the best: the null takes the same maximum.

    Args:
        metrics: Scores of every metric tried, one per unit, all in the same order of units.
        labels: 1 or True for a positive, 0 or False for a negative.
        direction: `higher` if positives were declared to score higher on all of them, `free` to count
            max(auc, 1 - auc), also under the null.
        rng: Where random placements come from; only needed for more than 200,000 placements.
        n_draws: How many random placements.

    Raises:
        ValueError: No metric, scores or labels are refused, the direction is unknown, or `rng` is missing.
    """
    if not metrics:
        raise ValueError("metrics: got none, need at least 1")
    if direction not in ("higher", "free"):
        raise ValueError(f"direction is {direction!r}, allowed: 'higher', 'free'")
    columns = {name: as_values(scores, name) for name, scores in metrics.items()}
    first = next(iter(columns))
    for name, scores in columns.items():
        require_lengths(len(columns[first]), len(scores), (first, name))
    positive = as_classes(labels, len(columns[first]))
    found = np.array([roc_auc(scores, positive) for scores in columns.values()])
    reach = np.abs(found - 0.5) if direction == "free" else found
    placements, method = _placements(positive, rng, n_draws)
    null = _best_of(placements, list(columns.values()), direction)
    extreme = int((null >= reach.max() - 1e-12).sum())
    p = extreme / len(null) if method == "exact" else (1 + extreme) / (1 + len(null))
    best = int(reach.argmax())
    return BestAuc(
        metric=list(columns)[best], auc=float(found[best]), p=p, n_metrics=len(columns), method=method
    )


def _best_of(
    placements: Float[np.ndarray, "placement unit"], columns: list[Float[np.ndarray, " unit"]], direction: str
) -> Float[np.ndarray, " placement"]:
    m = int(placements[0].sum())
    pairs = m * (placements.shape[1] - m)
    ranks = np.stack([stats.rankdata(scores) for scores in columns], axis=1)
    aucs = (placements @ ranks - m * (m + 1) / 2) / pairs
    return np.asarray((np.abs(aucs - 0.5) if direction == "free" else aucs).max(axis=1))


def _placements(
    positive: np.ndarray, rng: np.random.Generator | None, n_draws: int
) -> tuple[Float[np.ndarray, "placement unit"], str]:
    n, m = len(positive), int(positive.sum())
    n_ways = comb(n, m)
    if n_ways <= MOST_PLACEMENTS:
        chosen = np.array(list(combinations(range(n), m)))
        placements = np.zeros((n_ways, n))
        np.put_along_axis(placements, chosen, 1.0, axis=1)
        return placements, "exact"
    if rng is None:
        raise ValueError(
            f"{n_ways} ways to place the labels are more than {MOST_PLACEMENTS}: `rng` is needed"
        )
    return rng.permuted(
        np.tile(positive.astype(np.float64), (n_draws, 1)), axis=1
    ), f"{n_draws} random placements"
