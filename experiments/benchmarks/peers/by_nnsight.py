"""The package nnsight: traces of a model, here of a copy."""

from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from activations import Subject
from activations.encode import Batch
from experiments.benchmarks.peers.contract import Peer, Shift, moved, token_weights


def opened(subject: Subject, version: str) -> Peer:
    """Return nnsight on a copy of the subject's model; the copied tokenizer is padded on the left by it."""
    nnsight = import_module("nnsight")
    wrapper = import_module("nnsight.modeling.transformers").TransformersModel
    model: Any = wrapper(
        deepcopy(subject.model), tokenizer=deepcopy(subject.tokenizer), task="text-generation"
    )

    @torch.inference_mode()
    def capture(batch: Batch) -> Float[Tensor, "layer row d_model"]:
        weights = token_weights(batch)
        with model.trace(_inputs(batch), use_cache=False, logits_to_keep=1):
            means = nnsight.save([(layer.output * weights).sum(dim=1) for layer in model.model.layers])
        return torch.stack(list(means))

    @torch.inference_mode()
    def generate(batch: Batch, shift: Shift | None, n: int) -> list[list[int]]:
        with model.generate(max_new_tokens=n, do_sample=False) as tracer:
            with tracer.invoke(_inputs(batch)):
                if shift is not None:
                    for _step in tracer.iter[0:n]:
                        layer = model.model.layers[shift.layer]
                        layer.output = moved(layer.output, shift)
            with tracer.invoke():  # one of its own: where all rows end early, nothing behind the loop is run
                out = tracer.result.save()
        rows: list[list[int]] = out[:, batch.input_ids.shape[1] :].tolist()
        return rows

    return Peer(name="nnsight", version=version, capture=capture, generate=generate)


def _inputs(batch: Batch) -> dict[str, Tensor]:
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
