"""What a fine-tune would take, before it starts: steps, tokens, and time and memory from a few real steps."""

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from activations import Subject
from activations.progress import Advance
from pipeline.finetune.config import FinetuneConfig, require_sound
from pipeline.finetune.rows import Counts, learned_rows
from pipeline.finetune.run import FINETUNE, finetune
from pipeline.finetune.trainer import total_steps
from pipeline.records import Conversation

N_TIMED = 3
"""Steps of a probe; the fastest counts, because the first one warms caches up."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a few real steps took on this machine, as it is now.

    Attributes:
        seconds_per_token: Forward and backward, learned or not.
        memory_bytes: Peak of this process, or of the GPU's memory.
        seconds: Of the fastest step.
    """

    seconds_per_token: float
    memory_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FinetunePlan:
    """What one fine-tune would take.

    Attributes:
        counts: What its conversations come to.
        steps: Optimiser steps.
        tokens: Passed through the model in all steps, pads left out.
        seconds: Estimated; None where nothing was timed.
    """

    counts: Counts
    steps: int
    tokens: int
    seconds: float | None


def plan_finetune(
    subject: Subject,
    conversations: Sequence[Conversation],
    config: FinetuneConfig,
    probe: Probe | None = None,
) -> FinetunePlan:
    """Return what a fine-tune would take on one process; nothing is trained or written.

    Raises:
        ValueError: As for `finetune`.
    """
    require_sound(config)
    counts = learned_rows(subject, conversations, config).counts
    steps = total_steps(config, counts.conversations)
    rows = steps * config.batch_size * config.accumulation
    if not config.max_steps:
        rows = round(config.epochs * counts.conversations)
    tokens = round(rows * counts.tokens / counts.conversations)
    seconds = None if probe is None else tokens * probe.seconds_per_token
    return FinetunePlan(counts=counts, steps=steps, tokens=tokens, seconds=seconds)


def probe_finetune(
    subject: Subject,
    conversations: Sequence[Conversation],
    config: FinetuneConfig,
    *,
    neutral: Sequence[Conversation] = (),
) -> Probe:
    """Time a few real steps; they train an adapter that is thrown away, and leave the model as it came.

    Raises:
        ValueError: As for `finetune`.
        OSError: No temporary folder can be written.
    """
    short = replace(config, max_steps=N_TIMED, schedule="constant", warmup=0.0, save_every=N_TIMED)
    n_rows = config.batch_size * config.accumulation
    some = sorted(conversations, key=lambda row: -sum(len(turn.content) for turn in row.messages))[:n_rows]
    ends: list[float] = []

    @contextmanager
    def timed(task: str, total: int) -> Iterator[Advance]:
        yield lambda units: ends.append(time.monotonic()) if task.startswith(FINETUNE) else None

    if subject.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(subject.device)
    with TemporaryDirectory(prefix="misdirection-probe-") as folder:
        result = finetune(subject, some, short, Path(folder) / "probe", neutral=neutral, progress=timed)
    seconds = min(after - before for before, after in zip(ends, ends[1:], strict=False))
    tokens = result.card.counts.tokens * n_rows / result.card.counts.conversations
    return Probe(seconds_per_token=seconds / tokens, memory_bytes=_peak(subject), seconds=seconds)


def _peak(subject: Subject) -> int:
    if subject.device.type == "cuda":
        return torch.cuda.max_memory_allocated(subject.device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
