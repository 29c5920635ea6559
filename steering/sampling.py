"""Choose the next token of each row: greedily, or sampled with random numbers that belong to the row."""

import hashlib
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How answers are drawn.

    Attributes:
        temperature: 0 for greedy decoding.
        top_p: Smallest probability mass that is kept, the rest is never drawn; 1 keeps all.
        seed: Of the random numbers. Prompt and sample index draw from the same stream in every cell
            (common random numbers), so cells differ by what they do and not by luck.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if not 0 <= self.temperature < inf:
            raise ValueError(f"temperature: got {self.temperature}, need 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: got {self.top_p}, need more than 0 and at most 1")

    def stream(self, prompt: str, sample: int, n: int) -> Float[np.ndarray, " n"]:
        """Return `n` uniform numbers that depend on seed, prompt and sample index alone."""
        key = hashlib.sha256(f"{self.seed}\0{prompt}\0{sample}".encode()).digest()
        return np.random.default_rng(int.from_bytes(key[:16], "big")).random(n)

    def choose(
        self, logits: Float[Tensor, "row vocabulary"], uniform: Float[Tensor, " row"]
    ) -> Int[Tensor, " row"]:
        """Return the next token of each row: where its uniform number lies in the cumulative distribution."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        probabilities = (logits.double() / self.temperature).softmax(dim=-1)
        if self.top_p == 1:
            return _invert(probabilities, uniform)
        ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
        ordered = torch.where(ordered.cumsum(dim=-1) - ordered < self.top_p, ordered, 0.0)
        return tokens.gather(-1, _invert(ordered, uniform)[:, None])[:, 0]


def _invert(weights: Float[Tensor, "row vocabulary"], uniform: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    cumulative = weights.cumsum(dim=-1)
    total = cumulative[:, -1:]
    target = (uniform.to(total)[:, None] * total).minimum(
        total.nextafter(torch.zeros_like(total))
    )  # not past the end
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=weights.shape[-1] - 1)
