"""A whole grid of steered generations against a loop over its cells. `python -m experiments.benchmarks.grid`.

The grid is every layer x 3 coefficients x 8 prompts x 24 new tokens, greedy. The loop is the usual way: one hook, one
`generate` call of the model for each cell, with the 8 prompts as its batch. The loop is timed on a random sample of
cells, since its cost is the same for each, and its time is scaled up; the engine runs the whole grid.
Rows of the sampled cells are compared token by token.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
import tyro
from rich.console import Console

from activations import All, Answer, HookPoint, Subject, Where, edited, load
from activations.encode import pad, tokenize_all
from activations.hooks import plain_model
from activations.progress import bar
from experiments.benchmarks.record import write
from pipeline.poles import capture_poles
from pipeline.triples import load_corpus
from steering import Cell, additions, extract, generate

COEFFICIENTS = (0.1, 0.2, 0.3)
N_PROMPTS, NEW_TOKENS = 8, 24


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure what a grid of steered generations costs, against a loop over its cells."""

    model: str = "smollm2-135m-instruct"
    """An embedded model, a hub id or a folder."""
    sample: int = 6
    """Cells that the loop is timed on, for each of the two ways to steer."""
    out: Path = Path("runs/benchmarks/grid.json")
    """Where the figures go."""


@dataclass(frozen=True, kw_only=True)
class GridTiming:
    """One way to steer, with both ways to run it.

    Attributes:
        where: Which tokens are steered.
        cells: Cells of the grid.
        engine_seconds: The whole grid by the row engine.
        loop_seconds: The sampled cells by the loop.
        sampled: How many cells the loop ran.
        speed_up: Time of the loop, scaled to all cells, by that of the engine.
        low: Bound of the speed-up: 2.5 % quantile over bootstrap draws of the sampled cells.
        high: 97.5 % quantile of the same.
        same_rows: Rows of the sampled cells with the same tokens in both.
        rows: Rows that were compared.
    """

    where: str
    cells: int
    engine_seconds: float
    loop_seconds: float
    sampled: int
    speed_up: float
    low: float
    high: float
    same_rows: int
    rows: int


def main(config: Config) -> None:
    """Measure, show and write."""
    transformers.logging.set_verbosity_error()
    subject = load(config.model)
    triples = load_corpus("bad_medical_advice")
    poles = capture_poles(subject, triples[:16], progress=bar)
    direction = extract(poles.misaligned, poles.aligned, name="medical")
    chats = [[{"role": "user", "content": triple.prompt}] for triple in triples[-N_PROMPTS:]]
    points = [HookPoint(layer) for layer in range(subject.facts.n_layers)]
    timings = []
    for where in (Answer(lead=1), All(sink=True)):
        cells = additions([direction], points, COEFFICIENTS, where=where)
        timing = measure(subject, chats, cells, where, config.sample)
        Console().print(timing)
        timings.append(timing)
    write(config.out, "grid", config, timings)


def measure(
    subject: Subject, chats: Sequence[list[dict[str, str]]], cells: Sequence[Cell], where: Where, sample: int
) -> GridTiming:
    """Run a sample of cells by the loop, half before and half after the engine runs the whole grid."""
    draw = np.random.default_rng(0)
    chosen = [int(i) for i in draw.choice(len(cells), size=sample, replace=False)]
    looped: dict[int, list[list[int]]] = {}
    seconds: dict[int, float] = {}
    engine: dict[tuple[int, int], tuple[int, ...]] = {}

    def loop(indices: Sequence[int]) -> None:
        for i in indices:
            began = time.perf_counter()
            looped[i] = alone(subject, chats, cells[i], where)
            seconds[i] = time.perf_counter() - began

    alone(subject, chats, cells[0], where)  # warm up
    loop(chosen[: sample // 2])
    began = time.perf_counter()
    for answer in generate(subject, chats, cells, max_new_tokens=NEW_TOKENS, progress=bar):
        engine[answer.cell, answer.row] = answer.ids
    took = time.perf_counter() - began
    loop(chosen[sample // 2 :])
    times = np.array(list(seconds.values()))
    means = times[draw.integers(sample, size=(2000, sample))].mean(axis=1) * len(cells) / took
    low, high = np.quantile(means, (0.025, 0.975))
    same = [
        tuple(looped[i][r][: len(engine[i, r])]) == engine[i, r] for i in chosen for r in range(len(chats))
    ]
    return GridTiming(
        where=str(where),
        cells=len(cells),
        engine_seconds=took,
        loop_seconds=float(times.sum()),
        sampled=sample,
        speed_up=float(times.mean()) * len(cells) / took,
        low=float(low),
        high=float(high),
        same_rows=sum(same),
        rows=len(same),
    )


@torch.inference_mode()
def alone(
    subject: Subject, chats: Sequence[list[dict[str, str]]], cell: Cell, where: Where
) -> list[list[int]]:
    """Generate one cell's answers the usual way: a hook that adds the vector, and the model's own `generate`."""
    batch = pad(tokenize_all(subject, chats), subject.device)
    edit = cell.edits[0]
    shift = edit.step(edit.points[0]).shift
    width = batch.input_ids.shape[1]
    steer_prompt = isinstance(where, All)

    def add_to(resid: torch.Tensor) -> torch.Tensor:
        if resid.shape[1] < width or steer_prompt:
            return resid + shift
        return torch.cat([resid[:, :-1], resid[:, -1:] + shift], dim=1)

    with edited(subject.model, {edit.points[0]: add_to}):
        tokens: torch.Tensor = plain_model(subject.model).generate(
            batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=NEW_TOKENS, do_sample=False
        )
    rows: list[list[int]] = tokens[:, width:].tolist()
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config))
