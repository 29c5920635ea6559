"""The package repeng: wraps the blocks of a model, here of a copy, and reads `hidden_states`."""

from collections.abc import Sequence
from contextlib import redirect_stderr
from copy import deepcopy
from importlib import import_module
from io import StringIO
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from activations import Subject
from activations.encode import Batch
from experiments.benchmarks.peers.contract import Peer, Shift


def opened(subject: Subject, version: str) -> Peer:
    """Return repeng on a copy of the subject's model.

    Its release 0.4.0 names `np.float_`, which numpy 2 no longer has; the name is given back before the import.
    It reads `output_hidden_states`, which at the last block is the stream after the final norm.
    """
    if not hasattr(np, "float_"):
        np.float_ = np.float64  # type: ignore[attr-defined]
    package = import_module("repeng")
    extract = import_module("repeng.extract")
    model: Any = deepcopy(subject.model)
    n_layers = subject.facts.n_layers
    control = package.ControlModel(model, list(range(n_layers)))

    @torch.inference_mode()
    def generate(batch: Batch, shift: Shift | None, n: int) -> list[list[int]]:
        control.reset()
        if shift is not None:
            # Given for one block only: a zero vector for each of the others would cost an addition each.
            block = package.control.model_layer_list(model)[shift.layer]
            operator = {} if shift.tokens == "all" else {"operator": _to_last}
            block.set_control(package.control.BlockControlParams(shift.vector, **operator))
        tokens: Tensor = control.generate(
            batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=n, do_sample=False
        )
        rows: list[list[int]] = tokens[:, batch.input_ids.shape[1] :].tolist()
        return rows

    def difference(pairs: Sequence[tuple[str, str]], batch_size: int) -> Float[Tensor, "layer d_model"]:
        control.reset()
        texts = [text for pair in pairs for text in pair]
        with redirect_stderr(StringIO()):  # its progress bar cannot be switched off
            read = extract.batched_get_hiddens(
                model, subject.tokenizer, texts, list(range(n_layers)), batch_size
            )
        means = [(read[layer][::2] - read[layer][1::2]).mean(axis=0) for layer in range(n_layers)]
        return torch.from_numpy(np.stack(means))

    return Peer(
        name="repeng",
        version=version,
        capture=None,
        generate=generate,
        difference=difference,
        reads_last_block=False,
    )


def _to_last(current: Tensor, control: Tensor) -> Tensor:
    control = control.expand_as(current)
    return torch.cat([current[:, :-1], current[:, -1:] + control[:, -1:]], dim=1)
