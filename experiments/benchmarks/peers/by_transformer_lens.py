"""The package TransformerLens: its bridge, which rewires a model for good, here a copy."""

from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from activations import HookPoint, Subject
from activations.encode import Batch
from activations.hooks import plain_model
from experiments.benchmarks.peers.contract import Peer, Shift, moved, token_weights


def opened(subject: Subject, version: str) -> Peer:
    """Return TransformerLens on a copy of the subject's model; it computes attention in its own, eager way."""
    bridge_type = import_module("transformer_lens.model_bridge").TransformerBridge
    bridge: Any = bridge_type.boot_transformers(
        subject.facts.name,
        hf_model=deepcopy(plain_model(subject.model)),
        tokenizer=deepcopy(subject.tokenizer),
        dtype=plain_model(subject.model).dtype,
        device=str(subject.device),
    )

    @torch.inference_mode()
    def capture(batch: Batch) -> Float[Tensor, "layer row d_model"]:
        weights = token_weights(batch)
        _, cache = bridge.run_with_cache(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            names_filter=lambda name: name.endswith("hook_resid_post"),
        )
        every = range(subject.facts.n_layers)
        return torch.stack([(cache["resid_post", layer] * weights).sum(dim=1) for layer in every])

    @torch.inference_mode()
    def generate(batch: Batch, shift: Shift | None, n: int) -> list[list[int]]:
        hooks = []
        if shift is not None:
            hooks = [(str(HookPoint(shift.layer)), lambda resid, hook: moved(resid, shift))]
        with bridge.hooks(fwd_hooks=hooks):
            tokens: Tensor = bridge.generate(
                batch.input_ids,
                attention_mask=batch.attention_mask,
                max_new_tokens=n,
                do_sample=False,
                verbose=False,
            )
        rows: list[list[int]] = tokens[:, batch.input_ids.shape[1] :].tolist()
        return rows

    return Peer(name="TransformerLens", version=version, capture=capture, generate=generate)
