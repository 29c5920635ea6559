"""Take the caller's numbers and groups in, or say where, what came and what is allowed."""

from collections.abc import Hashable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

Groups: TypeAlias = Sequence[Hashable] | Shaped[np.ndarray, " row"]
"""One label per row, e.g. the question that a sample answers; any hashable value."""

Number: TypeAlias = float | int


def as_values(values: ArrayLike, name: str, *, at_least: int = 1) -> Float[np.ndarray, " value"]:
    """Return the numbers as float64 in one dimension.

    Args:
        values: A list or array of numbers or truth values.
        name: What the caller calls it, for the error.
        at_least: How many are needed.

    Raises:
        ValueError: They are not numbers in one dimension, are too few, or one is nan or infinite.
    """
    array = as_numbers(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name}: got shape {array.shape}, needed: one dimension")
    if len(array) < at_least:
        raise ValueError(f"{name}: got {len(array)} values, need at least {at_least}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ValueError(
            f"{name}: {len(bad)} of {len(array)} values are nan or infinite, the first at {bad[0]}; "
            "leave missing values out and count them"
        )
    return array


def as_numbers(values: ArrayLike, name: str) -> Float[np.ndarray, "..."]:
    """Return numbers or truth values as float64, whatever their shape; nan may be among them.

    Raises:
        ValueError: They are something else, or rows of unequal length.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name}: rows of unequal length, needed: a plain list or array of numbers"
        ) from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: got values of type {array.dtype}, needed: real numbers")
    return array.astype(np.float64)


def as_matched(
    first: ArrayLike, second: ArrayLike, names: tuple[str, str], *, at_least: int = 1
) -> tuple[Float[np.ndarray, " value"], Float[np.ndarray, " value"]]:
    """Return two lists of numbers that belong together position by position.

    Raises:
        ValueError: One is refused by `as_values`, or their lengths differ.
    """
    one, two = as_values(first, names[0], at_least=at_least), as_values(second, names[1], at_least=at_least)
    require_lengths(len(one), len(two), names)
    return one, two


def require_lengths(first: int, second: int, names: tuple[str, str]) -> None:
    """Refuse two lists of unequal length.

    Raises:
        ValueError: The lengths differ.
    """
    if first != second:
        raise ValueError(
            f"{names[0]} holds {first} values and {names[1]} {second}; they must match one to one"
        )


def group_codes(groups: Groups, n_rows: int, name: str) -> Int[np.ndarray, " row"]:
    """Return a number from 0 for every row's group, in order of first appearance.

    Raises:
        ValueError: There is not one label per row, or a label is missing (None or nan).
    """
    labels = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(labels) != n_rows:
        raise ValueError(f"{name} holds {len(labels)} labels for {n_rows} values; they must match one to one")
    codes: dict[Hashable, int] = {}
    numbered = np.empty(n_rows, dtype=np.int64)
    for row, label in enumerate(labels):
        if label is None or label != label:  # only nan differs from itself
            raise ValueError(f"{name}: label {row} is {label}; every value needs a group")
        numbered[row] = codes.setdefault(label, len(codes))
    return numbered


def as_classes(labels: ArrayLike, n_rows: int, name: str = "labels") -> Bool[np.ndarray, " row"]:
    """Return labels 0/1 or False/True as truth values.

    Raises:
        ValueError: They are not such labels, not one per row, or all of one class.
    """
    values = as_values(labels, name)
    require_lengths(n_rows, len(values), ("scores", name))
    if odd := sorted(set(values.tolist()) - {0.0, 1.0}):
        raise ValueError(f"{name}: holds {odd[0]:g}, allowed: 0 and 1, or False and True")
    positive = values == 1
    if positive.all() or not positive.any():
        raise ValueError(f"{name}: all {n_rows} are {int(values[0])}, need both classes")
    return np.asarray(positive)


def require_share(value: float, name: str) -> None:
    """Refuse a level, power or alpha that does not lie strictly between 0 and 1.

    Raises:
        ValueError: It does not.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}, allowed: more than 0 and less than 1, e.g. 0.95")
