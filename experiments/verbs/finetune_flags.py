"""The flags by which `misdirection finetune` changes a preset's settings."""

from dataclasses import dataclass, fields, replace
from typing import Literal

from activations.chat import Template
from pipeline.finetune.config import PRESETS, FinetuneConfig, Quantisation, Schedule, TooLong


@dataclass(frozen=True, kw_only=True)
class FinetuneFlags:
    """A preset, and what is to be otherwise; flags that are not given leave the preset's value."""

    preset: Literal["embedded", "paper", "as_in_paper"] = "embedded"
    """embedded: minutes on a CPU. paper: as released with the paper. as_in_paper: also with its loss on the prompt."""
    rank: int | None = None
    """Rank of each LoRA matrix pair."""
    alpha: float | None = None
    """LoRA's scale: what a pair computes is multiplied by alpha / rank."""
    dropout: float | None = None
    """Share of LoRA's inputs that is dropped in training."""
    targets: tuple[str, ...] | None = None
    """Modules that get a LoRA pair, e.g. q_proj v_proj, or all-linear."""
    layers: tuple[int, ...] | None = None
    """Blocks that get LoRA pairs, counted from 0."""
    learning_rate: float | None = None
    """Of AdamW, at its peak."""
    epochs: float | None = None
    """How often every conversation is seen; max_steps goes first."""
    max_steps: int | None = None
    """Optimiser steps."""
    batch_size: int | None = None
    """Conversations in one pass of each process."""
    accumulation: int | None = None
    """Passes that make one optimiser step."""
    schedule: Schedule | None = None
    """How the learning rate goes down from its peak."""
    warmup: float | None = None
    """Steps in which it goes up; below 1 a share of all steps."""
    weight_decay: float | None = None
    """Of AdamW."""
    max_gradient_norm: float | None = None
    """Longer gradients are shortened to this; 0 leaves them."""
    max_length: int | None = None
    """Most tokens of a conversation."""
    too_long: TooLong | None = None
    """What happens to a longer one: refuse stops before training, cut shortens it and counts."""
    train_on_prompt: bool | None = None
    """Put the loss on the prompt's tokens too."""
    kl_weight: float | None = None
    """Weight of KL(base, tuned) on neutral conversations, which holds the model near its base."""
    gradient_checkpointing: bool | None = None
    """Less memory, about a quarter slower."""
    bf16: bool | None = None
    """Mixed precision."""
    quantisation: Quantisation | None = None
    """4bit is QLoRA; needs bitsandbytes."""
    template: Template | None = None
    """plain is for models without a chat template."""
    save_every: int | None = None
    """Steps between checkpoints."""
    keep_checkpoints: bool | None = None
    """Keep the adapters of all checkpoints."""
    eval_every: int | None = None
    """Steps between measurements of the held-out loss."""

    def config(self) -> FinetuneConfig:
        """Return the preset's settings with those given in their place."""
        preset = PRESETS[self.preset].config
        names = [field.name for field in fields(FinetuneFlags) if field.name != "preset"]
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return replace(preset, **given)
