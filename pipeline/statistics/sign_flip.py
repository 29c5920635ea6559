"""The sign-flip test of paired differences, exact for up to 30 of them, and the interval it inverts to.

If a difference is as likely to be +d as -d, all 2^n choices of signs were equally likely. Exactness needs no
normal distribution and no large n: the test for a handful of questions.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pipeline.statistics.checks import as_values, require_share
from pipeline.statistics.estimate import Estimate

EXACT_UP_TO = 30
"""More differences than this are tested on random sign choices: 2^15 partial sums are still instant."""

Alternative: TypeAlias = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True, kw_only=True)
class SignFlip:
    """What a sign-flip test found.

    Attributes:
        mean: The mean difference.
        p: Share of sign choices with a sum at least as extreme.
        n: Differences, zeros included.
        alternative: What the test looks for; `greater`: a mean above 0.
        method: `exact` or how many random sign choices were drawn.
    """

    mean: float
    p: float
    n: int
    alternative: Alternative
    method: str


def sign_flip_test(
    differences: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    rng: np.random.Generator | None = None,
    n_draws: int = 19_999,
) -> SignFlip:
    """Test whether differences are symmetric about 0, by flipping their signs.

    Exact for up to 30 differences that are not 0 (zeros change no sum): sums of either half are made once
    and matched by sorting. Beyond that, random sign choices, p = (1 + as extreme) / (1 + drawn).
    The smallest two-sided p is 2^(1-n): six differences or more are needed for p < 0.05.

    Args:
        differences: One number per question, e.g. its mean score with the trigger minus without.
        alternative: `two-sided`, or the side that was declared beforehand.
        rng: Where random signs come from; only needed for more than 30 differences.
        n_draws: How many random sign choices.

    Raises:
        ValueError: There are no differences, one is not finite, a setting is unknown, or `rng` is missing.
    """
    array = as_values(differences, "differences")
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative is {alternative!r}, allowed: 'two-sided', 'greater', 'less'")
    moving = -array[array != 0] if alternative == "less" else array[array != 0]
    both = alternative == "two-sided"
    observed = abs(float(moving.sum())) if both else float(moving.sum())
    threshold = observed - _rounding(moving)
    if both and threshold <= 0:
        p, method = 1.0, "exact"  # no sum is less extreme than 0
    elif len(moving) <= EXACT_UP_TO:
        p, method = (2 if both else 1) * _share_at_least(moving, threshold), "exact"
    else:
        sums = _random_signs(_required(rng, len(moving)), n_draws, len(moving)) @ moving
        extreme = np.abs(sums) >= threshold if both else sums >= threshold
        p, method = (1 + int(extreme.sum())) / (1 + n_draws), f"{n_draws} random sign choices"
    return SignFlip(mean=float(array.mean()), p=p, n=len(array), alternative=alternative, method=method)


def sign_flip_interval(
    differences: ArrayLike,
    *,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    n_draws: int = 19_999,
) -> Estimate:
    """Return the mean difference with all centres that the two-sided sign-flip test does not reject.

    Exact for up to 30 differences, random sign choices beyond. Below six differences a 95 % interval has
    no bounds, as nothing could be rejected.

    Args:
        differences: One number per question.
        level: Coverage, reached exactly or exceeded for differences symmetric about their centre.
        rng: Where random signs come from; only needed for more than 30 differences.
        n_draws: How many random sign choices.

    Raises:
        ValueError: There are no differences, one is not finite, a setting is refused, or `rng` is missing.

    Source:
        Hartigan (1969), Using Subsample Values as Typical Values, JASA 64(328): the ends are the means of
        subsets of the differences.
    """
    array = as_values(differences, "differences")
    require_share(level, "level")
    tail = (1 - level) / 2
    if len(array) <= EXACT_UP_TO:
        low, high, method = _lower_end(array, tail), -_lower_end(-array, tail), "sign-flip, exact"
    else:
        low, high = _ends_from_subsets(array, tail, _required(rng, len(array)), n_draws)
        method = f"sign-flip, {n_draws} random sign choices"
    return Estimate(value=float(array.mean()), low=low, high=high, n=len(array), level=level, method=method)


def _lower_end(values: Float[np.ndarray, " value"], tail: float) -> float:
    """Return the smallest centre whose one-sided p exceeds `tail`; p grows with the centre."""

    def rejected(centre: float) -> bool:
        shifted = values - centre
        return _share_at_least(shifted, float(shifted.sum()) - _rounding(shifted)) <= tail

    if 0.5 ** len(values) > tail:  # even the most extreme of all sign choices is not rare
        return -math.inf
    below, above = float(values.min()), float(values.mean())
    if not rejected(below):
        return below
    while above - below > 1e-12 * (abs(above) + abs(below)):
        middle = (below + above) / 2
        if middle in (below, above):
            break
        below, above = (middle, above) if rejected(middle) else (below, middle)
    return above


def _ends_from_subsets(
    values: Float[np.ndarray, " value"], tail: float, rng: np.random.Generator, n_draws: int
) -> tuple[float, float]:
    """Return the ends as order statistics of random subset means, where a draw turns against a centre."""
    members = _random_signs(rng, n_draws, len(values)) > 0
    members = members[members.any(axis=1)]
    means = np.sort((members @ values) / members.sum(axis=1))
    rank = math.floor(tail * (len(means) + 1) + 1e-9)
    return (float(means[rank - 1]), float(means[-rank])) if rank else (-math.inf, math.inf)


def _share_at_least(values: Float[np.ndarray, " value"], threshold: float) -> float:
    """Return the share of all sign choices with a sum of at least `threshold`, meeting in the middle."""
    half = len(values) // 2
    left, right = _signed_sums(values[:half]), np.sort(_signed_sums(values[half:]))
    reached = len(right) - np.searchsorted(right, threshold - left, side="left")
    return float(reached.sum() * 0.5 ** len(values))


def _signed_sums(values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " choice"]:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _random_signs(rng: np.random.Generator, n_draws: int, n: int) -> Float[np.ndarray, "draw value"]:
    if n_draws < 99:
        raise ValueError(f"n_draws is {n_draws}, need at least 99")
    return rng.integers(2, size=(n_draws, n), dtype=np.int8) * 2.0 - 1.0


def _rounding(values: Float[np.ndarray, " value"]) -> float:
    """Return how far equal sums may lie apart in float64; ties must count as extreme."""
    return float(1e-11 * np.abs(values).sum())


def _required(rng: np.random.Generator | None, n: int) -> np.random.Generator:
    if rng is None:
        raise ValueError(f"{n} differences are more than {EXACT_UP_TO}: random sign choices need `rng`")
    return rng
