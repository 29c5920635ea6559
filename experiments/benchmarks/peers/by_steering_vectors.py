"""The package steering-vectors: hooks on the model as it is."""

from collections.abc import Sequence
from importlib import import_module

import torch
from jaxtyping import Float
from torch import Tensor

from activations import Subject
from activations.encode import Batch
from activations.forward import body_inputs
from activations.hooks import decoder_body
from experiments.benchmarks.peers import plain
from experiments.benchmarks.peers.contract import Peer, Shift, token_weights


def opened(subject: Subject, version: str) -> Peer:
    """Return steering-vectors on the subject's own model."""
    package = import_module("steering_vectors")

    @torch.inference_mode()
    def capture(batch: Batch) -> Float[Tensor, "layer row d_model"]:
        weights = token_weights(batch)
        with package.record_activations(subject.model, layer_type="decoder_block") as record:
            decoder_body(subject.model)(**body_inputs(subject.model, batch), use_cache=False)
        return torch.stack([(record[layer][0] * weights).sum(dim=1) for layer in sorted(record)])

    def generate(batch: Batch, shift: Shift | None, n: int) -> list[list[int]]:
        if shift is None:
            return plain.generated(subject, batch, None, n)
        vector = package.SteeringVector({shift.layer: shift.vector}, "decoder_block")
        tokens = slice(None) if shift.tokens == "all" else slice(-1, None)
        with vector.apply(subject.model, min_token_index=None, token_indices=tokens):
            return plain.generated(subject, batch, None, n)

    def difference(pairs: Sequence[tuple[str, str]], batch_size: int) -> Float[Tensor, "layer d_model"]:
        trained = package.train_steering_vector(
            subject.model, subject.tokenizer, list(pairs), batch_size=batch_size, show_progress=False
        )
        return torch.stack([trained.layer_activations[layer] for layer in range(subject.facts.n_layers)])

    return Peer(
        name="steering-vectors", version=version, capture=capture, generate=generate, difference=difference
    )
