"""Scoring given answers over a whole grid: with and without shared depth and prompt, and against a loop over its cells.

`python -m experiments.benchmarks.scoring`. The grid is every layer x 3 coefficients x 8 prompts with an answer of 24
tokens each, steered from the last prompt token on, where cells can share prompts and lower blocks, and on all
tokens, where they can share lower blocks. The loop is one hook and one forward pass for each cell, with the 8 rows as
its batch: once with logits for every token, as the usual code does it, and once with logits only from the first
answer's token on. Loops run a random sample of cells in each round, and the engine with less shared every fifth
cell; their time is scaled up. No library has a function for this; theirs would be the same loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from activations import Where
from activations.progress import bar
from experiments.benchmarks.environment import launch
from experiments.benchmarks.grid import COEFFICIENTS, WHERES, WORDS
from experiments.benchmarks.interleaved import Timing, interleaved
from experiments.benchmarks.peers.opening import Opened
from experiments.benchmarks.record import publish
from experiments.benchmarks.scoring_ways import Scoring
from experiments.benchmarks.setup import (
    Job,
    Setup,
    answered_questions,
    every_layer,
    loaded,
    medical_direction,
)
from experiments.benchmarks.sheets import Sheet, ratio_sheet
from experiments.plots.benchmarks import Bar, Panel, bars_figure
from steering import additions
from steering.score import Share

BOTH, DEPTH, PROMPT, NOTHING = (
    f"score_answers, {what} shared" for what in ("depth and prompt", "depth", "prompt", "nothing")
)
LESS = {
    "last": {
        DEPTH: Share(prompt=False),
        PROMPT: Share(depth=False),
        NOTHING: Share(prompt=False, depth=False),
    },
    "all": {NOTHING: Share(prompt=False, depth=False)},  # every cell edits its prompt: there is none to share
}
USUAL = "loop, hooks by hand, all logits"
SPARING = "loop, hooks by hand, logits of the answers only"
EVERY = 5
"""Of so many cells the engine runs one where less is shared."""

BOUND = 1e-4
"""Largest difference of log-probabilities, in nats, that rounding in float32 may make."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure what scoring given answers over a grid costs."""

    setup: tyro.conf.OmitArgPrefixes[Setup] = Setup(without_peers=True)
    rounds: int = 3
    """How often each way is timed."""
    sample: int = 3
    """Cells that each loop runs in a round."""
    tokens: tuple[str, ...] = ("last", "all")
    """Which ways to steer: `last`, `all` or both."""
    prompts: int = 8
    """Prompts of the grid."""
    answer_tokens: int = 24
    """Where the packaged answers are cut; 0 keeps them whole."""
    layers: tuple[int, ...] = ()
    """Layers of the grid; all of them if none is named."""


def main(config: Config) -> None:
    """Measure, show and write."""
    subject = loaded(config.setup)
    direction = medical_direction(subject)
    chats = answered_questions(subject, config.prompts, config.answer_tokens)
    points = [p for p in every_layer(subject) if not config.layers or p.layer in config.layers]
    sheets: list[Sheet] = []
    timings: list[Timing] = []
    differences = {}
    for tokens in config.tokens:
        where: Where = WHERES[tokens]
        scoring = Scoring(subject, chats, additions([direction], points, COEFFICIENTS, where=where), where)
        found = interleaved(
            scoring_jobs(scoring, tokens, config.sample),
            rounds=config.rounds,
            warm_up=0,
            scales=_scales(scoring, tokens, config.sample),
            progress=bar,
        )
        differences[tokens] = scoring.largest_difference()
        timings += found
        notes = [*_notes(scoring, tokens, config.sample), _told(differences[tokens])]
        sheets.append(ratio_sheet(_title(config, scoring, tokens), found, notes=notes))
    _require_equal(differences)
    publish(
        "scoring",
        config,
        config.setup,
        Opened(),
        timings=timings,
        sheets=sheets,
        figure=bars_figure(_panels(sheets, timings)),
        more={"largest_difference_nats": differences},
    )


def scoring_jobs(scoring: Scoring, tokens: str, sample: int) -> dict[str, Job]:
    """Return the ways to compare; the engine with all that can be shared comes first."""
    scoring.engine(Share(), every=len(scoring.cells))()  # warm up
    scoring.loop(1, every_logit=True)()
    name = BOTH if tokens == "last" else DEPTH
    jobs: dict[str, Job] = {name: scoring.engine(Share())}
    jobs |= {less: scoring.engine(share, every=EVERY) for less, share in LESS[tokens].items()}
    jobs[USUAL] = scoring.loop(min(sample, len(scoring.cells)), every_logit=True)
    jobs[SPARING] = scoring.loop(min(sample, len(scoring.cells)), every_logit=False)
    return jobs


def _scales(scoring: Scoring, tokens: str, sample: int) -> dict[str, float]:
    n = len(scoring.cells)
    part = n / len(scoring.cells[::EVERY])
    return dict.fromkeys(LESS[tokens], part) | dict.fromkeys((USUAL, SPARING), n / min(sample, n))


def _notes(scoring: Scoring, tokens: str, sample: int) -> list[str]:
    n = len(scoring.cells)
    notes = [
        f"Loops ran {min(sample, n)} random cells of {n} a round, the engine with less shared every {EVERY}th cell; "
        f"their time is scaled up."
    ]
    if tokens == "last":
        notes.append(scoring.arithmetic())
    return notes


def _told(difference: float) -> str:
    return f"The loops' log-probabilities differ from the engine's by at most {difference:.1e} nats."


def _title(config: Config, scoring: Scoring, tokens: str) -> str:
    answers = f"{config.answer_tokens} tokens" if config.answer_tokens else "full length"
    return (
        f"Scoring, {WORDS[tokens]}: {len(scoring.cells)} cells x {config.prompts} answers of {answers}, "
        f"{config.rounds} rounds"
    )


def _require_equal(differences: dict[str, float]) -> None:
    wrong = {tokens: found for tokens, found in differences.items() if not found <= BOUND}
    if wrong:
        raise ValueError(
            f"scoring: log-probabilities differ from the loop's by {wrong} nats, allowed {BOUND}"
        )


def _panels(sheets: Sequence[Sheet], timings: Sequence[Timing]) -> list[Panel]:
    panels, rest = [], list(timings)
    for sheet in sheets:
        own, rest = rest[: len(sheet.rows)], rest[len(sheet.rows) :]
        bars = [Bar(name=t.name, value=t.ratio, low=t.low, high=t.high, ours=t.name[0] == "s") for t in own]
        panels.append(Panel(title=sheet.title, axis=f"time / {own[0].name}", bars=tuple(bars)))
    return panels


if __name__ == "__main__":
    launch(tyro.cli(Config), main)
