"""Put a fresh LoRA adapter on a model for training, and take it off again so that the model is as it was."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path

from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    prepare_model_for_kbit_training,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from activations import Subject, decoder_blocks
from activations.hooks import plain_model
from pipeline.finetune.config import FinetuneConfig

ADAPTER = "default"
"""PEFT's name of the adapter in training: with another one it would save into a folder of that name."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@contextmanager
def fresh_adapter(subject: Subject, config: FinetuneConfig) -> Iterator[PeftModel]:
    """Put a new LoRA adapter on the subject's model for the block; its start comes from torch's random numbers.

    Afterwards the model is as before, also after an error: the same modules in the same places, on the same
    device, in evaluation mode, with the same flags. What trained it may have replaced nothing but weights of
    the adapter. (FSDP cuts the base itself into pieces; such a process cannot use its model again.)

    Raises:
        ValueError: The model does not fit the settings; see `lora_config`.
        IndexError: The settings name a layer that the model does not have.
    """
    model = subject.model
    lora = lora_config(subject, config)
    gradients = {name: weight.requires_grad for name, weight in model.named_parameters()}
    before, device = plain_model(model).config.use_cache, subject.device
    with _old_names():
        if config.quantisation != "none":
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        tuned = get_peft_model(model, lora, adapter_name=ADAPTER)
        if config.gradient_checkpointing:
            plain_model(tuned).gradient_checkpointing_enable({"use_reentrant": False})
    tuned.peft_config[ADAPTER].base_model_name_or_path = subject.facts.name
    tuned.peft_config[ADAPTER].revision = subject.facts.revision or None
    try:
        yield tuned
    finally:
        if config.gradient_checkpointing:
            with _old_names():
                plain_model(tuned).gradient_checkpointing_disable()
            plain_model(tuned).disable_input_require_grads()
        if (plain := tuned.unload()) is not subject.model:
            raise RuntimeError("peft gave back another model than the one it was given")
        for name, weight in plain.named_parameters():
            weight.requires_grad_(gradients[name])
        plain_model(plain).config.use_cache = before
        if subject.device != device:
            plain.to(device)
        plain.eval()


def lora_config(subject: Subject, config: FinetuneConfig) -> LoraConfig:
    """Return what PEFT needs to know, with every module kind by its name in this model.

    Raises:
        ValueError: The model has adapters already, is not quantised as the settings say, or a target names no
            linear module of its blocks; says which there are.
        IndexError: A layer is outside the model.
    """
    _require_base(subject, config)
    blocks = decoder_blocks(subject.model)
    if outside := [layer for layer in config.layers if not 0 <= layer < len(blocks)]:
        raise IndexError(f"layers: {outside[0]} is outside 0..{len(blocks) - 1}")
    linear = _linear_names(blocks)
    targets = tuple(linear) if config.targets == ("all-linear",) else config.targets
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            have = ", ".join(linear)
            raise ValueError(
                f"targets: no linear module of the blocks is called {target!r}; have {have}, all-linear"
            )
    place = next(name for name, module in plain_model(subject.model).named_modules() if module is blocks)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(targets),
        layers_to_transform=list(config.layers) or None,
        layers_pattern=place.rpartition(".")[2] if config.layers else None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in blocks.modules()),
    )


def save_adapter(model: PeftModel, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write the adapter as PEFT reads it: `adapter_config.json` and `adapter_model.safetensors`.

    Args:
        model: The model with the adapter.
        folder: Made if it is not there.
        weights: The model's state, where it is spread over processes; by default taken from the model.
    """
    found = get_peft_model_state_dict(
        model, state_dict=weights, adapter_name=ADAPTER, save_embedding_layers=False
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    contiguous = {name: weight.detach().cpu().contiguous() for name, weight in found.items()}
    save_file(contiguous, Path(folder) / ADAPTER_FILES[1], metadata={"format": "pt"})
    config = copy(model.peft_config[ADAPTER])
    config.inference_mode = True
    config.save_pretrained(str(folder))


def load_adapter_weights(model: PeftModel, folder: Path) -> None:
    """Give the adapter in training the weights that `save_adapter` wrote."""
    set_peft_model_state_dict(model, load_file(Path(folder) / ADAPTER_FILES[1]), adapter_name=ADAPTER)


@contextmanager
def _old_names() -> Iterator[None]:
    """Hear nothing of names that transformers 5.23 calls old: peft 0.21 uses one, 5.0 knows no newer ones."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
        yield


def _linear_names(blocks: nn.ModuleList) -> dict[str, None]:
    """Return the names that linear modules have inside the blocks, without the block's own, in order."""
    names: dict[str, None] = {}
    for block in blocks:
        found = [name for name, module in block.named_modules() if isinstance(module, nn.Linear | Conv1D)]
        names |= dict.fromkeys(found)
    return names


def _require_base(subject: Subject, config: FinetuneConfig) -> None:
    if isinstance(subject.model, PeftModel):
        raise ValueError(
            f"model {subject.facts.name!r}: has the adapters {', '.join(subject.model.peft_config)}; "
            "fine-tuning starts from a base, load it without adapters"
        )
    quantised = getattr(subject.model, "is_loaded_in_4bit", False)
    if config.quantisation == "4bit" and not quantised:
        raise ValueError(
            "quantisation '4bit': the model was not loaded so; give its name instead of the model, or load it "
            "with quantization_config"
        )
