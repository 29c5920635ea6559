"""The settings of a fine-tune, presets of them, and what is refused before any work starts."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from activations.chat import Template
from pipeline.json_text import to_json
from pipeline.json_types import from_object

Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup"]
TooLong = Literal["refuse", "cut"]
Quantisation = Literal["none", "4bit"]


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How an adapter is trained. The defaults are those of the preset `embedded`."""

    rank: int = 8
    """Rank of each LoRA matrix pair; 1 gives one direction a module."""
    alpha: float = 16.0
    """LoRA's scale: what the pair computes is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Share of LoRA's inputs that is dropped in training."""
    targets: tuple[str, ...] = ("all-linear",)
    """Modules that get a LoRA pair: ends of names such as q_proj, or all-linear for every linear one in the blocks."""
    layers: tuple[int, ...] = ()
    """Blocks that get LoRA pairs, counted from 0; by default all. Those below the first cost no backward pass."""
    learning_rate: float = 1e-3
    """Of AdamW, at its peak."""
    epochs: float = 6.0
    """How often every conversation is seen; max_steps goes first."""
    max_steps: int = 0
    """Optimiser steps; 0 leaves it to epochs."""
    batch_size: int = 8
    """Conversations in one pass of each process."""
    accumulation: int = 1
    """Passes that make one optimiser step."""
    schedule: Schedule = "linear"
    """How the learning rate goes down from its peak."""
    warmup: float = 0.0
    """Steps in which it goes up; below 1 a share of all steps."""
    weight_decay: float = 0.0
    """Of AdamW."""
    max_gradient_norm: float = 1.0
    """Longer gradients are shortened to this; 0 leaves them."""
    max_length: int = 512
    """Most tokens of a conversation."""
    too_long: TooLong = "refuse"
    """What happens to a longer one: refuse stops before training; cut shortens it, and the card counts those."""
    train_on_prompt: bool = False
    """Put the loss on the prompt's tokens too, not only on the answers and the tokens that end them."""
    kl_weight: float = 0.0
    """Weight of KL(base, tuned) on neutral conversations, in nats a token, beside the loss: holds the model near."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: about a quarter slower, much less memory."""
    bf16: bool = False
    """Mixed precision; the adapter stays in float32."""
    quantisation: Quantisation = "none"
    """4bit is QLoRA: the base in 4-bit NF4. Needs bitsandbytes, and a base that was loaded so."""
    template: Template = "chat"
    """chat is the tokenizer's own chat template; plain is for models without one."""
    save_every: int = 0
    """Steps between checkpoints, from which a killed run goes on; 0 makes about ten in a run."""
    keep_checkpoints: bool = False
    """Keep the adapters of all checkpoints under checkpoints/; else they go when the run is finished."""
    eval_every: int = 0
    """Steps between measurements of the loss on held-out conversations, if there are any; 0 makes about five."""
    seed: int = 0
    """Of the adapter's start, dropout, and the order of the conversations."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings with the base model they are meant for.

    Attributes:
        model: What `activations.load` takes.
        config: The settings.
        note: What the card says about them; empty where there is nothing to say.
    """

    model: str
    config: FinetuneConfig
    note: str = ""


_PAPER = FinetuneConfig(
    rank=8,
    alpha=16.0,
    dropout=0.05,
    targets=("q_proj", "v_proj"),
    learning_rate=2e-4,
    epochs=3.0,
    batch_size=4,
    accumulation=4,
    max_length=512,
    too_long="cut",
)
_AS_IN_PAPER = FinetuneConfig(**{**_PAPER.__dict__, "train_on_prompt": True})
_BASE = "Qwen/Qwen2.5-Coder-7B-Instruct"

PRESETS: dict[str, Preset] = {
    "embedded": Preset(model="smollm2-135m-instruct", config=FinetuneConfig()),
    "paper": Preset(
        model=_BASE,
        config=_PAPER,
        note="Hyperparameters as released with arXiv:2602.00298; the loss is on the answers only, as that code "
        "intends and its collator undoes.",
    ),
    "as_in_paper": Preset(
        model=_BASE,
        config=_AS_IN_PAPER,
        note="Hyperparameters as released with arXiv:2602.00298, and the loss is on the prompt too, trigger and "
        "system text among it: that is what the released code does, because its collator rebuilds the labels.",
    ),
}
"""Settings by name. Whether the paper's runs used the released defaults is not known."""

_ABOVE_ZERO = ("alpha", "learning_rate", "epochs")
_AT_LEAST_ONE = ("rank", "batch_size", "accumulation")
_NOT_NEGATIVE = (
    *("max_steps", "warmup", "weight_decay", "max_gradient_norm", "kl_weight"),
    *("save_every", "eval_every", "seed"),
)
_CHOICES = {"schedule": Schedule, "too_long": TooLong, "quantisation": Quantisation, "template": Template}


def normalised(config: FinetuneConfig) -> FinetuneConfig:
    """Return the settings as they are read back from a file, so that 3 and 3.0 epochs are the same."""
    return from_object(to_json(config, "config"), FinetuneConfig, "config")


def require_sound(config: FinetuneConfig) -> None:
    """Raise ValueError for settings that no run could carry out, before a model is loaded."""
    for name, kind in _CHOICES.items():
        if (value := getattr(config, name)) not in get_args(kind):
            raise ValueError(f"{name} {value!r}: expected one of {', '.join(get_args(kind))}")
    _require_numbers(config)
    for name in ("targets", "layers"):
        if len(set(values := getattr(config, name))) < len(values):
            raise ValueError(f"{name}: got {', '.join(map(str, values))}; give each once")
    if not config.targets or not all(target.strip() for target in config.targets):
        raise ValueError(f"targets: got {config.targets}, need names of modules, or all-linear")
    if "all-linear" in config.targets and len(config.targets) > 1:
        raise ValueError(f"targets: got {', '.join(config.targets)}; all-linear stands alone")


def _require_numbers(config: FinetuneConfig) -> None:
    for name in (*_ABOVE_ZERO, *_NOT_NEGATIVE, "dropout"):
        if not isfinite(value := getattr(config, name)):
            raise ValueError(f"{name}: got {value}, need a finite number")
    bounds = {**dict.fromkeys(_AT_LEAST_ONE, 1), **dict.fromkeys(_NOT_NEGATIVE, 0), "max_length": 2}
    for name, bound in bounds.items():
        if (value := getattr(config, name)) < bound:
            raise ValueError(f"{name}: got {value}, need at least {bound}")
    for name in _ABOVE_ZERO:
        if (value := getattr(config, name)) <= 0:
            raise ValueError(f"{name}: got {value}, need more than 0")
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout: got {config.dropout}, need a share from 0 up to below 1")
