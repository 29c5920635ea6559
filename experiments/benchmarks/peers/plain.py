"""The usual way without a library: a forward hook written by hand, around the model's own passes."""

from contextlib import ExitStack

import torch
import transformers
from jaxtyping import Float
from torch import Tensor

from activations import HookPoint, Subject, edited
from activations.encode import Batch
from activations.forward import body_inputs
from activations.hooks import Resid, decoder_blocks, decoder_body, hidden, plain_model
from experiments.benchmarks.peers.contract import Peer, Shift, moved, token_weights


def opened(subject: Subject) -> Peer:
    """Return plain hooks on the subject's own model."""

    def capture(batch: Batch) -> Float[Tensor, "layer row d_model"]:
        return pooled(subject, batch)

    def generate(batch: Batch, shift: Shift | None, n: int) -> list[list[int]]:
        return generated(subject, batch, shift, n)

    return Peer(name="plain hooks", version=transformers.__version__, capture=capture, generate=generate)


@torch.inference_mode()
def pooled(subject: Subject, batch: Batch) -> Float[Tensor, "layer row d_model"]:
    """Return the mean over each row's tokens after every block, averaged inside hooks, without `lm_head`."""
    weights = token_weights(batch)
    means: list[Tensor] = []
    with ExitStack() as hooks:
        for block in decoder_blocks(subject.model):
            read = block.register_forward_hook(
                lambda _block, _args, output: means.append((hidden(output) * weights).sum(dim=1))
            )
            hooks.enter_context(read)
        decoder_body(subject.model)(**body_inputs(subject.model, batch), use_cache=False)
    return torch.stack(means)


@torch.inference_mode()
def generated(subject: Subject, batch: Batch, shift: Shift | None, n: int) -> list[list[int]]:
    """Generate with the model's own `generate`, greedily, under a hook that adds the shift."""

    def add_to(resid: Resid) -> Resid:
        return resid if shift is None else moved(resid, shift)

    with edited(subject.model, {} if shift is None else {HookPoint(shift.layer): add_to}):
        tokens: Tensor = plain_model(subject.model).generate(
            batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=n, do_sample=False
        )
    rows: list[list[int]] = tokens[:, batch.input_ids.shape[1] :].tolist()
    return rows
