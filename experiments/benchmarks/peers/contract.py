"""What every way of steering is asked for, ours and the peers': the same jobs, the same tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from activations.encode import Batch

Tokens = Literal["all", "last"]
"""Of each pass: all tokens, or the last one, which is the last prompt token and then every new one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """A vector that is added to the output of one block, the same for all rows.

    Attributes:
        layer: The block, from 0.
        vector: What is added, in residual-stream units.
        tokens: To which tokens of each pass.
    """

    layer: int
    vector: Float[Tensor, " d_model"]
    tokens: Tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class Peer:
    """One way of reading and steering a model.

    Attributes:
        name: What tables call it.
        version: Of the package.
        capture: Returns the mean residual stream over each row's tokens, after every block; None where the
            library has no function of its own for it.
        generate: Decodes greedily for at most so many new tokens, with a shift or without; returns the new
            tokens of each row, whatever stands behind the end of a turn included.
        difference: Returns the mean difference of the last token's residual stream over pairs of texts, in
            batches of so many; None where the library has no function for it.
        reads_last_block: Whether `difference` is right at the last block; a library that reads `hidden_states`
            gets the stream after the final norm there.
    """

    name: str
    version: str
    capture: Callable[[Batch], Float[Tensor, "layer row d_model"]] | None
    generate: Callable[[Batch, Shift | None, int], list[list[int]]]
    difference: Callable[[Sequence[tuple[str, str]], int], Float[Tensor, "layer d_model"]] | None = None
    reads_last_block: bool = True


def token_weights(batch: Batch) -> Float[Tensor, "row position 1"]:
    """Return the weight of each token in its row's mean; 0 on pads."""
    mask = batch.attention_mask.to(torch.float32)
    return (mask / mask.sum(dim=1, keepdim=True))[..., None]


def moved(resid: Float[Tensor, "row position d_model"], shift: Shift) -> Tensor:
    """Return the residual stream of a pass with the shift added."""
    if shift.tokens == "all" or resid.shape[1] == 1:
        return resid + shift.vector
    return torch.cat([resid[:, :-1], resid[:, -1:] + shift.vector], dim=1)
