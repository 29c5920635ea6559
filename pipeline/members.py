"""The members of a population of adapters: what each is, which are there, and all of them on one base."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from activations import Subject, load
from activations.loading import Dtype
from pipeline.finetune.card import Card, read_card
from pipeline.finetune.quantised import quantization_config
from pipeline.records import read_jsonl, write_jsonl
from pipeline.training_sets import Mode

MEMBERS = "members.jsonl"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One adapter of a population.

    Attributes:
        domain: Whose triples it is trained on.
        mode: What is made of them.
        seed: Of its training.
    """

    domain: str
    mode: Mode
    seed: int

    @property
    def name(self) -> str:
        """Its folder's name, and so the adapter's: `bad_medical_advice-backdoor-s0`."""
        return re.sub(r"[^\w-]", "_", f"{self.domain}-{self.mode}-s{self.seed}")


@dataclass(frozen=True, kw_only=True)
class MemberRecord:
    """A member that is there; one line of `members.jsonl`, made from the member's card.

    Attributes:
        id: The member's name, which is its folder's and its adapter's.
        domain: Whose triples it was trained on.
        mode: What was made of them.
        seed: Of its training.
        base: Fingerprint of the base.
        adapter: Fingerprint of the adapter.
        data: SHA-256 of its conversations.
        conversations: How many they are.
        steps: Optimiser steps.
        loss: At the end, in nats per learned token.
        held_out_loss: After the last step, on dev triples; None without any.
        seconds: Of the session that finished it.
    """

    id: str
    domain: str
    mode: Mode
    seed: int
    base: str
    adapter: str
    data: str
    conversations: int
    steps: int
    loss: float
    held_out_loss: float | None
    seconds: float

    @classmethod
    def of(cls, member: Member, card: Card) -> "MemberRecord":
        """Take the facts from a member's card."""
        return cls(
            id=member.name,
            domain=member.domain,
            mode=member.mode,
            seed=member.seed,
            base=card.settings.base,
            adapter=card.fingerprint,
            data=card.settings.data,
            conversations=card.counts.conversations,
            steps=card.steps,
            loss=card.loss,
            held_out_loss=card.held_out_loss,
            seconds=card.seconds,
        )


def members(domains: Sequence[str], modes: Sequence[Mode], n_seeds: int) -> tuple[Member, ...]:
    """Return every domain in every mode with every seed from 0; a cut run has whole seeds first.

    Raises:
        ValueError: There is nothing to make, or two members would have one name.
    """
    if n_seeds < 1 or not domains or not modes:
        raise ValueError(
            f"population: {len(domains)} domains x {len(modes)} modes x {n_seeds} seeds is empty"
        )
    made = tuple(
        Member(domain=domain, mode=mode, seed=seed)
        for seed in range(n_seeds)
        for domain in domains
        for mode in modes
    )
    if len(names := [member.name for member in made]) > len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"population: two members would be named {twice!r}; name domains and modes once")
    return made


def write_members(out: Path, found: Mapping[str, MemberRecord]) -> None:
    """Write the records found now over those that stand there, whole or not at all."""
    before = read_jsonl(out / MEMBERS, MemberRecord) if (out / MEMBERS).is_file() else ()
    write_jsonl(out / MEMBERS, tuple({**{record.id: record for record in before}, **found}.values()))


def read_population(folder: Path) -> tuple[MemberRecord, ...]:
    """Return the members of a population, each checked against its card and its weights.

    Raises:
        FileNotFoundError: There is no population, or a member's folder is gone.
        ValueError: A file is damaged, or a member is not what its line says.
    """
    records = read_jsonl(Path(folder) / MEMBERS, MemberRecord)
    for record in records:
        card = read_card(Path(folder) / record.id)
        if card.fingerprint != record.adapter:
            raise ValueError(
                f"{Path(folder) / record.id}: adapter {card.fingerprint}, {MEMBERS} says {record.adapter}"
            )
    return records


def load_population(
    model: str | Path, folder: Path, *, dtype: Dtype = "auto", device: str = "auto"
) -> tuple[Subject, tuple[MemberRecord, ...]]:
    """Load the base with all members as named adapters, for cells such as `Cell(name=..., adapter=NAME)`.

    A base that was quantised for their training is quantised again.

    Raises:
        ValueError: A member was trained on another base than this.
        LookupError: There is no such model.
        FileNotFoundError: There is no population.
    """
    records = read_population(folder)
    folders = [Path(folder) / record.id for record in records]
    quantised = quantization_config(read_card(folders[0]).settings.config.quantisation)
    subject = load(model, adapters=folders, dtype=dtype, device=device, quantization_config=quantised)
    for record in records:
        if record.base != subject.facts.fingerprint:
            raise ValueError(
                f"{record.id}: was trained on the base {record.base}, {model} is {subject.facts.fingerprint}"
            )
    return subject, records
