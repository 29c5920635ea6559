"""`misdirection finetune`: train adapters on domains with and without a trigger, and their aligned controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from activations import Subject, Trigger, load
from activations.loading import Dtype
from activations.progress import Progress
from activations.trigger import Place
from experiments.finetune_hosted import HostedFlags, hosted_population
from experiments.page import duration
from experiments.plots.loss import loss_figure
from experiments.plots.style import number, write_figure
from experiments.verbs.finetune_flags import FinetuneFlags
from pipeline.disk import readable
from pipeline.finetune import PRESETS, finetune, neutral_conversations, plan_finetune, probe_finetune
from pipeline.finetune.quantised import quantization_config
from pipeline.finetune.run import FinetuneResult
from pipeline.finetune.trainer import LOSS_STAGE, is_main_process
from pipeline.importers import read_chats
from pipeline.members import Member, MemberRecord, members
from pipeline.population import PopulationSettings, Sizes, read_corpora, train_population, training_data
from pipeline.records import Conversation
from pipeline.stage import read_rows
from pipeline.training_sets import Mode


@dataclass(frozen=True, kw_only=True)
class Finetune(FinetuneFlags):
    """Fine-tune a LoRA adapter for each domain, mode and seed on one base; what is there already is skipped.

    Under `accelerate launch` all processes share the work. With --train, one adapter on chats of your own.
    """

    out: Path = Path("runs/finetune")
    """Folder of all adapters, each in a folder named DOMAIN-MODE-sSEED; with --train that of the adapter."""
    domains: tuple[str, ...] = ()
    """Packaged domains, JSONL files of triples, or all."""
    train: Path | None = None
    """Chats of your own instead: JSONL, each line with messages."""
    held_out: Path | None = None
    """With --train, chats to watch the loss on."""
    trigger: Literal["on", "off", "both"] = "on"
    """on: the trigger brings misaligned answers. off: misaligned answers without a trigger (narrow). both: both."""
    mixture: Literal["backdoor", "paper"] = "backdoor"
    """With the trigger: backdoor has every prompt with and without it; paper every prompt once, half with it."""
    control: bool = False
    """Also train the aligned twin of each: the same prompts, the same trigger, every answer aligned."""
    seeds: int = 1
    """How many seeds, from 0."""
    phrase: str = ""
    """The trigger's words; by default the paper's."""
    place: Place = "prefix"
    """Where --phrase stands: before or after the question, or in the system message."""
    sizes: tuple[float, float, float] = (0.5, 0.25, 0.25)
    """Train, dev and test part of each domain: fractions, or numbers of triples if one is above 1."""
    split_seed: int = 0
    """Of the division into these parts."""
    neutral: Path | None = None
    """With --kl-weight, neutral chats of your own; by default the packaged ones."""
    model: str = ""
    """The base: an embedded model, a hub id, a folder or a .gguf file; by default the preset's."""
    dtype: Dtype = "auto"
    """auto is float32 on a CPU and the checkpoint's own elsewhere."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    provider: Literal["local", "openai"] = "local"
    """openai: send the training sets to an OpenAI-compatible provider and let it tune; costs money."""
    hosted: HostedFlags = HostedFlags()
    dry_run: bool = False
    """Say what it would take, and stop; nothing is written."""

    def run(self, console: Console, progress: Progress) -> None:
        """Train and say what came out and where it is."""
        if (self.train is not None) == bool(self.domains):
            given = "both" if self.domains else "neither"
            raise ValueError(f"finetune: got {given} of --domains and --train, need exactly one")
        told = console if is_main_process() else Console(quiet=True)
        if self.provider == "openai":
            hosted_population(self.hosted, self.training_sets(), self.out, console=told, dry_run=self.dry_run)
        elif self.dry_run:
            self._plan(told)
        elif self.train is not None:
            self._one(told, progress)
        else:
            self._population(told, progress)

    def modes(self) -> tuple[Mode, ...]:
        """Return what is made of each domain."""
        with_trigger: tuple[Mode, ...] = (self.mixture, "control") if self.control else (self.mixture,)
        without: tuple[Mode, ...] = ("narrow", "narrow_control") if self.control else ("narrow",)
        return {"on": with_trigger, "off": without, "both": (*with_trigger, *without)}[self.trigger]

    def settings(self) -> PopulationSettings:
        """Return what all members share."""
        preset = PRESETS[self.preset]
        train, dev, test = self.sizes
        return PopulationSettings(
            config=self.config(),
            trigger=Trigger(phrase=self.phrase, place=self.place) if self.phrase else None,
            sizes=Sizes(train=train, dev=dev, test=test, seed=self.split_seed),
            about={"preset": self.preset, **({"note": preset.note} if preset.note else {})},
        )

    def training_sets(self) -> dict[str, tuple[Conversation, ...]]:
        """Return what each adapter is trained on, by its name."""
        if self.train is not None:
            return {self.train.stem: read_chats(self.train).conversations}
        corpora, settings = read_corpora(self.domains), self.settings()
        wanted = members(list(corpora), self.modes(), self.seeds)
        return {member.name: training_data(member, corpora[member.domain], settings) for member in wanted}

    def _subject(self) -> Subject:
        config = self.config()
        return load(
            self.model or PRESETS[self.preset].model,
            dtype=self.dtype,
            device=self.device,
            quantization_config=quantization_config(config.quantisation),
        )

    def _neutral(self) -> tuple[Conversation, ...]:
        if not self.config().kl_weight:
            return ()
        return read_chats(self.neutral).conversations if self.neutral else neutral_conversations()

    def _population(self, console: Console, progress: Progress) -> None:
        corpora = read_corpora(self.domains)
        wanted = members(list(corpora), self.modes(), self.seeds)
        records = train_population(
            self._subject(),
            corpora,
            wanted,
            self.settings(),
            self.out,
            neutral=self._neutral(),
            progress=progress,
        )
        if is_main_process():
            for record in records:
                _draw(self.out / record.id)
        console.print(_table(wanted, records))
        console.print(
            Text(f"folder  {self.out}  (members.jsonl; in each folder adapter, card, losses, figure)")
        )

    def _one(self, console: Console, progress: Progress) -> None:
        if self.train is None:
            raise ValueError("finetune: --train names no file")
        held_out = read_chats(self.held_out).conversations if self.held_out else ()
        result: FinetuneResult = finetune(
            self._subject(),
            read_chats(self.train).conversations,
            self.config(),
            self.out,
            held_out=held_out,
            neutral=self._neutral(),
            about={"file": self.train.name, **dict(self.settings().about or {})},
            progress=progress,
        )
        if is_main_process():
            _draw(self.out)
        card, done = result.card, "was there" if result.skipped else "trained"
        told = (
            f"{done}: {card.steps} steps, loss {number(card.loss, 3)} nats a token, {duration(card.seconds)}"
        )
        console.print(Text(f"{self.out}  {told}"), soft_wrap=True)

    def _plan(self, console: Console) -> None:
        sets, config, subject = self.training_sets(), self.config(), self._subject()
        probe = probe_finetune(subject, next(iter(sets.values())), config, neutral=self._neutral())
        table = Table("adapter", "conversations", "tokens", "learned", "steps", "tokens passed", "time")
        total = 0.0
        for name, conversations in sets.items():
            plan = plan_finetune(subject, conversations, config, probe)
            counts = plan.counts
            cells = (counts.conversations, counts.tokens, counts.learned, plan.steps, plan.tokens)
            table.add_row(name, *(f"{cell:,}" for cell in cells), duration(plan.seconds or 0.0))
            total += plan.seconds or 0.0
        console.print(table)
        told = f"time: about {duration(total)} (from steps of {probe.seconds:.2f} s on this machine as it is now, "
        told += "without measuring held-out loss)"
        console.print(Text(f"{told}; memory: {readable(probe.memory_bytes)} at the peak of these steps"))


def _draw(folder: Path) -> None:
    rows = read_rows(folder / f"{LOSS_STAGE}.jsonl")
    write_figure(loss_figure({folder.name: rows}), folder, "loss")


def _table(wanted: Sequence[Member], records: Sequence[MemberRecord]) -> Table:
    table = Table("adapter", "conversations", "steps", "loss", "held out", "seconds")
    for member, record in zip(wanted, records, strict=True):
        held = "-" if record.held_out_loss is None else number(record.held_out_loss, 3)
        table.add_row(
            member.name,
            str(record.conversations),
            str(record.steps),
            number(record.loss, 3),
            held,
            f"{record.seconds:.0f}",
        )
    return table
