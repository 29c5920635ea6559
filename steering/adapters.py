"""Serve every row of a batch with its own PEFT adapter, or with the bare base model.

PEFT's layers can do this, but PEFT's own switch leaves its hooks behind after any exception (0.21.2) and then
silently serves the wrong adapter. Here the same layers get the same argument from hooks that always go again.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import nn

ACTIVE = "active"
"""Whatever adapters are active in the model when the call is made."""

BASE = "base"
"""No adapter."""


@contextmanager
def adapters_by_row(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Serve row i of every pass inside the block with adapter `names[i]`.

    Args:
        model: A `PeftModel`; or any model if all names are `active`.
        names: For each row an adapter's name, `base`, or `active`.

    Raises:
        LookupError: The model has no such adapter; says which it has.
        ValueError: `active` stands beside other names while several adapters are active.
    """
    if all(name == ACTIVE for name in names):
        yield
        return
    resolved = ["__base__" if name == BASE else _resolve(model, name) for name in names]

    def before(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "adapter_names": resolved}

    with ExitStack() as hooks:
        for module in _adapted_layers(model):
            hooks.enter_context(module.register_forward_pre_hook(before, with_kwargs=True))
        yield


def require_adapters(model: nn.Module, names: Sequence[str]) -> None:
    """Raise LookupError or ValueError if the model cannot serve these adapters row by row."""
    if all(name == ACTIVE for name in names):
        return
    for name in names:
        if name != BASE:
            _resolve(model, name)
    for layer in _adapted_layers(model):
        kind = type(layer).__name__
        if not hasattr(layer, "_mixed_batch_forward"):
            raise ValueError(
                f"adapters: {kind} cannot serve one row otherwise than the next; use 'active' only"
            )
        if layer.disable_adapters and any(name not in (ACTIVE, BASE) for name in names):
            raise ValueError(f"adapters: got {sorted(set(names))}, but the model's adapters are disabled")


def _adapted_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that know adapters, full copies of a module (`modules_to_save`) among them."""
    return [m for m in model.modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)]


def _resolve(model: nn.Module, name: str) -> str:
    have = list(model.peft_config) if isinstance(model, PeftModel) else []
    if name == ACTIVE:
        active = list(model.active_adapters) if isinstance(model, PeftModel) else []
        if len(active) > 1:
            raise ValueError(
                f"adapter 'active': {active} are active together; name one of {have} for each cell"
            )
        return active[0] if active else "__base__"
    if name not in have:
        raise LookupError(f"adapter {name!r}: the model has {have or 'none'}")
    return name
