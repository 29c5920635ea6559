"""Many tests at once: p values adjusted over a family that was written down before.

A family is what is reported together: domains x metrics x conditions. Holm answers "which domains"; Benjamini
and Hochberg is for screening.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pipeline.statistics.checks import as_values


def holm(p_values: ArrayLike) -> Float[np.ndarray, " test"]:
    """Return p values adjusted so that one or more false alarms in the family stay below the level.

    Args:
        p_values: All tests of the family, also the dull ones, in any order.

    Returns:
        Adjusted p values in the same order, at most 1.

    Raises:
        ValueError: There are none, or one is nan or outside 0..1.

    Source:
        Holm (1979), Scandinavian Journal of Statistics 6(2).
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _in_place_of(order, np.minimum(stepped, 1.0))


def benjamini_hochberg(p_values: ArrayLike) -> Float[np.ndarray, " test"]:
    """Return p values adjusted so that the share of false alarms among alarms stays below the level.

    For tests that are independent or positively related.

    Args:
        p_values: All tests of the family, in any order.

    Returns:
        Adjusted p values in the same order, at most 1.

    Raises:
        ValueError: There are none, or one is nan or outside 0..1.

    Source:
        Benjamini and Hochberg (1995), JRSS B 57(1).
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    stepped = np.minimum.accumulate(scaled[::-1])[::-1]
    return _in_place_of(order, np.minimum(stepped, 1.0))


def _checked(p_values: ArrayLike) -> Float[np.ndarray, " test"]:
    p = as_values(p_values, "p_values")
    if outside := p[(p < 0) | (p > 1)].tolist():
        raise ValueError(f"p_values: {outside[0]:g} is no p value, allowed: 0 to 1")
    return p


def _in_place_of(order: np.ndarray, ordered: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    adjusted = np.empty_like(ordered)
    adjusted[order] = ordered
    return adjusted
