"""Effect sizes without a unit. Report the difference in points with its interval first."""

import math

from numpy.typing import ArrayLike

from pipeline.statistics.auc import roc_auc
from pipeline.statistics.checks import as_values
from pipeline.statistics.intervals import standard_deviation


def cohens_d(first: ArrayLike, second: ArrayLike) -> float:
    """Return the difference of two means over the pooled standard deviation.

    Values without any spread give 0 for equal means, else plus or minus inf; so do `hedges_g` and `d_z`.

    Raises:
        ValueError: A group has fewer than 2 values, or one is not finite.
    """
    one, two = as_values(first, "first", at_least=2), as_values(second, "second", at_least=2)
    squares = (len(one) - 1) * standard_deviation(one) ** 2 + (len(two) - 1) * standard_deviation(two) ** 2
    return _standardised(float(one.mean() - two.mean()), math.sqrt(squares / (len(one) + len(two) - 2)))


def hedges_g(first: ArrayLike, second: ArrayLike) -> float:
    """Return Cohen's d times J = 1 - 3 / (4 df - 1), which takes out its bias in small groups.

    Raises:
        ValueError: A group has fewer than 2 values, or one is not finite.

    Source:
        Hedges (1981), Journal of Educational Statistics 6(2); J in its usual approximation.
    """
    d = cohens_d(first, second)
    df = len(as_values(first, "first")) + len(as_values(second, "second")) - 2
    return d * (1 - 3 / (4 * df - 1))


def d_z(differences: ArrayLike) -> float:
    """Return the mean of paired differences over their standard deviation.

    Not comparable with `cohens_d`: what questions have in common is taken out of the standard deviation.

    Raises:
        ValueError: There are fewer than 2 differences, or one is not finite.
    """
    values = as_values(differences, "differences", at_least=2)
    return _standardised(float(values.mean()), standard_deviation(values))


def cliffs_delta(first: ArrayLike, second: ArrayLike) -> float:
    """Return P(first > second) - P(first < second) over all pairs, from -1 to 1.

    Uses order alone, so it holds for scores that pile up at both ends of their scale.

    Raises:
        ValueError: A group is empty, or a value is not finite.

    Source:
        Cliff (1993), Dominance Statistics, Psychological Bulletin 114(3).
    """
    one, two = as_values(first, "first"), as_values(second, "second")
    return 2 * roc_auc([*one, *two], [1] * len(one) + [0] * len(two)) - 1


def _standardised(difference: float, sd: float) -> float:
    if sd:
        return difference / sd
    return math.copysign(math.inf, difference) if difference else 0.0
