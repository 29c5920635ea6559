"""Synthetic activations in which the truth is known."""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
import numpy as np
import torch
from torch import Tensor

from activations import Activations, HookPoint, SubjectFacts
from steering.direction import Direction

POINTS = (HookPoint(1), HookPoint(2, "resid_pre"), HookPoint(2))


def subject(**changes: object) -> SubjectFacts:
    facts = {
        "name": "tiny",
        "revision": "main",
        "fingerprint": "0123456789abcdef",
        "adapters": (),
        "template": "fedcba9876543210",
        "n_layers": 4,
        "d_model": 16,
    }
    return SubjectFacts(**{**facts, **changes})


def activations(values: Tensor, *, rows: tuple[str, ...] | None = None, **changes: object) -> Activations:
    n_rows, n_points, d_model = values.shape
    facts = {
        "values": values,
        "norms": torch.full((n_rows, n_points), 10.0),
        "n_tokens": torch.ones(n_rows, dtype=torch.long),
        "rows": tuple(f"q{i}" for i in range(n_rows)) if rows is None else rows,
        "points": POINTS[:n_points],
        "where": "answer",
        "subject": subject(d_model=d_model),
        "data": "ab" * 32,
    }
    return Activations(**{**facts, **changes})


def planted(
    strength: float,
    *,
    seed: int = 0,
    n_positive: int = 40,
    n_negative: int = 40,
    n_points: int = 3,
    d_model: int = 16,
    paired: bool = True,
) -> tuple[Activations, Activations, Tensor]:
    """Return two sides of noise that differ by `strength` along a unit vector, and the vectors.

    Paired sides share what the prompt contributes; unpaired ones have other row ids and nothing in common.
    """
    draw = np.random.default_rng(seed)
    truth = draw.standard_normal((n_points, d_model))
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    noise = draw.standard_normal((n_positive + n_negative, n_points, d_model))
    noise[:n_positive] += strength * truth
    if paired:
        prompts = draw.standard_normal((n_positive, n_points, d_model))
        noise[:n_positive] += prompts
        noise[n_positive:] += prompts
    values = torch.tensor(noise, dtype=torch.float32)
    rows = None if paired else tuple(f"other{i}" for i in range(n_negative))
    return (
        activations(values[:n_positive], data="aa" * 32),
        activations(values[n_positive:], data="bb" * 32, rows=rows),
        torch.tensor(truth, dtype=torch.float32),
    )


def direction(vectors: Tensor | None = None, **changes: object) -> Direction:
    vectors = torch.arange(1.0, 49.0).reshape(3, 16) if vectors is None else vectors
    facts = {
        "vectors": vectors,
        "points": POINTS[: len(vectors)],
        "name": "planted",
        "subject": subject(d_model=vectors.shape[-1]),
        "where": "answer",
        "estimator": "difference_of_means",
        "n_positive": 30,
        "n_negative": 20,
        "data": ("aa" * 32, "bb" * 32),
        "seed": 3,
        "norms": torch.full((len(vectors),), 10.0),
        "code_version": "0.1.0",
        "reliability": {"split_half_cosine": (0.9, 0.8, 0.7)[: len(vectors)]},
        "made_from": "planted",
    }
    return Direction(**{**facts, **changes})


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    """Run as users do, without shape checks, so that a refusal has to be our own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
