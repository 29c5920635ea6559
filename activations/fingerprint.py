"""Hash what identifies a model: its base weights, its adapters, its chat template."""

import hashlib
import json
from collections.abc import Iterator

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from activations.hooks import plain_model


def fingerprint(model: nn.Module) -> str:
    """Return 16 hex digits over up to 64 evenly spaced values of each base weight, rounded to bfloat16.

    Rounding makes it the same for float32 and bfloat16 loads of a checkpoint, and for float16 loads of a
    bfloat16 checkpoint whose weights float16 can hold. Adapters do not enter it. A quantised base has another
    fingerprint than its original, because its weights are others.
    """
    digest = hashlib.sha256()
    of_adapters = {place for adapter in _loaded(model) for place, _, _ in _adapter_weights(model, adapter)}
    for place, weight in sorted(plain_model(model).named_parameters(), key=lambda item: _base_name(item[0])):
        if place in of_adapters or not weight.is_floating_point() or weight.is_meta:
            continue
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)][:64].to(device="cpu", dtype=torch.bfloat16)
        digest.update(f"{_base_name(place)}{tuple(weight.shape)}".encode())
        digest.update(sample.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def adapter_fingerprint(model: nn.Module, adapter: str) -> str:
    """Return 16 hex digits over all weights of one PEFT adapter, whatever its name; and over its scaling.

    Raises:
        ValueError: It has no weights inside the model, as with prompt tuning.
    """
    digest = hashlib.sha256()
    weights = sorted(_adapter_weights(model, adapter), key=lambda item: item[1])
    if not weights:
        raise ValueError(f"adapter {adapter!r}: has no weights inside the model, expected LoRA or its kin")
    for _, name, weight in weights:
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().float().cpu().numpy().tobytes())
    for name, module in plain_model(model).named_modules():
        scaling = getattr(module, "scaling", None) if isinstance(module, BaseTunerLayer) else None
        if isinstance(scaling, dict) and adapter in scaling:
            digest.update(f"{name}{float(scaling[adapter])!r}".encode())
    return digest.hexdigest()[:16]


def active_adapters(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the adapters that take part in a forward pass now."""
    if not isinstance(model, PeftModel):
        return ()
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    return () if layers and all(layer.disable_adapters for layer in layers) else tuple(model.active_adapters)


def template_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return 16 hex digits over the chat template, or over all of them where there are several."""
    template = tokenizer.chat_template or ""
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _loaded(model: nn.Module) -> tuple[str, ...]:
    return tuple(model.peft_config) if isinstance(model, PeftModel) else ()


def _adapter_weights(model: nn.Module, adapter: str) -> Iterator[tuple[str, str, Tensor]]:
    """Yield place in the model, name without the adapter's, and weight: PEFT keeps dicts by adapter name."""
    loaded = set(_loaded(model))
    for place, module in plain_model(model).named_modules():
        if not isinstance(module, nn.ModuleDict | nn.ParameterDict) or not set(module.keys()) <= loaded:
            continue
        for inner, weight in module.named_parameters():
            key, _, rest = inner.partition(".")
            if key == adapter:
                yield f"{place}.{inner}", f"{place}.{rest}", weight


def _base_name(name: str) -> str:
    return name.replace(".base_layer.", ".").replace(".original_module.", ".")
