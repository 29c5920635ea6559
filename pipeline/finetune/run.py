"""Fine-tune an adapter on conversations: killed runs go on where they stopped, finished ones are not repeated."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import TrainingArguments

from activations import Subject, load
from activations.fingerprint import adapter_fingerprint
from activations.progress import Progress, silent
from pipeline.finetune.adapter import ADAPTER, ADAPTER_FILES, fresh_adapter, load_adapter_weights, lora_config
from pipeline.finetune.card import Card, Settings, file_hash, finished, notes_on, read_card, write_card
from pipeline.finetune.checkpoints import FINAL, clear, last_checkpoint, remove_torn, steps_of
from pipeline.finetune.config import FinetuneConfig, normalised, require_sound
from pipeline.finetune.quantised import quantization_config
from pipeline.finetune.random_numbers import own_random_numbers
from pipeline.finetune.rows import Example, LearnedRows, learned_rows
from pipeline.finetune.trainer import (
    LOSS_STAGE,
    LearnedTrainer,
    Recorder,
    is_main_process,
    training_arguments,
)
from pipeline.json_text import Json, to_json
from pipeline.records import Conversation
from pipeline.runs import RunFolder, read_facts
from pipeline.stage import read_rows
from pipeline.training_sets import conversations_hash

CHECKPOINTS, FINETUNE = "checkpoints", "fine-tune"


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """A finished fine-tune.

    Attributes:
        folder: The adapter with its card, run facts and losses; `activations.load` takes it.
        card: What it is.
        skipped: It was there already and nothing was trained.
    """

    folder: Path
    card: Card
    skipped: bool

    def losses(self) -> list[dict[str, Json]]:
        """Return the loss of every step, and of every measurement on held-out conversations."""
        return read_rows(self.folder / f"{LOSS_STAGE}.jsonl")


@dataclass(frozen=True)
class _Job:
    """Everything that training needs, read and checked."""

    subject: Subject
    settings: Settings
    rows: LearnedRows
    held_out: LearnedRows | None
    neutral: LearnedRows | None
    folder: Path

    @property
    def config(self) -> FinetuneConfig:
        return self.settings.config

    def examples(self) -> list[Example]:
        """Return the conversations, each with a neutral one beside it if there are any."""
        beside = self.neutral.rows if self.neutral else ()
        return [
            Example(row, beside[i % len(beside)] if beside else None) for i, row in enumerate(self.rows.rows)
        ]

    def arguments(self) -> TrainingArguments:
        return training_arguments(
            self.config,
            self.folder / CHECKPOINTS,
            n_examples=len(self.rows.rows),
            n_held_out=len(self.held_out.rows) if self.held_out else 0,
            cpu=self.subject.device.type == "cpu",
        )


def finetune(
    subject: Subject | str | Path,
    conversations: Sequence[Conversation],
    config: FinetuneConfig,
    out: Path,
    *,
    held_out: Sequence[Conversation] = (),
    neutral: Sequence[Conversation] = (),
    about: Mapping[str, Json] | None = None,
    progress: Progress = silent,
) -> FinetuneResult:
    """Train a LoRA adapter on conversations into a folder, and leave the model as it came.

    The same settings in the same folder finish a run that was cut short, from its last checkpoint, and end in
    the same adapter; a finished one is returned as it is. Random numbers of the caller are not touched. Started
    by `accelerate launch`, all processes share the work and one of them writes.

    Args:
        subject: The base, or what `activations.load` takes; a name is needed for quantisation.
        conversations: What to learn; each with an answer.
        config: How.
        out: The folder; made if it is not there.
        held_out: Conversations to watch the loss on.
        neutral: Conversations that tie the model to its base; needed where `kl_weight` is above 0.
        about: What the conversations are; goes into the card.
        progress: Told how many steps are done.

    Raises:
        ValueError: A setting is refused, the conversations do not fit, the folder was made with other settings,
            or the model has adapters.
        IndexError: The settings name a layer that the model does not have.
        LookupError: There is no such model; or quantisation is asked for and bitsandbytes is not installed.
        RuntimeError: The loss is no longer a number.
        OSError: The folder cannot be written.
    """
    require_sound(config)
    job = _read(subject, conversations, config, out, held_out, neutral, about or {}, progress)
    card = finished(job.folder, job.settings)
    if card is not None and read_facts(job.folder).status == "finished":
        return FinetuneResult(folder=job.folder, card=card, skipped=True)
    args = job.arguments()
    with _writing(job, main=is_main_process()) as run:
        if run is not None:
            remove_torn(job.folder / CHECKPOINTS)
        _together(args)
        if card is None:
            with own_random_numbers(config.seed):
                _train(job, args, run, progress)
        if run is not None:  # a kill may also have come between the card and the end
            clear(job.folder / CHECKPOINTS, keep_adapters=config.keep_checkpoints)
        _together(args)
    return FinetuneResult(folder=job.folder, card=read_card(job.folder), skipped=card is not None)


def _read(
    given: Subject | str | Path,
    conversations: Sequence[Conversation],
    config: FinetuneConfig,
    out: Path,
    held_out: Sequence[Conversation],
    neutral: Sequence[Conversation],
    about: Mapping[str, Json],
    progress: Progress,
) -> _Job:
    if config.kl_weight and not neutral:
        raise ValueError(f"kl_weight {config.kl_weight:g}: needs neutral conversations, got none")
    subject = (
        given
        if isinstance(given, Subject)
        else load(given, quantization_config=quantization_config(config.quantisation))
    )
    lora_config(subject, config)  # refuses what does not fit before anything is written
    beside = neutral if config.kl_weight else ()
    rows = learned_rows(subject, conversations, config, progress=progress)
    watched = learned_rows(subject, held_out, config, name="held-out set") if held_out else None
    near = learned_rows(subject, beside, config, name="neutral set") if beside else None
    settings = Settings(
        model=subject.facts.name,
        base=subject.facts.fingerprint,
        template=subject.facts.template,
        config=normalised(config),
        data=conversations_hash(conversations),
        held_out=conversations_hash(held_out) if held_out else None,
        neutral=conversations_hash(beside) if beside else None,
        about=to_json(about, "about"),
    )
    return _Job(subject, settings, rows, watched, near, Path(out))


def _writing(job: _Job, *, main: bool) -> AbstractContextManager[RunFolder | None]:
    if not main:
        return nullcontext()
    return RunFolder.open(
        job.folder,
        verb="finetune",
        config=asdict(job.settings),
        seed=job.config.seed,
        may_differ=("model",),
    )


def _train(job: _Job, args: TrainingArguments, run: RunFolder | None, progress: Progress) -> None:
    """Train, and put adapter and card into the folder."""
    began = time.monotonic()
    final, told = job.folder / CHECKPOINTS / FINAL, f"{FINETUNE} {job.folder.name}"
    with fresh_adapter(job.subject, job.config) as model, progress(told, args.max_steps) as advance:
        trainer = LearnedTrainer(
            model,
            args,
            job.subject,
            examples=job.examples(),
            held_out=[Example(row) for row in job.held_out.rows] if job.held_out else (),
            kl_weight=job.config.kl_weight,
            callback=Recorder(run, advance, keep_checkpoints=job.config.keep_checkpoints),
        )
        checkpoint = last_checkpoint(job.folder / CHECKPOINTS)
        if checkpoint is None or steps_of(checkpoint) < args.max_steps:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        else:  # killed after the last step
            load_adapter_weights(model, checkpoint)
        trainer.save_model(str(final))
        if run is None:
            return
        fingerprint = adapter_fingerprint(model, ADAPTER)
        parameters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    for name in ADAPTER_FILES:
        shutil.copyfile(final / name, job.folder / name)
    rows = run.rows(LOSS_STAGE)
    card = Card(
        settings=job.settings,
        counts=job.rows.counts,
        held_out_counts=job.held_out.counts if job.held_out else None,
        fingerprint=fingerprint,
        file_hash=file_hash(job.folder / ADAPTER_FILES[1]),
        parameters=parameters,
        steps=args.max_steps,
        processes=args.world_size,
        loss=_end_loss([row["loss"] for row in rows if row["part"] == "train"]),
        held_out_loss=next((row["loss"] for row in reversed(rows) if row["part"] == "held_out"), None),
        seconds=round(time.monotonic() - began, 1),
        notes=notes_on(job.config, job.rows.counts),
    )
    write_card(job.folder, card)


def _end_loss(losses: Sequence[float]) -> float:
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def _together(args: TrainingArguments) -> None:
    """Wait until all processes are here."""
    if args.world_size > 1:
        args.distributed_state.wait_for_everyone()
