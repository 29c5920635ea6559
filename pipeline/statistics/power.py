"""What a design can show: smallest effect, power, and the p and AUC values that its n allows."""

import math
from operator import index
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

from pipeline.statistics.auc import auc_test
from pipeline.statistics.checks import Number, require_share


def paired_power(
    effect: Number,
    n_questions: int,
    sd_between: Number,
    *,
    sd_within: Number = 0.0,
    n_samples: int = 1,
    alpha: float = 0.05,
) -> float:
    """Return the chance that a two-sided paired t test over questions finds an effect.

    The difference of a question varies between questions with `sd_between`, and each arm adds the noise of
    its `n_samples` samples: sd^2 = sd_between^2 + 2 sd_within^2 / n_samples. More samples shrink only the
    second part, so more questions beat more samples.

    Args:
        effect: True mean difference, in points.
        n_questions: At least 2.
        sd_between: Standard deviation of the true differences over questions. If it was estimated from
            observed differences, the noise of samples is in it already: leave `sd_within` at 0.
        sd_within: Standard deviation of samples around their question's mean in one arm.
        n_samples: Samples per question and arm.
        alpha: Level of the test.

    Raises:
        ValueError: A setting is out of range, or nothing varies.
    """
    se = _standard_error(n_questions, sd_between, sd_within, n_samples)
    require_share(alpha, "alpha")
    return _power(effect / se, n_questions - 1, alpha)


def minimum_detectable_effect(
    n_questions: int,
    sd_between: Number,
    *,
    sd_within: Number = 0.0,
    n_samples: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Return the smallest true mean difference that a paired design finds with the given power.

    Args:
        n_questions: At least 2.
        sd_between: See `paired_power`.
        sd_within: See `paired_power`.
        n_samples: Samples per question and arm.
        alpha: Level of the two-sided test, below `power`.
        power: Chance to find the effect.

    Returns:
        An effect above 0, in the unit of the standard deviations.

    Raises:
        ValueError: A setting is out of range, or nothing varies.
    """
    se = _standard_error(n_questions, sd_between, sd_within, n_samples)
    require_share(alpha, "alpha")
    require_share(power, "power")
    if power <= alpha:
        raise ValueError(f"power {power} is not above alpha {alpha}: no effect at all reaches it")
    df = n_questions - 1
    top = 1.0
    while _power(top, df, alpha) < power:
        top *= 2
    return se * float(optimize.brentq(lambda shift: _power(shift, df, alpha) - power, 0.0, top, xtol=1e-9))


def sign_test_p(n_positive: SupportsIndex, n: SupportsIndex) -> float:
    """Return the two-sided p of `n_positive` of `n` if both signs were equally likely.

    Leave out differences of 0. For "7 of 9 domains" it is 0.18.

    Raises:
        ValueError: Not 0 <= n_positive <= n, or n is 0.
    """
    hits, tries = index(n_positive), index(n)
    if not 0 <= hits <= tries or tries == 0:
        raise ValueError(f"{hits} of {tries}: allowed are 0..n of at least 1")
    return float(stats.binomtest(hits, tries).pvalue)


def possible_aucs(n_positive: int, n_negative: int, *, ties: bool = True) -> Float[np.ndarray, " value"]:
    """Return the values an AUC can take for this many units, in rising order.

    Every pair adds 0 or 1, or a half where ties may occur, so a published AUC can be checked against its n.

    Raises:
        ValueError: A class is empty.
    """
    _require_classes(n_positive, n_negative)
    steps = (2 if ties else 1) * n_positive * n_negative
    return np.arange(steps + 1) / steps


def smallest_significant_auc(
    n_positive: int, n_negative: int, *, alpha: float = 0.05, two_sided: bool = False
) -> float:
    """Return the smallest AUC, without ties, whose exact permutation p is at most alpha; nan if none is.

    Args:
        n_positive: Units of class 1.
        n_negative: Units of class 0; at most 100 units in all.
        alpha: Level of the test.
        two_sided: False if the direction was declared beforehand, True if not.

    Raises:
        ValueError: A class is empty, there are too many units, or alpha is not a share.
    """
    _require_classes(n_positive, n_negative)
    require_share(alpha, "alpha")
    smallest = math.nan
    for reached in range(n_positive * n_negative, -1, -1):
        scores, labels = _units_with_auc(reached, n_positive, n_negative)
        if auc_test(scores, labels, direction="free" if two_sided else "higher").p > alpha:
            break
        smallest = reached / (n_positive * n_negative)
    return smallest


def _units_with_auc(
    n_won: int, n_positive: int, n_negative: int
) -> tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " unit"]]:
    """Return untied scores and labels where positives win `n_won` of all pairs."""
    negatives = np.arange(n_negative) + 1.0
    full, rest = divmod(n_won, n_negative)
    wins = [n_negative] * full + ([rest] if full < n_positive else []) + [0] * (n_positive - full - 1)
    positives = np.array(wins) + 0.5 + np.arange(n_positive) * 1e-3
    return np.concatenate([positives, negatives]), np.repeat([1.0, 0.0], [n_positive, n_negative])


def _power(shift: float, df: int, alpha: float) -> float:
    edge = float(stats.t.ppf(1 - alpha / 2, df))
    # the lower tail as the upper one of the mirrored distribution: scipy's cdf is nan far out
    return float(stats.nct.sf(edge, df, abs(shift)) + stats.nct.sf(edge, df, -abs(shift)))


def _standard_error(n_questions: int, sd_between: Number, sd_within: Number, n_samples: int) -> float:
    if n_questions < 2 or n_samples < 1:
        raise ValueError(f"{n_questions} questions with {n_samples} samples: need at least 2 and 1")
    if not (sd_between >= 0 and sd_within >= 0 and 0 < sd_between + sd_within < math.inf):
        raise ValueError(f"sd_between {sd_between}, sd_within {sd_within}: allowed are 0 or more, not both 0")
    return math.sqrt((sd_between**2 + 2 * sd_within**2 / n_samples) / n_questions)


def _require_classes(n_positive: int, n_negative: int) -> None:
    if min(n_positive, n_negative) < 1:
        raise ValueError(f"{n_positive} positives and {n_negative} negatives: need at least 1 of each")
