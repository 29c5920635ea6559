"""Start a forward pass in the middle of a model, and unembed chosen tokens only.

Both work through the model's own `forward`, so masks, rotary embeddings, final norm, logit caps and adapters
are the model's business and no family needs code of its own. A block's `forward` is replaced on the instance
for the time of a `with` block; hooks set on the block still run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from activations.hooks import Resid, decoder_blocks, decoder_body, hidden, plain_model, with_hidden


@contextmanager
def resumed(model: nn.Module, layer: int, resid: Resid | None, kinds: Sequence[Any]) -> Iterator[None]:
    """Let forward passes begin right after block `layer`, whose output is taken to be `resid`.

    Blocks 0 to `layer` are not run and do not touch a key-value cache; hooks after block `layer` see `resid`.

    Args:
        model: A decoder-only model.
        layer: The last block to skip; -1 skips none.
        resid: What block `layer` returned for exactly the rows and tokens that will be passed; None if
            `layer` is -1.
        kinds: For each block of what kind its output is, from `block_outputs`.

    Raises:
        IndexError: The model has no such layer.
        ValueError: `resid` is missing, or there is not one kind for each block.
    """
    blocks = decoder_blocks(model)
    if not -1 <= layer < len(blocks):
        raise IndexError(f"layer {layer} is outside -1..{len(blocks) - 1}")
    if layer >= 0 and resid is None:
        raise ValueError(f"resid: got None, need the output of block {layer}")
    if len(kinds) != len(blocks):
        raise ValueError(f"kinds: got {len(kinds)}, need one for each of {len(blocks)} blocks")
    with ExitStack() as undo:
        for i in range(layer + 1):
            value = resid if i == layer else None
            undo.enter_context(_replaced(blocks[i], _pass_through(value, kinds[i])))
        yield


@contextmanager
def block_outputs(model: nn.Module, keep: Callable[[int, Resid], None]) -> Iterator[list[Any]]:
    """Call `keep(layer, resid)` with every block's output, and note of what kind each output is.

    The kinds (None for a tensor, else the tuple with its tensors dropped) are what `resumed` needs.
    """
    blocks = decoder_blocks(model)
    kinds: list[Any] = [None] * len(blocks)

    def hook_for(layer: int) -> Callable[..., None]:
        def read(_block: nn.Module, _args: Any, output: Any) -> None:
            kinds[layer] = None if isinstance(output, Tensor) else (None,) * len(output)
            keep(layer, hidden(output))

        return read

    with ExitStack() as hooks:
        for layer, block in enumerate(blocks):
            hooks.enter_context(block.register_forward_hook(hook_for(layer)))
        yield kinds


def unembed(
    model: nn.Module, final: Float[Tensor, "token d_model"], output_type: type[ModelOutput]
) -> Float[Tensor, "token vocabulary"]:
    """Return logits for chosen tokens from the body's last hidden state, as the model itself would.

    Whatever the model does to its logits (caps, scales) is done.

    Args:
        model: A decoder-only model.
        final: `last_hidden_state` of the chosen tokens, after the final norm.
        output_type: The type of what the body returns.
    """
    body = decoder_body(model)
    output = output_type(last_hidden_state=final[None])
    token = torch.zeros((1, 1), dtype=torch.long, device=final.device)
    with _replaced(body, lambda *_args, **_kwargs: output):
        logits: Tensor = plain_model(model)(input_ids=token).logits
    return logits[0]


@contextmanager
def _replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    own = module.__dict__.get("forward")  # accelerate puts one there for models spread over devices
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _pass_through(value: Resid | None, kind: Any) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        resid = value if value is not None else (args[0] if args else kwargs["hidden_states"])
        return resid if kind is None else with_hidden(kind, resid)

    return forward
