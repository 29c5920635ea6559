"""What steered generation costs: tokens a second under one steered layer, against plain `generate` and other libraries.

`python -m experiments.benchmarks.generation`. All ways decode the same 8 prompts greedily, interleaved in one process;
all but the plain one add the same vector to every token after one block in the middle of the model. Prompts are
chosen so that no answer, steered or not, ends before the last token, so that all ways do the same number of steps.
A library whose tokens differ from those of a hook written by hand is named and not timed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import tyro

from activations import All, Subject
from activations.encode import Batch
from activations.hooks import plain_model
from activations.progress import bar
from experiments.benchmarks.agreement import end_tokens, refused, turn
from experiments.benchmarks.environment import launch
from experiments.benchmarks.interleaved import interleaved
from experiments.benchmarks.peers import plain
from experiments.benchmarks.peers.contract import Peer, Shift
from experiments.benchmarks.peers.opening import Opened
from experiments.benchmarks.record import publish
from experiments.benchmarks.setup import (
    Chats,
    Job,
    Setup,
    batch_of,
    medical_direction,
    opened,
    questions,
    shift_of,
)
from experiments.benchmarks.sheets import Sheet, absent_notes, seconds_text
from experiments.plots.benchmarks import Bar, Panel, bars_figure
from steering import Cell, add, generate, steered

PLAIN = "plain generate, not steered"
AROUND = "steered() around generate"
ENGINE = "steering.generate, one cell"
N_PROMPTS, COEFFICIENT = 8, 0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure what steered generation costs."""

    setup: tyro.conf.OmitArgPrefixes[Setup] = Setup()
    rounds: int = 11
    """How often each way is timed."""
    new_tokens: int = 32
    """Tokens that each way decodes for each prompt."""


def main(config: Config) -> None:
    """Measure, show the table, and write it."""
    subject, found = opened(config.setup)
    middle = subject.facts.n_layers // 2
    edit = add(
        medical_direction(subject), COEFFICIENT, points=[middle], unit="residual", where=All(sink=True)
    )
    cell = Cell(name="steered", edits=(edit,))
    shift = shift_of(cell, edit.where)
    chats = long_answers(subject, shift, config.new_tokens)
    batch = batch_of(subject, chats)
    agreeing = checked(subject, batch, shift, config.new_tokens, found)
    ways = generation_ways(subject, chats, cell, shift, config.new_tokens, agreeing.peers)
    timings = interleaved(ways, rounds=config.rounds, progress=bar)
    n_tokens = len(chats) * config.new_tokens
    rows = [
        (t.name, seconds_text(t.seconds), f"{n_tokens / t.seconds:.1f}", f"{t.ratio:.3f}", t.interval)
        for t in timings
    ]
    sheet = Sheet(
        title=f"Generation, {len(chats)} prompts x {config.new_tokens} new tokens, layer {middle} steered, "
        f"{config.rounds} rounds",
        columns=("way", "seconds", "tokens/s", "ratio", "95 %"),
        rows=tuple(rows),
        notes=tuple(absent_notes(agreeing.absent)),
    )
    bars = [
        Bar(name=t.name, value=t.ratio, low=t.low, high=t.high, ours=t.name in (AROUND, ENGINE))
        for t in timings
    ]
    publish(
        "generation",
        config,
        config.setup,
        agreeing,
        timings=timings,
        sheets=[sheet],
        figure=bars_figure([Panel(title=sheet.title, axis=f"time / {PLAIN}", bars=tuple(bars))]),
    )


def generation_ways(
    subject: Subject, chats: Chats, cell: Cell, shift: Shift, n: int, peers: Sequence[Peer]
) -> dict[str, Job]:
    """Return the ways to compare; the plain one comes first."""
    batch = batch_of(subject, chats)

    def around() -> object:
        with steered(subject, cell.edits, batch), torch.inference_mode():
            return plain_model(subject.model).generate(
                batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=n, do_sample=False
            )

    found: dict[str, Job] = {
        PLAIN: lambda: plain.generated(subject, batch, None, n),
        AROUND: around,
        ENGINE: lambda: list(generate(subject, chats, [cell], max_new_tokens=n)),
        "a hook by hand around generate": lambda: plain.generated(subject, batch, shift, n),
    }
    for peer in peers:
        found[peer.name] = lambda peer=peer: peer.generate(batch, shift, n)  # type: ignore[misc]
    return found


def checked(subject: Subject, batch: Batch, shift: Shift, n: int, found: Opened) -> Opened:
    """Return the peers that generate what a hook by hand does; the others move to the absent ones."""
    wanted = plain.generated(subject, batch, shift, n)
    reasons = {peer: refused(subject, peer, batch, shift, n, wanted) for peer in found.peers}
    absent = {peer.name: reason for peer, reason in reasons.items() if reason}
    return Opened(
        peers=tuple(peer for peer, reason in reasons.items() if not reason), absent={**found.absent, **absent}
    )


def long_answers(subject: Subject, shift: Shift, n: int) -> Chats:
    """Return prompts whose answers, steered and not, have at least `n` tokens.

    Raises:
        ValueError: The corpus has too few of them.
    """
    ends, candidates = end_tokens(subject), questions(3 * N_PROMPTS)
    batch = batch_of(subject, candidates)
    both = [plain.generated(subject, batch, own, n) for own in (None, shift)]
    long = [
        chat
        for chat, *answers in zip(candidates, *both, strict=True)
        if all(len(turn(ids, ends)) == n and ids[-1] not in ends for ids in answers)
    ]
    if len(long) < N_PROMPTS:
        raise ValueError(
            f"prompts: {len(long)} of {len(candidates)} have answers of {n} tokens, need {N_PROMPTS}"
        )
    return long[:N_PROMPTS]


if __name__ == "__main__":
    launch(tyro.cli(Config), main)
