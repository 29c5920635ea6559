"""Read and edit the residual stream of any Hugging Face causal language model.

Does: name a place (`HookPoint`), find the decoder blocks, capture and edit inside a `with` block.
Does not: decide which tokens or rows are touched (`where.py`, `steering/rows.py`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Literal, get_args

from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

Resid = Float[Tensor, "batch position d_model"]
Edit = Callable[[Resid], Resid]
Site = Literal["resid_pre", "resid_post"]
SITES: tuple[Site, ...] = get_args(Site)
"""In the order in which a forward pass reaches them."""


@total_ordering
@dataclass(frozen=True)
class HookPoint:
    """A place in the residual stream: just before or just after one decoder block.

    `layer` counts blocks from 0, so `resid_post` of layer 3 is `hidden_states[4]` of Hugging Face
    (except at the last layer, where Hugging Face reports the stream after the final norm).
    `str()` gives the name that TransformerLens and SAELens use. Points sort in the order in which a
    forward pass reaches them.
    """

    layer: int
    site: Site = "resid_post"

    def __post_init__(self) -> None:
        """Refuse a site that does not exist."""
        if self.site not in SITES:
            raise ValueError(f"hook point at layer {self.layer}: site {self.site!r} is not one of {SITES}")

    def __lt__(self, other: "HookPoint") -> bool:
        """Say whether a forward pass reaches this point before the other."""
        return (self.layer, SITES.index(self.site)) < (other.layer, SITES.index(other.site))

    def __str__(self) -> str:
        """Return TransformerLens' name, e.g. `blocks.5.hook_resid_post`."""
        return f"blocks.{self.layer}.hook_{self.site}"

    @classmethod
    def parse(cls, name: str) -> "HookPoint":
        """Read what `str()` wrote.

        Raises:
            ValueError: The text is not of the form `blocks.LAYER.hook_SITE`.
        """
        match = re.fullmatch(r"blocks\.(0|[1-9][0-9]*)\.hook_(.+)", name)
        for site in SITES:
            if match is not None and match[2] == site:
                return cls(int(match[1]), site)
        raise ValueError(f"hook point {name!r}: expected blocks.LAYER.hook_SITE, SITE one of {SITES}")


def plain_model(model: nn.Module) -> Any:
    """Return the Hugging Face model itself: under PEFT the base with its LoRA layers inside."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """Return the decoder blocks, in order; the same objects with and without PEFT around the model.

    They are the shallowest list of modules whose length is the configuration's number of layers,
    which holds for every Hugging Face family we know and needs no table of names.

    Raises:
        LookupError: No such list, or several; or the model is an encoder-decoder or not from Hugging Face.
    """
    return plain_model(model).get_submodule(_blocks_name(model))  # type: ignore[no-any-return]


def decoder_body(model: nn.Module) -> nn.Module:
    """Return the part of a causal language model below `lm_head` that holds the blocks, e.g. `LlamaModel`."""
    name = _blocks_name(model).rpartition(".")[0]
    return plain_model(model).get_submodule(name)  # type: ignore[no-any-return]


def _blocks_name(model: nn.Module) -> str:
    inner = plain_model(model)
    kind = type(inner).__name__
    if not isinstance(inner, PreTrainedModel):
        raise LookupError(f"{kind}: expected a Hugging Face PreTrainedModel, or a PeftModel around one")
    if inner.config.is_encoder_decoder:
        raise LookupError(f"{kind} is an encoder-decoder; only decoder-only models are supported")
    n_layers = inner.config.get_text_config(decoder=True).num_hidden_layers
    names = [name for name, m in inner.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    depth = min((name.count(".") for name in names), default=0)
    shallowest = [name for name in names if name.count(".") == depth]
    if len(shallowest) != 1 or depth == 0:
        raise LookupError(
            f"{kind}: expected one list of {n_layers} decoder blocks in its body, found {names}"
        )
    return str(shallowest[0])


def hidden(output: Any) -> Resid:
    """Return the residual stream from what a block returned: a tensor, or a tuple that starts with it."""
    return output if isinstance(output, Tensor) else output[0]


def with_hidden(output: Any, resid: Resid) -> Any:
    """Return what a block returned with the residual stream replaced."""
    return resid if isinstance(output, Tensor) else (resid, *output[1:])


def check_layers(points: Sequence[HookPoint], n_layers: int) -> None:
    """Raise IndexError for a hook point that the model does not have."""
    for point in points:
        if not 0 <= point.layer < n_layers:
            raise IndexError(f"layer {point.layer} is outside 0..{n_layers - 1}")


@contextmanager
def edited(model: nn.Module, edits: Mapping[HookPoint, Edit]) -> Iterator[None]:
    """Apply each edit at its hook point on every forward pass inside the block.

    An edit receives the residual stream and returns its replacement; it must not write to its
    input, which a capture may share. The model is as before when the block ends, also when an edit,
    the body, or the set-up of a later hook raises.

    Args:
        model: A decoder-only model on any device, with or without PEFT adapters.
        edits: What to do at each hook point; runs once per pass, so once per new token.

    Raises:
        IndexError: A hook point names a layer that the model does not have.
    """
    blocks = decoder_blocks(model)
    check_layers(list(edits), len(blocks))
    with ExitStack() as hooks:
        for point, edit in edits.items():
            hooks.enter_context(_attach(blocks[point.layer], point.site, edit))
        yield


@contextmanager
def captured(model: nn.Module, points: Sequence[HookPoint]) -> Iterator[dict[HookPoint, list[Resid]]]:
    """Collect the residual stream at each point, one tensor for each forward pass inside the block.

    Hooks run in the order in which they were set: a capture opened inside `edited` sees the edit.
    Tensors are detached but not copied.

    Raises:
        IndexError: A hook point names a layer that the model does not have.
    """
    found: dict[HookPoint, list[Resid]] = {point: [] for point in points}

    def keep(point: HookPoint) -> Edit:
        def read(resid: Resid) -> Resid:
            found[point].append(resid.detach())
            return resid

        return read

    with edited(model, {point: keep(point) for point in points}):
        yield found


def _attach(block: nn.Module, site: Site, edit: Edit) -> Any:
    def before(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (edit(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": edit(kwargs["hidden_states"])}

    def after(_block: nn.Module, _args: Any, output: Any) -> Any:
        return with_hidden(output, edit(hidden(output)))

    if site == "resid_pre":
        return block.register_forward_pre_hook(before, with_kwargs=True)
    return block.register_forward_hook(after)
