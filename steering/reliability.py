"""Measure how far a direction depends on its rows, and what it would be without a behaviour.

Every function fits the estimator many times at every point: `n_splits` times 2, or `n_draws`. Draw k depends
on the seed and on k alone, so asking for more draws keeps the first ones. A cosine with a vector of zeros
counts as 0, an angle with it as 90 degrees: where nothing was found, nothing can be found again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from activations import Activations, HookPoint
from steering.extract import estimate, is_paired, require_comparable

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SplitHalf:
    """Cosine between the directions of two random halves of the rows; a value for each point.

    Attributes:
        points: The hook points, in the order of the values.
        mean: Mean over splits. About one half of the rows: `cosines.spearman_brown` steps it up to all of
            them.
        low: 2.5 % quantile over splits: how much the choice of halves matters, not an interval for the
            population.
        high: 97.5 % quantile.
        estimator: What made the directions.
        n_splits: How many splits were made.
        n_positive: Rows of the positive side before splitting.
        n_negative: Rows of the negative side.
        paired: Whether row i of both sides went into the same half.
    """

    points: tuple[HookPoint, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    estimator: str
    n_splits: int
    n_positive: int
    n_negative: int
    paired: bool


@dataclass(frozen=True, kw_only=True)
class BootstrapAngle:
    """Angle in degrees between a direction and those of rows drawn again; a value for each point.

    Attributes:
        points: The hook points, in the order of the values.
        median: Median over draws.
        high: 95 % quantile.
        estimator: What made the directions.
        n_draws: How often the rows were drawn.
        n_positive: Rows of the positive side.
        n_negative: Rows of the negative side.
        paired: Whether row i of both sides was drawn together.
    """

    points: tuple[HookPoint, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]
    estimator: str
    n_draws: int
    n_positive: int
    n_negative: int
    paired: bool


def split_half_cosine(
    positive: Activations,
    negative: Activations,
    *,
    estimator: str = "difference_of_means",
    n_splits: int = 50,
    seed: int,
) -> SplitHalf:
    """Return how alike the directions of two disjoint halves of the rows are.

    When both sides have the same row ids, a row goes into the same half on both sides.

    Raises:
        ValueError: The sides cannot be compared, one has fewer than 2 rows, or `n_splits` is below 1.
    """
    paired = _start(positive, negative, at_least=2, n_draws=n_splits)
    n_positive, n_negative = len(positive.rows), len(negative.rows)
    draws: list[tuple[Rows, Rows]] = []
    for k in range(n_splits):
        draw = keyed_generator(seed, "split", k)
        order = draw.permutation(n_positive)
        other = order if paired else draw.permutation(n_negative)
        draws += zip(_halves(order), _halves(n_positive + other), strict=True)
    halves = _refit(positive, negative, draws, estimator)
    found = cosine_or_zero(halves[::2], halves[1::2])
    return SplitHalf(
        points=positive.points,
        mean=tuple(found.mean(dim=0).tolist()),
        low=_quantile(found, 0.025),
        high=_quantile(found, 0.975),
        estimator=estimator,
        n_splits=n_splits,
        n_positive=n_positive,
        n_negative=n_negative,
        paired=paired,
    )


def bootstrap_angle(
    positive: Activations,
    negative: Activations,
    *,
    estimator: str = "difference_of_means",
    n_draws: int = 200,
    seed: int,
) -> BootstrapAngle:
    """Return how far the direction turns when the rows are drawn again with replacement.

    When both sides have the same row ids, pairs are drawn; otherwise each side is drawn on its own.

    Raises:
        ValueError: The sides cannot be compared, one has fewer than 2 rows, or `n_draws` is below 1.
    """
    paired = _start(positive, negative, at_least=2, n_draws=n_draws)
    n_positive, n_negative = len(positive.rows), len(negative.rows)
    draws = [(np.arange(n_positive), n_positive + np.arange(n_negative))]
    for k in range(n_draws):
        draw = keyed_generator(seed, "bootstrap", k)
        rows = draw.integers(n_positive, size=n_positive)
        others = rows if paired else draw.integers(n_negative, size=n_negative)
        draws.append((rows, n_positive + others))
    full, *again = _refit(positive, negative, draws, estimator)
    found = torch.stack([cosine_or_zero(full, one) for one in again]).acos().rad2deg()
    return BootstrapAngle(
        points=positive.points,
        median=_quantile(found, 0.5),
        high=_quantile(found, 0.95),
        estimator=estimator,
        n_draws=n_draws,
        n_positive=n_positive,
        n_negative=n_negative,
        paired=paired,
    )


def shuffled_null(
    positive: Activations,
    negative: Activations,
    *,
    estimator: str = "difference_of_means",
    n_draws: int = 100,
    seed: int,
) -> Float[Tensor, "draw point d_model"]:
    """Return directions of shuffled labels: what extraction finds when there is nothing to find.

    When both sides have the same row ids, each pair is swapped or not with equal chance, else labels are
    permuted over all rows with the counts kept. Under no effect the true labels are one more such draw, so
    the rank of the true direction's length among these lengths is an exact test (`controls.empirical_p`).
    Swapping pairs leaves the axis of `first_principal_component` as it was: only its lengths are a null.

    Returns:
        The vectors, with their own lengths, float32. `controls.shuffled_directions` makes directions of them.

    Raises:
        ValueError: The sides cannot be compared, one is empty, or `n_draws` is below 1.
    """
    paired = _start(positive, negative, at_least=1, n_draws=n_draws)
    n_positive, n_negative = len(positive.rows), len(negative.rows)
    draws = []
    for k in range(n_draws):
        draw = keyed_generator(seed, "shuffle", k)
        if paired:
            swapped = draw.random(n_positive) < 0.5
            first, second = np.arange(n_positive), np.arange(n_positive) + n_positive
            draws.append((np.where(swapped, second, first), np.where(swapped, first, second)))
        else:
            mixed = draw.permutation(n_positive + n_negative)
            draws.append((mixed[:n_positive], mixed[n_positive:]))
    return _refit(positive, negative, draws, estimator)


def keyed_generator(seed: int, *key: str | int) -> np.random.Generator:
    """Return a generator of its own for each (seed, key): no draw depends on how many were made before it."""
    if seed < 0:
        raise ValueError(f"seed {seed} is below 0")
    return np.random.default_rng(
        [seed, *(part if isinstance(part, int) else crc32(part.encode()) for part in key)]
    )


def cosine_or_zero(
    one: Float[Tensor, "*batch d_model"], other: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch"]:
    """Return the cosine over the last axis in float64; 0 where a vector is zero."""
    dots = (one.double() * other.double()).sum(dim=-1)
    lengths = one.double().norm(dim=-1) * other.double().norm(dim=-1)
    return torch.where(lengths > 0, dots / lengths, torch.zeros_like(dots)).clamp(-1, 1)


def _start(positive: Activations, negative: Activations, *, at_least: int, n_draws: int) -> bool:
    require_comparable(positive, negative, across_models=True)
    for side, rows in (("positive", positive.rows), ("negative", negative.rows)):
        if len(rows) < at_least:
            raise ValueError(f"{side}: {len(rows)} rows, need at least {at_least}")
    if n_draws < 1:
        raise ValueError(f"{n_draws} draws, need at least 1")
    return is_paired(positive, negative)


def _refit(
    positive: Activations, negative: Activations, draws: Sequence[tuple[Rows, Rows]], estimator: str
) -> Float[Tensor, "draw point d_model"]:
    """Fit the estimator on each draw: two lists of row numbers, which run on from positive to negative."""
    chosen = [(torch.from_numpy(above), torch.from_numpy(below)) for above, below in draws]
    found = []
    for point in positive.points:
        rows = torch.cat([positive.at(point), negative.at(point)])
        fits = [estimate(rows[above], rows[below], point, estimator) for above, below in chosen]
        found.append(torch.stack(fits))
    return torch.stack(found, dim=1)


def _halves(order: Rows) -> tuple[Rows, Rows]:
    middle = len(order) // 2
    return order[:middle], order[middle:]


def _quantile(found: Tensor, level: float) -> tuple[float, ...]:
    return tuple(torch.quantile(found, level, dim=0).tolist())
