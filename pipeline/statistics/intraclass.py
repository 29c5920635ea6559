"""How much rows of one group repeat each other: the intraclass correlation and what it costs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.statistics.checks import Groups, as_values, group_codes


@dataclass(frozen=True, kw_only=True)
class DesignEffect:
    """What clustering leaves of a number of rows.

    Attributes:
        icc: Share of the variance that lies between groups; below 0 where groups differ less than chance.
        design_effect: 1 + (rows per group - 1) * icc, at least 0: by how much the variance of a mean grows.
        n_rows: Rows there are.
        n_groups: Groups there are.
        n_effective: Independent rows they are worth: n_rows / design_effect, between 0 and n_rows.
    """

    icc: float
    design_effect: float
    n_rows: int
    n_groups: int
    n_effective: float


def design_effect(values: ArrayLike, groups: Groups) -> DesignEffect:
    """Return the intraclass correlation of rows in groups, e.g. of token scores in domains.

    Args:
        values: One number per row.
        groups: The group of each row.

    Raises:
        ValueError: Fewer than 2 groups, no group with 2 rows, all values equal, or values are refused.

    Source:
        ICC(1) from one-way analysis of variance; Kish (1965), Survey Sampling. Rows per group: for unequal
        groups the analysis of variance's average, (N - sum n_i^2 / N) / (C - 1).
    """
    array = as_values(values, "values")
    codes = group_codes(groups, len(array), "groups")
    sizes = np.bincount(codes)
    n_rows, n_groups = len(array), len(sizes)
    if n_groups < 2 or n_rows == n_groups:
        raise ValueError(
            f"{n_rows} rows in {n_groups} groups: need at least 2 groups, one with 2 rows or more"
        )
    means = np.bincount(codes, weights=array) / sizes
    between = float(sizes @ (means - array.mean()) ** 2) / (n_groups - 1)
    within = float(((array - means[codes]) ** 2).sum()) / (n_rows - n_groups)
    per_group = (n_rows - float(sizes @ sizes) / n_rows) / (n_groups - 1)
    if float(np.ptp(array)) == 0:
        raise ValueError(f"values: all {n_rows} are {array[0]:g}, so no variance can be split")
    icc = (between - within) / (between + (per_group - 1) * within)
    effect = max(0.0, 1 + (per_group - 1) * icc)
    effective = min(float(n_rows), n_rows / effect) if effect else float(n_rows)
    return DesignEffect(
        icc=icc, design_effect=effect, n_rows=n_rows, n_groups=n_groups, n_effective=effective
    )
