"""Run the body of a model on a batch: no `lm_head`, right positions, nothing above the last wanted block."""

import inspect
from collections.abc import Mapping

from torch import Tensor, nn

from activations.encode import Batch
from activations.hooks import Edit, HookPoint, Resid, decoder_body, edited


class _EnoughError(Exception):
    """Raised by the topmost hook to skip the blocks above it; never leaves this module."""


def body_inputs(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Return what a body or model takes for a batch.

    Position ids are counted from each row's first token wherever the model takes them: a plain forward pass
    counts from the padded row's start, which on left-padded rows ruins models with learned positions (GPT-2).
    """
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if takes_positions(model):
        inputs["position_ids"] = batch.position_ids
    return inputs


def takes_positions(model: nn.Module) -> bool:
    """Say whether the body takes `position_ids`; models with ALiBi do not."""
    return "position_ids" in inspect.signature(type(decoder_body(model)).forward).parameters


def run_up_to(model: nn.Module, batch: Batch, edits: Mapping[HookPoint, Edit]) -> None:
    """Run the body with the edits, and stop right after the topmost of them.

    Edits see the stream as `edited` says. No key-value cache is kept.

    Raises:
        ValueError: There is no edit.
        IndexError: A hook point names a layer that the model does not have.
    """
    if not edits:
        raise ValueError("edits: got none, need at least one hook point")
    top = max(edits)

    def last(resid: Resid) -> Resid:
        edits[top](resid)
        raise _EnoughError

    with edited(model, {**edits, top: last}):
        try:
            decoder_body(model)(**body_inputs(model, batch), use_cache=False)
        except _EnoughError:
            return
