"""What a sweep would take, before it starts: cells, sequences, tokens, seconds and disk."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from rich.table import Table
from torch import nn

from activations import Subject, decoder_blocks, load
from activations.encode import TokenRow, tokenize_all
from activations.hooks import plain_model
from experiments.page import duration
from experiments.sweep_cells import default_layers, read_directions
from experiments.sweep_config import SweepConfig, require_sound, split_domains
from pipeline.disk import readable
from pipeline.propensity import answered
from pipeline.records import Triple
from pipeline.triples import Split
from steering import UNEDITED, score_answers

ROW_BYTES, ANSWER_BYTES, FIGURE_BYTES = 420, 700, 600_000
"""About what a scored row, a written answer, and the report with its figures take on disk."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What one stage would take.

    Attributes:
        name: The stage.
        cells: Conditions, the base included.
        sequences: Answers that are scored or written, each under one condition.
        tokens: Tokens that are passed; shared prompts count once.
        block_tokens: Tokens times blocks they pass, the head counted as the blocks it is worth.
    """

    name: str
    cells: int
    sequences: int
    tokens: int
    block_tokens: float


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep would take.

    Attributes:
        stages: In order.
        seconds: From a short probe on this machine as it is now; None where it is not known.
        disk_bytes: What the run folder will hold.
        seconds_told: Why, or from what.
    """

    stages: tuple[StagePlan, ...]
    seconds: float | None
    disk_bytes: int
    seconds_told: str

    def table(self) -> Table:
        """Return the stages as a table for the terminal."""
        table = Table("stage", "cells", "sequences", "tokens")
        for stage in self.stages:
            table.add_row(stage.name, str(stage.cells), f"{stage.sequences:,}", f"{stage.tokens:,}")
        return table

    def told(self) -> str:
        """Return time and disk in a line."""
        shown = "not known" if self.seconds is None else f"about {duration(self.seconds)}"
        return f"time: {shown} ({self.seconds_told}); disk: about {readable(self.disk_bytes)}"


def plan_sweep(config: SweepConfig) -> SweepPlan:
    """Return what a sweep would take; loads the model, writes nothing.

    Raises:
        LookupError: As for `run_sweep`.
        ValueError: As for `run_sweep`.
        OSError: A file is missing.
    """
    require_sound(config)
    parts = split_domains(config)
    subject = load(config.model, adapters=config.adapters, dtype=config.dtype, device=config.device)
    found = read_directions(config, subject) if config.directions else ()
    layers = default_layers(config, found, subject.facts.n_layers)
    n_directions = len(found) or len(parts)
    dev, test = (_rows(subject, parts, name) for name in ("dev", "test"))
    stages = [] if config.directions else [_capture(_rows(subject, parts, "extract"), max(layers) + 1)]
    places = [layer for layer in layers for _ in range(n_directions * len(config.coefficients))]
    middle = layers[len(layers) // 2]
    extra = len(set(config.strengths()) - set(config.coefficients))
    controls = 1 + config.n_random + config.shuffles()
    if config.by == "propensity":
        head = _head_blocks(subject)
        stages += [
            _scored("grid (dev)", dev, places, subject, head),
            _scored("dose (dev)", dev, [middle] * extra, subject, head, base=False),
            _scored("test", test, [middle] * controls, subject, head),
        ]
    else:
        new = config.max_new_tokens
        stages += [
            _written("grid (dev)", dev, 1 + len(places), new),
            _written("dose (dev)", dev, extra, new),
            _written("test", test, 1 + controls, new),
        ]
    rate, told = _probe(subject, parts) if config.by == "propensity" else (None, _UNKNOWN)
    return SweepPlan(
        stages=tuple(stages),
        seconds=None if rate is None else rate * sum(stage.block_tokens for stage in stages),
        disk_bytes=_disk(config, stages, len(layers), subject.facts.d_model),
        seconds_told=told,
    )


_UNKNOWN = "answers end when the model ends them; tokens are the most there can be"


def _rows(subject: Subject, parts: Mapping[str, Split], name: str) -> tuple[TokenRow, ...]:
    triples: list[Triple] = list(chain.from_iterable(getattr(part, name) for part in parts.values()))
    return tokenize_all(subject, [answered(t, text) for t in triples for text in (t.misaligned, t.aligned)])


def _n_answer(row: TokenRow) -> int:
    return len(row) - row.n_prompt


def _capture(rows: Sequence[TokenRow], depth: int) -> StagePlan:
    tokens = sum(map(len, rows))
    return StagePlan(
        name="directions", cells=1, sequences=len(rows), tokens=tokens, block_tokens=tokens * float(depth)
    )


def _scored(
    name: str,
    rows: Sequence[TokenRow],
    places: Sequence[int],
    subject: Subject,
    head: float,
    *,
    base: bool = True,
) -> StagePlan:
    """Plan a stage of scoring: one pass without edits, then for each cell the answers above its layer."""
    answers, whole, n_layers = sum(map(_n_answer, rows)), sum(map(len, rows)), subject.facts.n_layers
    trunk = whole * n_layers + answers * head
    branches = sum(answers * (n_layers - 1 - layer + head) for layer in places)
    n_cells = len(places) + base
    return StagePlan(
        name=name,
        cells=n_cells,
        sequences=n_cells * len(rows),
        tokens=whole + answers * len(places),
        block_tokens=trunk + branches,
    )


def _written(name: str, rows: Sequence[TokenRow], n_cells: int, new: int) -> StagePlan:
    """Plan a stage of writing: every prompt once, and in each cell at most `new` tokens, written and then scored."""
    prompts = sum(row.n_prompt for row in rows[::2])
    n = n_cells * (len(rows) // 2)
    return StagePlan(
        name=name,
        cells=n_cells,
        sequences=n,
        tokens=prompts + n * new + (n_cells * prompts + n * new),
        block_tokens=0.0,
    )


def _head_blocks(subject: Subject) -> float:
    """Return how many blocks the unembedding is worth, by parameters."""
    head: nn.Module = plain_model(subject.model).get_output_embeddings()
    block = decoder_blocks(subject.model)[0]
    return sum(p.numel() for p in head.parameters()) / sum(p.numel() for p in block.parameters())


def _probe(subject: Subject, parts: Mapping[str, Split]) -> tuple[float, str]:
    """Return the seconds that a token takes for one block, from scoring a few dev answers twice."""
    triples = next(iter(parts.values())).dev[:2]
    chats = [answered(t, text) for t in triples for text in (t.misaligned, t.aligned)]
    rows = tokenize_all(subject, chats)
    seconds = []
    for _ in range(2):  # the first pass also warms caches up
        began = time.monotonic()
        list(score_answers(subject, chats, [UNEDITED]))
        seconds.append(time.monotonic() - began)
    work = _scored("probe", rows, (), subject, _head_blocks(subject)).block_tokens
    return min(seconds) / work, f"from a probe of {min(seconds):.2f} s on this machine as it is now"


def _disk(config: SweepConfig, stages: Sequence[StagePlan], n_layers: int, d_model: int) -> int:
    measured = [stage for stage in stages if stage.name != "directions"]
    per_triple = 1 if config.by == "answers" else 2
    rows = sum(stage.sequences // per_triple for stage in measured)
    kept = (
        0 if config.directions else 2 * config.n_extract * len(config.domains) * n_layers * (d_model + 1) * 4
    )
    written = ANSWER_BYTES * rows if config.by == "answers" else 0
    return ROW_BYTES * rows + written + kept + FIGURE_BYTES
