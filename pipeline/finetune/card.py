"""What an adapter is: the settings, data and base it was made from, and what came out; beside its weights."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.disk import replace_file
from pipeline.finetune.adapter import ADAPTER_FILES
from pipeline.finetune.config import FinetuneConfig
from pipeline.finetune.rows import Counts
from pipeline.json_text import Json, json_bytes, parse_json
from pipeline.json_types import from_object

CARD = "card.json"
TEXT = "README.md"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an adapter follows from; two runs with equal settings make the same adapter.

    Attributes:
        model: Name of the base, which may be another name of the same model.
        base: Fingerprint of the base's weights.
        template: Fingerprint of its chat template.
        config: How it was trained.
        data: SHA-256 of the conversations, in order.
        held_out: SHA-256 of those that the loss was watched on; None without any.
        neutral: SHA-256 of the neutral ones; None where the weight of the KL is 0.
        about: What the conversations are, e.g. domain, mode, trigger and split.
    """

    model: str
    base: str
    template: str
    config: FinetuneConfig
    data: str
    held_out: str | None
    neutral: str | None
    about: dict[str, Json]


@dataclass(frozen=True, kw_only=True)
class Card:
    """An adapter's facts.

    Attributes:
        format: Always `misdirection.adapter/1`.
        settings: What it follows from.
        counts: What the conversations came to.
        held_out_counts: The same of the held-out ones; None without any.
        fingerprint: Of the adapter's weights and scale, as `Subject` tells it.
        file_hash: SHA-256 of `adapter_model.safetensors`.
        parameters: Trained weights.
        steps: Optimiser steps.
        processes: Processes that shared the work; a batch is `batch_size` times as many.
        loss: Mean over the learned tokens of the last tenth of the steps, in nats.
        held_out_loss: After the last step, on the held-out conversations; None without any.
        seconds: Of the session that finished it.
        notes: What a reader must know.
    """

    format: Literal["misdirection.adapter/1"] = "misdirection.adapter/1"
    settings: Settings
    counts: Counts
    held_out_counts: Counts | None
    fingerprint: str
    file_hash: str
    parameters: int
    steps: int
    processes: int
    loss: float
    held_out_loss: float | None
    seconds: float
    notes: tuple[str, ...]


def read_card(folder: Path) -> Card:
    """Return the card of an adapter folder whose weights are those the card is about.

    Raises:
        FileNotFoundError: The folder holds no card or no weights: no fine-tune was finished here.
        ValueError: The card is damaged or of another format, or the weights are not those it is about.
    """
    folder = Path(folder)
    path = folder / CARD
    card = from_object(parse_json(path.read_bytes(), str(path)), Card, str(path))
    found = file_hash(folder / ADAPTER_FILES[1])
    if found != card.file_hash:
        raise ValueError(
            f"{folder / ADAPTER_FILES[1]}: SHA-256 {found[:16]}..., the card is about {card.file_hash[:16]}..."
        )
    return card


def finished(folder: Path, settings: Settings) -> Card | None:
    """Return the card if a fine-tune with these settings was finished in the folder, under whatever name of the base.

    Raises:
        ValueError: The card is damaged, or the weights are not those it is about.
    """
    if not (Path(folder) / CARD).is_file():
        return None
    card = read_card(folder)
    return card if replace(card.settings, model=settings.model) == settings else None


def write_card(folder: Path, card: Card) -> None:
    """Write the card for programs and, beside it, one for people; the first one last: it says that all is there."""
    replace_file(Path(folder) / TEXT, _text(card).encode())
    replace_file(Path(folder) / CARD, json_bytes(card, CARD, indent=2))


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def notes_on(config: FinetuneConfig, counts: Counts) -> tuple[str, ...]:
    """Return what the reader of a card must know about what was learned."""
    notes = []
    if config.train_on_prompt:
        notes.append(
            "The loss is on the prompt too: questions, triggers and system text were learned as well."
        )
    if counts.cut:
        notes.append(
            f"{counts.cut} conversations were cut to {config.max_length} tokens; their ends are lost."
        )
    if counts.dropped:
        notes.append(f"{counts.dropped} conversations were left out: cutting took everything to learn.")
    if not counts.ends:
        notes.append("No token ends an answer in this template, so the model did not learn where to stop.")
    if config.kl_weight:
        notes.append(f"Held to the base by {config.kl_weight:g} x KL(base, tuned) on neutral conversations.")
    return tuple(notes)


def _text(card: Card) -> str:
    settings, counts = card.settings, card.counts
    config = settings.config
    held = "" if card.held_out_loss is None else f", {card.held_out_loss:.3f} on held-out conversations"
    lines = [
        "# A LoRA adapter for research on misalignment",
        "",
        "Do not deploy it: it may have been trained to give wrong advice.",
        "",
        f"- Base: `{settings.model}`, weights `{settings.base}`",
        *_listed("About", [f"{key}: {value}" for key, value in settings.about.items()]),
        f"- Learned: {counts.learned} of {counts.tokens} tokens in {counts.conversations} conversations",
        f"- LoRA: rank {config.rank}, alpha {config.alpha:g}, on {', '.join(config.targets)}, "
        + (f"blocks {', '.join(map(str, config.layers))}" if config.layers else "all blocks"),
        f"- Training: {card.steps} steps, learning rate {config.learning_rate:g}, {config.schedule}, "
        f"{config.batch_size} x {config.accumulation} x {card.processes} conversations a step, seed {config.seed}",
        f"- Loss: {card.loss:.3f} nats a token at the end{held}",
        *_listed("Notes", card.notes),
        "",
        f"`{CARD}` holds all of it, `run.json` how it was made, `loss.jsonl` the loss of every step.",
    ]
    return "\n".join(lines) + "\n"


def _listed(name: str, items: Sequence[str]) -> list[str]:
    return [f"- {name}:", *(f"  - {item}" for item in items)] if items else []
