"""Which tokens count as the lowest: one rule for Min-K%, Min-K%++ and their comparison with a reference."""

from math import floor
from operator import index
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float, Int

from pipeline.membership.token_arrays import Number, require_ratio


def n_lowest(m: SupportsIndex, ratio: Number) -> int:
    """Return how many of `m` tokens are the lowest `ratio`: rounded down, but at least one.

    The public implementations round down without a least one, so short texts score nan there. The 1e-9
    undoes float error: 100 * 0.29 is 28.999..., and means 29.

    Args:
        m: Scored tokens, at least 1.
        ratio: Share from 0 (the one lowest token) to 1 (all).

    Raises:
        ValueError: There are no tokens, or the ratio is outside 0..1.
    """
    require_ratio(ratio)
    if index(m) < 1:
        raise ValueError(f"m is {index(m)}, need at least 1 scored token")
    return max(1, floor(index(m) * ratio + 1e-9))


def lowest_tokens(values: Float[np.ndarray, " token"], ratio: Number) -> Int[np.ndarray, " lowest"]:
    """Return the positions of the lowest values; of equal ones the earlier."""
    return np.argsort(values, kind="stable")[: n_lowest(len(values), ratio)]
