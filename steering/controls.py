"""Make directions that should do nothing in particular, and say how often they do as much as the real one.

A control has the norm of the real direction at every point: it is a unit vector times that norm. A standard
normal vector times the norm would be sqrt(d_model) times too long.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from activations import Activations
from steering.direction import Direction
from steering.estimators import PAIRED
from steering.extract import extract
from steering.provenance import code_version
from steering.reliability import keyed_generator, shuffled_null


def random_directions(
    direction: Direction, n: int, seed: int, *, orthogonal_to: Sequence[Direction] = ()
) -> tuple[Direction, ...]:
    """Return directions drawn uniformly from the sphere, with the norm of the given one at every point.

    Draw k at a point depends on the seed, on k and on the point alone: more draws keep the first ones, and
    fewer points keep the vectors of the others. Two directions with one seed get the same controls up to
    their norms.

    Args:
        direction: What is to be controlled; its facts are kept, its counts become 0.
        n: How many.
        seed: 0 or more.
        orthogonal_to: Draw from the space orthogonal to all of these, e.g. to `direction` itself.

    Raises:
        ValueError: `n` is below 1, a direction does not match, or nothing is orthogonal to all of them.
    """
    _require_some(n)
    for other in orthogonal_to:
        direction.require_matches(other)
    if len(orthogonal_to) >= direction.subject.d_model:
        raise ValueError(
            f"orthogonal to {len(orthogonal_to)} directions of width {direction.subject.d_model}: none left"
        )
    lengths = direction.vectors.double().norm(dim=-1, keepdim=True)
    return tuple(
        replace(
            direction,
            vectors=(_random_units(direction, seed, draw, orthogonal_to) * lengths).float(),
            name=f"random {draw}",
            estimator="random",
            n_positive=0,
            n_negative=0,
            seed=seed,
            code_version=code_version(),
            reliability={},
            made_from=f"random(like={direction.made_from}, seed={seed}, draw={draw})",
        )
        for draw in range(n)
    )


def shuffled_directions(
    positive: Activations,
    negative: Activations,
    n: int,
    seed: int,
    *,
    estimator: str = "difference_of_means",
    match_norm: bool = True,
    across_models: bool = False,
) -> tuple[Direction, ...]:
    """Return directions extracted from the same activations with shuffled labels.

    Harder to beat than random ones: they lie where these activations vary, as the real direction does.

    Args:
        positive: Activations where the behaviour shows.
        negative: Those where it does not. With the same row ids, pairs are swapped; else labels are permuted.
        n: How many.
        seed: 0 or more; draw k is that of `reliability.shuffled_null`.
        estimator: What the real direction was made with.
        match_norm: Scale each vector to the norm of the real direction at its point. Without it a control is
            shorter, by as much as the labels explain.
        across_models: As in `extract`.

    Raises:
        ValueError: As for `extract`; the estimator's axis does not depend on the labels, so that its controls
            would be the direction itself; or a shuffled vector is zero and has no norm to match.
    """
    _require_some(n)
    if estimator in PAIRED:
        raise ValueError(
            f"{estimator}: swapping the labels of pairs leaves its axis as it was, so no shuffled control; "
            f"use random_directions, or compare lengths with reliability.shuffled_null"
        )
    real = extract(positive, negative, name="real", estimator=estimator, across_models=across_models)
    null = shuffled_null(positive, negative, estimator=estimator, n_draws=n, seed=seed)
    return tuple(
        replace(
            real,
            vectors=_with_lengths_of(real, vectors) if match_norm else vectors,
            name=f"shuffled {draw}",
            estimator=f"{estimator} of shuffled labels",
            seed=seed,
            made_from=f"shuffled(estimator={estimator}, seed={seed}, draw={draw})",
        )
        for draw, vectors in enumerate(null)
    )


def empirical_p(
    observed: float | int,
    null: Sequence[float | int],
    *,
    alternative: Literal["greater", "two-sided"] = "greater",
) -> float:
    """Return how often controls do at least as much as the real direction, which counts as one of them.

    (1 + number of null values >= observed) / (1 + number of null values), so never 0: with 19 controls the
    smallest value is 0.05. Exact when all values are exchangeable under no effect. Ties count against the
    observation.

    Args:
        observed: What the real direction did.
        null: What each control did.
        alternative: `two-sided` doubles the smaller tail; the null need not be centred at zero.

    Raises:
        ValueError: The null is empty or a value is not finite.

    Source:
        Phipson and Smyth (2010), Permutation P-values Should Never Be Zero, arXiv:1603.05766.
    """
    if alternative not in ("greater", "two-sided"):
        raise ValueError(f"alternative {alternative!r}: need 'greater' or 'two-sided'")
    if bad := sum(not isfinite(value) for value in null):
        raise ValueError(f"null: {bad} of {len(null)} values are nan or inf")
    if len(null) == 0 or not isfinite(observed):
        raise ValueError(
            f"observed {observed} against {len(null)} controls; need a finite value and at least 1 control"
        )
    greater = (1 + sum(value >= observed for value in null)) / (1 + len(null))
    less = (1 + sum(value <= observed for value in null)) / (1 + len(null))
    return greater if alternative == "greater" else min(1.0, 2 * min(greater, less))


def _require_some(n: int) -> None:
    if n < 1:
        raise ValueError(f"{n} directions, need at least 1")


def _random_units(
    direction: Direction, seed: int, draw: int, orthogonal_to: Sequence[Direction]
) -> Float[Tensor, "point d_model"]:
    units = []
    for point in direction.points:
        noise = keyed_generator(seed, f"random {point}", draw).standard_normal(direction.subject.d_model)
        vector = torch.from_numpy(noise)
        if orthogonal_to:
            basis, _ = torch.linalg.qr(
                torch.stack([other.at(point) for other in orthogonal_to], dim=1).double()
            )
            vector = vector - basis @ (basis.T @ vector)
        units.append(vector / vector.norm())
    return torch.stack(units)


def _with_lengths_of(
    real: Direction, vectors: Float[Tensor, "point d_model"]
) -> Float[Tensor, "point d_model"]:
    lengths, wanted = (tensor.double().norm(dim=-1, keepdim=True) for tensor in (vectors, real.vectors))
    for point, length, target in zip(real.points, lengths, wanted, strict=True):
        if length == 0 and target > 0:
            raise ValueError(
                f"shuffled labels give a zero vector at {point}, which cannot be scaled; match_norm=False"
            )
    scale = torch.where(lengths > 0, wanted / lengths, torch.zeros_like(lengths))
    return (vectors.double() * scale).float()
