"""What capture costs: against a bare forward pass, by depth, in memory, and against other libraries.

`python -m experiments.benchmarks.capture`. Time: all ways interleaved in one process. Memory: each way alone in
fresh processes, the peak beyond the loaded model. A library whose numbers differ is named and not timed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from activations import Subject
from activations.encode import pad, tokenize_all
from activations.progress import bar
from experiments.benchmarks.agreement import CLOSE, capture_error
from experiments.benchmarks.capture_ways import (
    BARE,
    N_ROWS,
    N_TOKENS,
    OURS,
    capture_ways,
    depth_ways,
    difference_ways,
    ours_difference,
    texts_of,
)
from experiments.benchmarks.environment import launch
from experiments.benchmarks.interleaved import Timing, interleaved
from experiments.benchmarks.memory import Peak, peaks
from experiments.benchmarks.peers import plain
from experiments.benchmarks.peers.contract import Peer
from experiments.benchmarks.peers.opening import Opened
from experiments.benchmarks.record import publish
from experiments.benchmarks.setup import Setup, opened
from experiments.benchmarks.sheets import Sheet, absent_notes, ratio_sheet
from experiments.plots.benchmarks import Bar, Panel, bars_figure


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure what capture costs."""

    setup: tyro.conf.OmitArgPrefixes[Setup] = Setup()
    rounds: int = 9
    """How often each way is timed."""
    processes: int = 3
    """Fresh processes in which each way's memory is measured; 0 leaves memory out."""


def main(config: Config) -> None:
    """Measure, show the tables, and write them."""
    subject, found = opened(config.setup)
    texts = texts_of(subject, 2 * N_ROWS)
    agreeing = checked(subject, texts, found)
    ways = capture_ways(subject, texts[:N_ROWS], agreeing.peers)
    depths = depth_ways(subject, texts[:N_ROWS])
    differences = difference_ways(subject, texts, agreeing.peers)
    times = interleaved({**ways, **depths}, rounds=config.rounds, progress=bar)
    pairs = interleaved(differences, rounds=config.rounds, progress=bar)
    memory = peaks(list(ways), config.setup, config.processes) if config.processes else ()
    notes = absent_notes(agreeing.absent)
    size = f"{N_ROWS} rows x {N_TOKENS} tokens"
    sheets = [
        ratio_sheet(
            f"Capture: all layers, mean over tokens, {size}, {config.rounds} rounds", times, notes=notes
        ),
        ratio_sheet(
            f"Mean difference of the last token, {N_ROWS} pairs x {N_TOKENS} tokens, {config.rounds} rounds",
            pairs,
            notes=[*notes, *_remarks(agreeing.peers)],
        ),
    ]
    if memory:
        sheets.append(_memory_sheet(memory, size))
    publish(
        "capture",
        config,
        config.setup,
        agreeing,
        timings=[*times, *pairs],
        sheets=sheets,
        figure=bars_figure(_panels(times, pairs, memory)),
        more={"memory": [vars(peak) for peak in memory]},
    )


def checked(subject: Subject, texts: Sequence[str], found: Opened) -> Opened:
    """Return the peers whose numbers equal those of plain hooks; the others move to the absent ones."""
    batch = pad(tokenize_all(subject, texts[:N_ROWS]), subject.device)
    wanted = plain.pooled(subject, batch)
    pairs = list(zip(texts[:4], texts[4:8], strict=True))
    wanted_difference = ours_difference(subject, pairs)
    peers, absent = [], dict(found.absent)
    for peer in found.peers:
        errors = []
        if peer.capture is not None:
            errors.append(capture_error(peer.capture(batch), wanted))
        if peer.difference is not None:
            n_layers = subject.facts.n_layers - (not peer.reads_last_block)
            errors.append(capture_error(peer.difference(pairs, 2)[:n_layers], wanted_difference[:n_layers]))
        if max(errors, default=0.0) <= CLOSE:
            peers.append(peer)
        else:
            absent[peer.name] = (
                f"its numbers differ from those of plain hooks by {max(errors):.2g} relatively"
            )
    return Opened(peers=tuple(peers), absent=absent)


def _remarks(peers: Sequence[Peer]) -> list[str]:
    return [
        f"{peer.name} reads the stream after the final norm at the last block; compared at the blocks below."
        for peer in peers
        if not peer.reads_last_block
    ]


def _memory_sheet(memory: Sequence[Peak], size: str) -> Sheet:
    rows = [(p.name, f"{p.mib:.0f}", f"{p.low:.0f} to {p.high:.0f}") for p in memory]
    title = f"Memory of a capture beyond the loaded model, {size}, {memory[0].processes} fresh processes each"
    return Sheet(title=title, columns=("way", "MiB at the peak", "least to most"), rows=tuple(rows))


def _panels(times: Sequence[Timing], pairs: Sequence[Timing], memory: Sequence[Peak]) -> list[Panel]:
    panels = [
        Panel(title="Capture", axis=f"time / {BARE}", bars=_bars(times)),
        Panel(title="Mean difference over pairs", axis="time / bare forwards", bars=_bars(pairs)),
    ]
    if memory:
        bars = [Bar(name=p.name, value=p.mib, low=p.low, high=p.high, ours=p.name == OURS) for p in memory]
        panels.append(Panel(title="Memory", axis="MiB beyond the loaded model", bars=tuple(bars), line=None))
    return panels


def _bars(timings: Sequence[Timing]) -> tuple[Bar, ...]:
    return tuple(
        Bar(name=t.name, value=t.ratio, low=t.low, high=t.high, ours=t.name.startswith("collect"))
        for t in timings
    )


if __name__ == "__main__":
    launch(tyro.cli(Config), main)
