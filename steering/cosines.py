"""Compare directions with one another, and say between which floor and ceiling a cosine has to be read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.special import betaincinv
from torch import Tensor

from activations import HookPoint
from steering.direction import Direction
from steering.reliability import cosine_or_zero


@dataclass(frozen=True, kw_only=True, eq=False)
class CosineTable:
    """The cosine of every direction with every other at one hook point.

    Attributes:
        cosines: Symmetric, with ones on the diagonal, float64.
        names: The directions, in the order of both axes.
        point: The hook point.
        n_positive: For each direction the rows it was made from, positive side.
        n_negative: The same for the negative side.
        isotropic_floor: The 95 % quantile of |cosine| between random directions of this width.
    """

    cosines: Float[Tensor, "direction direction"]
    names: tuple[str, ...]
    point: HookPoint
    n_positive: tuple[int, ...]
    n_negative: tuple[int, ...]
    isotropic_floor: float


@dataclass(frozen=True, kw_only=True)
class CosineFloor:
    """What |cosine| with a direction chance reaches; a value for each point.

    Attributes:
        points: The hook points, in the order of the values.
        values: The quantile of |cosine| over the draws.
        quantile: Which quantile.
        n_draws: How many directions of shuffled labels were compared.
    """

    points: tuple[HookPoint, ...]
    values: tuple[float, ...]
    quantile: float
    n_draws: int


def cosine_table(directions: Sequence[Direction], point: HookPoint | int) -> CosineTable:
    """Return the cosines between directions at one hook point, which all of them must have.

    Raises:
        LookupError: A direction has no vector at the point.
        ValueError: There are no directions, they belong to different models, or one is zero at the point.
    """
    here = [direction.select([point]) for direction in directions]
    if not here:
        raise ValueError("cosine table of no directions, need at least 1")
    return CosineTable(
        cosines=torch.stack([torch.cat([one.cosine(other) for other in here]) for one in here]),
        names=tuple(direction.name for direction in here),
        point=here[0].points[0],
        n_positive=tuple(direction.n_positive for direction in here),
        n_negative=tuple(direction.n_negative for direction in here),
        isotropic_floor=isotropic_floor(here[0].subject.d_model),
    )


def spearman_brown(split_half: float) -> float:
    """Return the reliability of a direction from all rows, given the mean cosine between those of two halves.

    r = 2 c / (1 + c). Assumes that the noise of the halves is independent and of equal size, and that its
    variance falls as one over the rows: true of a difference of means, approximate for the other estimators.
    In words: the cosine that a second, equally large set of rows would reach. A cosine below 0 is noise and
    gives 0.

    Source:
        Spearman (1910) and Brown (1910), both Br. J. Psychology 3.
    """
    if not -1 <= split_half <= 1:
        raise ValueError(f"split-half cosine {split_half} is outside -1..1")
    kept = max(split_half, 0.0)
    return 2 * kept / (1 + kept)


def cosine_ceiling(split_half_a: float, split_half_b: float) -> float:
    """Return what the cosine of two noisy directions comes to when the true ones are the same.

    sqrt(r_a r_b), with r from `spearman_brown`. Assumes further that the noise of the two directions is
    independent: two directions that share rows, e.g. the same negative side, share noise and can exceed this.
    It is an expectation, not a bound; single values scatter around it.

    Source:
        Spearman (1904), American J. Psychology 15: the correction for attenuation.
    """
    return float((spearman_brown(split_half_a) * spearman_brown(split_half_b)) ** 0.5)


def isotropic_floor(d_model: int, quantile: float = 0.95) -> float:
    """Return a quantile of |cosine| between two independent random directions, exactly.

    The squared cosine of two uniform directions has a Beta(1/2, (d_model - 1) / 2) distribution. Residual
    streams are far from uniform, a few axes carry most of the variance, so unrelated directions of a real
    model reach more: `shuffled_floor` measures that.

    Raises:
        ValueError: `d_model` is below 2 or the quantile not between 0 and 1.
    """
    if d_model < 2:
        raise ValueError(f"d_model {d_model} is below 2")
    _check_quantile(quantile)
    return float(betaincinv(0.5, (d_model - 1) / 2, quantile) ** 0.5)


def shuffled_floor(
    null: Float[Tensor, "draw point d_model"], against: Direction, *, quantile: float = 0.95
) -> CosineFloor:
    """Return a quantile of |cosine| between a direction and directions of shuffled labels, at every point.

    Args:
        null: From `reliability.shuffled_null` on the data of the *other* direction of a comparison, at the
            same points. Not from `first_principal_component` on pairs, whose axis shuffling leaves as it was.
        against: The direction to compare with.
        quantile: Between 0 and 1.

    Raises:
        ValueError: The shapes do not fit, or the quantile is not between 0 and 1.
    """
    _check_quantile(quantile)
    n_points, d_model = against.vectors.shape
    if null.ndim != 3 or len(null) == 0 or null.shape[1:] != (n_points, d_model):
        raise ValueError(f"null: shape {tuple(null.shape)}, need (draw, {n_points}, {d_model})")
    cosines = cosine_or_zero(null, against.vectors.expand_as(null)).abs()
    return CosineFloor(
        points=against.points,
        values=tuple(torch.quantile(cosines, quantile, dim=0).tolist()),
        quantile=quantile,
        n_draws=len(null),
    )


def _check_quantile(quantile: float) -> None:
    if not 0 < quantile < 1:
        raise ValueError(f"quantile {quantile} is not between 0 and 1")
