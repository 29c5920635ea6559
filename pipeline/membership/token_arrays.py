"""Take token statistics in, or say where, what came and what is allowed."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

Number: TypeAlias = float | int

ABOVE_ZERO = 1e-4
"""A float32 log-softmax may end this far above 0 by rounding; more is no log-probability."""


def as_log_probs(log_probs: ArrayLike, name: str = "log_probs") -> Float[np.ndarray, " token"]:
    """Return natural log-probabilities as float64; an empty list is allowed.

    Raises:
        ValueError: They are not numbers in one dimension, or one is nan, infinite or above 0.
    """
    values = as_token_values(log_probs, name)
    above = np.flatnonzero(values > ABOVE_ZERO)
    if len(above):
        raise ValueError(
            f"{name}: {values[above[0]]:.6g} at token {above[0]}, {len(above)} of {len(values)} are above 0; "
            "allowed: natural log-probabilities, 0 or less"
        )
    return values


def as_token_values(values: ArrayLike, name: str) -> Float[np.ndarray, " token"]:
    """Return one finite number per token as float64; an empty list is allowed.

    Raises:
        ValueError: They are not numbers in one dimension, or one is nan or infinite.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"{name}: got shape {array.shape}, needed: one dimension, one number per scored token"
        )
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name}: got values of type {array.dtype}, needed: real numbers")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ValueError(
            f"{name}: {array[bad[0]]} at token {bad[0]}, {len(bad)} of {len(array)} are nan or infinite; "
            "allowed: finite numbers"
        )
    return array.astype(np.float64)


def require_same_tokens(expected: int, found: int, name: str, hint: str = "") -> None:
    """Refuse a list that does not hold one number for each scored token; the hint ends the error.

    Raises:
        ValueError: The lengths differ.
    """
    if expected != found:
        raise ValueError(f"{name}: got {found} tokens for the {expected} of log_probs, needed: as many{hint}")


def require_ratio(ratio: Number) -> None:
    """Refuse a share of tokens outside 0..1.

    Raises:
        ValueError: It is outside, or nan.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio is {ratio}, allowed: 0 to 1, e.g. 0.2 for the lowest fifth of the tokens")
