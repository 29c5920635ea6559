"""A whole grid of steered generations against a loop over its cells, by hand and by other libraries.

`python -m experiments.benchmarks.grid`. The grid is every layer x 3 coefficients x 8 prompts x 24 new tokens, greedy,
steered on all tokens, and from the last prompt token on. The loop is the usual way: one `generate` call for
each cell, with the 8 prompts as its batch. In each round the engine runs the whole grid and every loop a random
sample of cells, whose time is scaled up to all cells; the interval therefore holds both the machine's noise and the
choice of cells. Rows of the sampled cells are compared token by token.

The share of the machine's multiplication rate is a floor of the grid's arithmetic (`work.py` has the formulas) by
the engine's time and the rate of large matrix products, measured in the same run.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tyro

from activations import All, Answer, Where
from activations.progress import bar
from experiments.benchmarks.environment import launch
from experiments.benchmarks.grid_race import Race, agreed, raced
from experiments.benchmarks.interleaved import Timing
from experiments.benchmarks.peers.opening import Opened
from experiments.benchmarks.record import publish
from experiments.benchmarks.setup import Setup, every_layer, medical_direction, opened, questions
from experiments.benchmarks.sheets import Sheet, absent_notes, seconds_text
from experiments.plots.benchmarks import Bar, Panel, bars_figure
from steering import additions

COEFFICIENTS = (0.1, 0.2, 0.3)
WHERES: dict[str, Where] = {"all": All(sink=True), "last": Answer(lead=1)}
WORDS = {"all": "all tokens steered", "last": "new tokens steered"}
"""`last` steers the last prompt token too, which the first new token comes from."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure what a grid of steered generations costs, against a loop over its cells."""

    setup: tyro.conf.OmitArgPrefixes[Setup] = Setup()
    rounds: int = 3
    """How often the engine runs the grid, and each loop its sample."""
    sample: int = 2
    """Cells that each loop runs in a round."""
    tokens: tuple[str, ...] = ("last", "all")
    """Which ways to steer: `last`, `all` or both."""
    prompts: int = 8
    """Prompts of the grid."""
    new_tokens: int = 24
    """Where answers are cut."""
    layers: tuple[int, ...] = ()
    """Layers of the grid; all of them if none is named."""


def main(config: Config) -> None:
    """Measure, show and write."""
    subject, found = opened(config.setup)
    direction = medical_direction(subject)
    points = [p for p in every_layer(subject) if not config.layers or p.layer in config.layers]
    races, absent = [], dict(found.absent)
    for tokens in config.tokens:
        cells = additions([direction], points, COEFFICIENTS, where=WHERES[tokens])
        chats = questions(config.prompts)
        peers = agreed(subject, chats, cells, WHERES[tokens], config.new_tokens, found)
        absent |= peers.absent
        races.append(
            raced(
                subject,
                chats,
                cells,
                WHERES[tokens],
                peers.peers,
                n=config.new_tokens,
                rounds=config.rounds,
                sample=config.sample,
                progress=bar,
            )
        )
    final = Opened(peers=found.peers, absent=absent)
    publish(
        "grid",
        config,
        config.setup,
        final,
        timings=[timing for race in races for timing in race.timings],
        sheets=_sheets(config, races, absent),
        figure=bars_figure(
            [_panel(WORDS[name], race) for name, race in zip(config.tokens, races, strict=True)]
        ),
        more={"races": [asdict(race) for race in races]},
    )


def _sheets(config: Config, races: Sequence[Race], absent: dict[str, str]) -> list[Sheet]:
    sheets = []
    for tokens, race in zip(config.tokens, races, strict=True):
        engine = race.timings[0]
        rows = [(engine.name, seconds_text(engine.seconds), "1", "", "")]
        rows += [
            (t.name, seconds_text(t.seconds), f"{t.ratio:.2f}", t.interval, str(race.agreement[t.name]))
            for t in race.timings[1:]
        ]
        notes = [
            f"Loops ran {config.sample} random cells of {race.cells} in each of {config.rounds} rounds; their time is "
            f"scaled by {race.cells / config.sample:g}.",
            race.arithmetic,
            *absent_notes(absent),
        ]
        sheets.append(
            Sheet(
                title=f"Grid, {WORDS[tokens]}: {race.cells} cells x {config.prompts} prompts x "
                f"{config.new_tokens} tokens",
                columns=("way", "seconds", "engine is faster by", "95 %", "rows with the same tokens"),
                rows=tuple(rows),
                notes=tuple(notes),
            )
        )
    return sheets


def _panel(title: str, race: Race) -> Panel:
    bars = [Bar(name=t.name, value=t.ratio, low=t.low, high=t.high) for t in race.timings[1:]]
    engine: Timing = race.timings[0]
    bars.insert(0, Bar(name=engine.name, value=1.0, ours=True))
    return Panel(title=title, axis="time / the engine's time", bars=tuple(bars))


if __name__ == "__main__":
    launch(tyro.cli(Config), main)
