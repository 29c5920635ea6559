"""Find one vector from two sets of activations at one hook point.

An estimator is a plain function of the two sides. Difference of means keeps its own length. The others only
find an axis; they return the part of the difference of means along it, so that every direction is on the
scale of the residual stream and points from negative to positive by construction.

Does not: say whether the vector means anything (`reliability.py`, `controls.py`).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

Estimator = Callable[
    [Float[Tensor, "n_positive d_model"], Float[Tensor, "n_negative d_model"]], Float[Tensor, " d_model"]
]

LEAST_SHRINKAGE = 1e-6
"""Keeps the covariance invertible where Ledoit and Wolf would not shrink at all."""


def difference_of_means(
    positive: Float[Tensor, "n_positive d_model"], negative: Float[Tensor, "n_negative d_model"]
) -> Float[Tensor, " d_model"]:
    """Return the mean positive activation minus the mean negative one.

    Adding it once carries the mean negative activation onto the mean positive one. Means run in float64, so
    bfloat16 activations lose nothing in the sum; the result is float32.

    Args:
        positive: Activations where the behaviour shows, one row per prompt.
        negative: Activations where it does not, at the same hook point and tokens.

    Raises:
        ValueError: A side has no rows or another width, or holds a value that is not finite.

    Source:
        Rimsky et al. (2023), Steering Llama 2 via Contrastive Activation Addition, arXiv:2312.06681. They
        average over pairs, which is the same with equal counts.
    """
    above, below = _float64_sides(positive, negative)
    return (above.mean(dim=0) - below.mean(dim=0)).float()


def first_principal_component(
    positive: Float[Tensor, "n_positive d_model"], negative: Float[Tensor, "n_negative d_model"]
) -> Float[Tensor, " d_model"]:
    """Return the difference of means along the first principal component of the paired differences.

    Row i of one side is compared with row i of the other. The differences are not centred: their mean is what
    is looked for, and centring removes it. The axis does not see the labels, since swapping a pair only
    changes the sign of its difference: against shuffled labels compare lengths, never cosines.

    Args:
        positive: Activations where the behaviour shows, one row per prompt.
        negative: Those of the same prompts without it, in the same order.

    Raises:
        ValueError: As for `difference_of_means`, or the sides have different counts.

    Source:
        Zou et al. (2023), Representation Engineering, arXiv:2310.01405, who shuffle the order within pairs
        before they centre, which comes to the same. repeng's `pca_center` is this estimator; its default
        `pca_diff` centres the ordered differences and so loses their mean.
    """
    above, below = _float64_sides(positive, negative)
    if len(above) != len(below):
        raise ValueError(
            f"paired differences need equal counts, got {len(above)} positive and {len(below)} negative rows"
        )
    pairs = above - below
    if len(pairs) <= pairs.shape[1]:  # the smaller of the two Gram matrices has the same leading component
        axis = pairs.T @ torch.linalg.eigh(pairs @ pairs.T).eigenvectors[:, -1]
    else:
        axis = torch.linalg.eigh(pairs.T @ pairs).eigenvectors[:, -1]
    return _difference_along(axis, above, below)


def logistic_probe(
    positive: Float[Tensor, "n_positive d_model"], negative: Float[Tensor, "n_negative d_model"]
) -> Float[Tensor, " d_model"]:
    """Return the difference of means along the weights of a logistic regression that tells the sides apart.

    Features are divided by their standard deviation within the sides for the fit (L2 penalty, C = 1), and the
    weights mapped back. Dividing by the deviation over all rows, as is common, would count the difference
    that is looked for as noise: the stronger it is, the more of it is lost. Weights say what reads the
    behaviour best; they also cancel noise, so they need not be what the model itself writes.

    Raises:
        ValueError: As for `difference_of_means`.

    Source:
        Alain and Bengio (2016), Understanding intermediate layers using linear classifier probes,
        arXiv:1610.01644. On weights against patterns: Haufe et al. (2014), NeuroImage 87.
    """
    above, below = _float64_sides(positive, negative)
    rows = torch.cat([above, below])
    scale = torch.from_numpy(StandardScaler().fit(_within(above, below).numpy()).scale_)
    labels = [1] * len(above) + [0] * len(below)
    probe = LogisticRegression(max_iter=1000).fit(((rows - rows.mean(dim=0)) / scale).numpy(), labels)
    return _difference_along(torch.from_numpy(probe.coef_[0]) / scale, above, below)


def whitened_difference(
    positive: Float[Tensor, "n_positive d_model"], negative: Float[Tensor, "n_negative d_model"]
) -> Float[Tensor, " d_model"]:
    """Return the difference of means along the axis of linear discriminant analysis.

    The axis is the inverse of the covariance within the sides, shrunk towards a multiple of the identity,
    times the difference of means. Where nothing varies within the sides (one row each) it is the difference
    of means itself. Costs the memory of the smaller of rows^2 and d_model^2 numbers.

    Raises:
        ValueError: As for `difference_of_means`.

    Source:
        Ledoit and Wolf (2004), J. Multivariate Analysis 88, for the shrinkage. Marks and Tegmark (2023), The
        Geometry of Truth, arXiv:2310.06824, use the same axis unshrunk to read (their mass-mean probe).
    """
    above, below = _float64_sides(positive, negative)
    difference = above.mean(dim=0) - below.mean(dim=0)
    within = _within(above, below)
    spread = float(within.square().mean())
    if spread == 0:
        return difference.float()
    shrinkage = max(float(ledoit_wolf_shrinkage(within.numpy(), assume_centered=True)), LEAST_SHRINKAGE)
    axis = _solve_ridge(within * ((1 - shrinkage) / len(within)) ** 0.5, shrinkage * spread, difference)
    return _difference_along(axis, above, below)


ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "difference_of_means": difference_of_means,
        "first_principal_component": first_principal_component,
        "logistic_probe": logistic_probe,
        "whitened_difference": whitened_difference,
    }
)

PAIRED = ("first_principal_component",)
"""Estimators for which row i of one side belongs to row i of the other."""


def _float64_sides(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    for side, rows in (("positive", positive), ("negative", negative)):
        if rows.ndim != 2 or len(rows) == 0:
            raise ValueError(f"{side}: shape {tuple(rows.shape)}, need (row, d_model) with at least 1 row")
        if bad := int((~rows.isfinite()).any(dim=-1).sum()):
            raise ValueError(f"{side}: {bad} of {len(rows)} rows hold nan or inf")
    if positive.shape[1] != negative.shape[1]:
        raise ValueError(
            f"d_model is {positive.shape[1]} in positive and {negative.shape[1]} in negative rows"
        )
    return positive.detach().cpu().double(), negative.detach().cpu().double()


def _within(above: Tensor, below: Tensor) -> Tensor:
    """Return all rows as deviations from the mean of their side."""
    return torch.cat([above - above.mean(dim=0), below - below.mean(dim=0)])


def _difference_along(axis: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """Project the difference of means onto an axis; an axis of zeros found nothing, so it gives zeros."""
    length = axis.norm()
    unit = axis / length if length > 0 else axis
    return (unit * ((above.mean(dim=0) - below.mean(dim=0)) @ unit)).float()


def _solve_ridge(rows: Tensor, ridge: float, target: Tensor) -> Tensor:
    """Solve (rows' rows + ridge) x = target through the smaller of the two Gram matrices."""
    n_rows, d_model = rows.shape
    if n_rows >= d_model:
        covariance = rows.T @ rows + ridge * torch.eye(d_model, dtype=rows.dtype)
        solved: Tensor = torch.linalg.solve(covariance, target)
    else:
        inner = rows @ rows.T + ridge * torch.eye(n_rows, dtype=rows.dtype)
        solved = (target - rows.T @ torch.linalg.solve(inner, rows @ target)) / ridge
    return solved
