"""How the row engine's advantage over a loop grows: with rows, with the depth of the edit, with the prompt's length.

`python -m experiments.benchmarks.scaling`. Each point is a grid of its own: in each round the engine runs all of it,
and the loop, one hook and one `generate` call for each cell, one random cell, whose time is scaled up to all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import tyro

from activations import HookPoint, Subject, Where
from activations.encode import tokenize_all
from activations.progress import bar
from experiments.benchmarks.environment import launch
from experiments.benchmarks.grid import WHERES, WORDS
from experiments.benchmarks.interleaved import interleaved
from experiments.benchmarks.peers import plain
from experiments.benchmarks.peers.opening import Opened
from experiments.benchmarks.record import publish
from experiments.benchmarks.setup import (
    DOMAIN,
    Chats,
    Setup,
    batch_of,
    loaded,
    medical_direction,
    questions,
    shift_of,
)
from experiments.benchmarks.sheets import Sheet, seconds_text
from experiments.plots.benchmarks import Chart, Curve, curves_figure
from pipeline.triples import load_corpus
from steering import Cell, Direction, additions, generate

AXES = {
    "rows": "rows of the grid",
    "depth": "layer that is steered",
    "prompt": "tokens of the prompt",
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure how the engine's advantage over a loop grows with the size of a grid."""

    setup: tyro.conf.OmitArgPrefixes[Setup] = Setup(without_peers=True)
    rounds: int = 3
    """How often each point is timed."""
    prompts: int = 8
    """Prompts of each grid."""
    new_tokens: int = 12
    """Where answers are cut."""
    cells: tuple[int, ...] = (1, 3, 10, 30)
    """Cells of the grids of different sizes."""
    depths: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Layers of the grids of different depth, as parts of the model's."""
    lengths: tuple[int, ...] = (40, 64, 128, 256)
    """Prompt tokens of the grids of different length."""
    cells_elsewhere: int = 12
    """Cells of the grids that differ in depth or length."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One grid.

    Attributes:
        axis: What differs: `rows`, `depth` or `prompt`.
        size: Rows, layer, or tokens of the longest prompt.
        tokens: Which tokens are steered.
        rows: Rows of the grid.
        engine_seconds: Median time of the engine.
        loop_seconds: That of the loop, scaled to all cells.
        speed_up: Median over rounds of the loop's time by the engine's.
        low: Lower bound of its interval.
        high: Upper bound.
    """

    axis: str
    size: int
    tokens: str
    rows: int
    engine_seconds: float
    loop_seconds: float
    speed_up: float
    low: float
    high: float


def main(config: Config) -> None:
    """Measure, show and write."""
    subject = loaded(config.setup)
    direction = medical_direction(subject)
    points: list[Point] = []
    for tokens, where in WHERES.items():
        for axis, size, chats, cells in grids(subject, direction, where, config):
            points.append(timed(subject, chats, cells, where, config, axis=axis, size=size, tokens=tokens))
    sheets = [_sheet(axis, [p for p in points if p.axis == axis]) for axis in AXES]
    publish(
        "scaling",
        config,
        config.setup,
        Opened(),
        timings=points,
        sheets=sheets,
        figure=curves_figure([_chart(axis, [p for p in points if p.axis == axis]) for axis in AXES]),
    )


def grids(
    subject: Subject, direction: Direction, where: Where, config: Config
) -> list[tuple[str, int, Chats, tuple[Cell, ...]]]:
    """Return all grids: what differs, its size, the prompts and the cells."""
    n_layers = subject.facts.n_layers
    chats = questions(config.prompts)
    every = np.linspace(0, n_layers - 1, n_layers).round().astype(int).tolist()
    found = [("rows", n * len(chats), chats, spread_cells(direction, every, n, where)) for n in config.cells]
    for part in config.depths:
        layer = round(part * (n_layers - 1))
        cells = spread_cells(direction, [layer], config.cells_elsewhere, where)
        found.append(("depth", layer, chats, cells))
    for n in config.lengths:
        cells = spread_cells(direction, every, config.cells_elsewhere, where)
        long = prompts_of(subject, n, config.prompts)
        found.append(("prompt", max(map(len, tokenize_all(subject, long))), long, cells))
    return found


def spread_cells(direction: Direction, layers: Sequence[int], n: int, where: Where) -> tuple[Cell, ...]:
    """Return `n` cells spread evenly over layers, with as many coefficients as that takes."""
    chosen = [layers[round(i)] for i in np.linspace(0, len(layers) - 1, min(n, len(layers)))]
    coefficients = [0.05 * (i + 1) for i in range(-(-n // len(chosen)))]
    cells = additions(
        [direction], [HookPoint(layer) for layer in dict.fromkeys(chosen)], coefficients, where=where
    )
    return cells[:n]


def prompts_of(subject: Subject, n: int, count: int) -> Chats:
    """Return prompts whose rendering has about `n` tokens: the corpus' own text, cut.

    Raises:
        ValueError: The chat template alone is longer.
    """
    blank = len(tokenize_all(subject, [[{"role": "user", "content": "a"}]])[0]) - 1
    if n <= blank:
        raise ValueError(f"lengths: got {n}, but the chat template alone takes {blank} tokens")
    words = " ".join(triple.prompt for triple in load_corpus(DOMAIN))
    ids = subject.tokenizer(words, add_special_tokens=False)["input_ids"]
    room = n - blank
    pieces = [list(islice(cycle(ids), i * room, (i + 1) * room)) for i in range(count)]
    return [[{"role": "user", "content": subject.tokenizer.decode(piece)}] for piece in pieces]


def timed(
    subject: Subject,
    chats: Chats,
    cells: Sequence[Cell],
    where: Where,
    config: Config,
    *,
    axis: str,
    size: int,
    tokens: str,
) -> Point:
    """Time one grid by the engine and by the loop."""
    batch, n = batch_of(subject, chats), config.new_tokens
    order = np.random.default_rng(0).permutation(len(cells)).tolist()

    def loop() -> None:
        order.append(order.pop(0))
        plain.generated(subject, batch, shift_of(cells[order[-1]], where), n)

    jobs: dict[str, Callable[[], object]] = {
        "engine": lambda: list(generate(subject, chats, cells, max_new_tokens=n)),
        "loop": loop,
    }
    loop()  # warm up
    engine, looped = interleaved(
        jobs, rounds=config.rounds, warm_up=0, scales={"loop": float(len(cells))}, progress=bar
    )
    return Point(
        axis=axis,
        size=size,
        tokens=tokens,
        rows=len(cells) * len(chats),
        engine_seconds=engine.seconds,
        loop_seconds=looped.seconds,
        speed_up=looped.ratio,
        low=looped.low,
        high=looped.high,
    )


def _sheet(axis: str, points: Sequence[Point]) -> Sheet:
    rows = [
        (
            WORDS[p.tokens],
            str(p.size),
            seconds_text(p.engine_seconds),
            seconds_text(p.loop_seconds),
            f"{p.speed_up:.2f}",
            f"{p.low:.2f} to {p.high:.2f}",
        )
        for p in points
    ]
    columns = ("steered", AXES[axis], "engine, seconds", "loop, seconds", "engine is faster by", "95 %")
    return Sheet(title=f"Scaling over {AXES[axis]}", columns=columns, rows=tuple(rows))


def _chart(axis: str, points: Sequence[Point]) -> Chart:
    curves = []
    for tokens in dict.fromkeys(p.tokens for p in points):
        own = [p for p in points if p.tokens == tokens]
        sizes, values, lows, highs = zip(*((p.size, p.speed_up, p.low, p.high) for p in own), strict=True)
        curves.append(Curve(name=WORDS[tokens], sizes=sizes, values=values, lows=lows, highs=highs))
    return Chart(
        title="", x=AXES[axis], y="loop's time / engine's", curves=tuple(curves), log_x=axis != "depth"
    )


if __name__ == "__main__":
    launch(tyro.cli(Config), main)
