"""Sweep layers x coefficients x directions on dev triples; measure the chosen cell against controls on test triples.

Capture -> extract -> grid on dev -> choose -> dose-response on dev -> test. The test stage is not opened before the
choice is on disk, and the reported numbers are read from its rows alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from activations import Subject, load
from activations.progress import Progress, silent
from experiments.clock import Clock
from experiments.sweep_answers import examples
from experiments.sweep_cells import Candidates, Tested, candidates, doses, grid, tested
from experiments.sweep_config import SweepConfig, require_sound, split_domains
from experiments.sweep_findings import Floor, choose, dev_rows, dose_rows, find_breakdown, find_test
from experiments.sweep_measure import Readings, measure, require_apart
from experiments.sweep_summary import Breakdown, Choice, DevRow, DoseRow, SweepSummary
from experiments.sweep_words import QUESTIONS, breakdown_told, caveats, methods, verdict
from pipeline.records import Triple
from pipeline.runs import RunFolder
from pipeline.triples import Split
from steering import Cell

DEV, TEST = "dev", "test"
"""The stages; no triple is in both."""

NEEDED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class _Dev:
    """What the dev triples say."""

    rows: tuple[DevRow, ...]
    chosen: Choice
    dose: tuple[DoseRow, ...]
    breakdown: Breakdown


@dataclass(frozen=True)
class _Sweep:
    """A sweep under way."""

    config: SweepConfig
    run: RunFolder
    subject: Subject
    clock: Clock
    progress: Progress

    def measure(self, stage: str, triples: Sequence[Triple], cells: Sequence[Cell]) -> Readings:
        """Measure triples under the base and some cells, or what is left of it."""
        return measure(
            self.run,
            stage,
            self.subject,
            triples,
            cells,
            by=self.config.by,
            max_new_tokens=self.config.max_new_tokens,
            progress=self.progress,
        )


def run_sweep(
    config: SweepConfig, out: Path, *, progress: Progress = silent, console: Console | None = None
) -> SweepSummary:
    """Run a sweep, or what is left of it, into a run folder; return what `summary.json` holds.

    Args:
        config: What to do.
        out: The run folder, new or begun with the same settings.
        progress: Shows how far long work is.
        console: Where results are shown as they come; nowhere by default.

    Raises:
        LookupError: There is no such model, domain, layer or adapter.
        ValueError: A setting makes no sense, a corpus is too small, a direction does not fit, or the folder holds
            another run.
        OSError: A file is missing, or the disk is full; what was written stays, and the same call goes on from there.
    """
    require_sound(config)
    parts = split_domains(config)
    clock = Clock(console or Console(quiet=True))
    with RunFolder.open(out, verb="sweep", config=config, seed=config.seed) as run:
        run.require_free(NEEDED_BYTES)
        with clock.stage("load", config.model):
            subject = load(config.model, adapters=config.adapters, dtype=config.dtype, device=config.device)
        sweep = _Sweep(config, run, subject, clock, progress)
        with clock.stage("directions", ", ".join(config.directions or parts)):
            some = candidates(run, subject, parts, config, progress)
        dev = _on_dev(sweep, some, {domain: part.dev for domain, part in parts.items()})
        summary = _on_test(sweep, some, dev, parts)
        run.write_json("summary.json", summary)
    return summary


def _on_dev(sweep: _Sweep, some: Candidates, triples: Mapping[str, Sequence[Triple]]) -> _Dev:
    """Score the grid on dev triples, choose, and score the dose-response; no test triple is in reach here."""
    config, clock = sweep.config, sweep.clock
    cells, floor = grid(some, config), Floor.of(config)
    members = list(chain.from_iterable(triples.values()))
    size = f"{len(some.directions)} direction(s) x {len(some.layers)} layers x {len(config.coefficients)} coefficients"
    with clock.stage("grid", f"{size} on {len(members)} dev triples"):
        readings = sweep.measure(DEV, members, cells)
        rows = dev_rows(readings, cells, list(triples))
        chosen = choose(rows, floor, config.unit)
        sweep.run.write_json("choice.json", chosen)
        clock.console.print(
            f"    chosen: {escape(chosen.direction)}, layer {chosen.layer}, {chosen.coefficient:+g} {chosen.unit} "
            f"({chosen.n_coherent} of {chosen.n_cells} cells keep coherence)"
        )
    steps = doses(some, chosen, config)
    with clock.stage("dose", f"{len(steps)} strengths at layer {chosen.layer} on the dev triples"):
        dose = dose_rows(sweep.measure(DEV, members, steps), steps, list(triples))
        breakdown = find_breakdown(dose, floor)
        clock.console.print(f"    {breakdown_told(breakdown)}")
    return _Dev(rows, chosen, dose, breakdown)


def _on_test(sweep: _Sweep, some: Candidates, dev: _Dev, parts: dict[str, Split]) -> SweepSummary:
    """Score the chosen cell and its controls on test triples, and put everything together."""
    config, run, clock = sweep.config, sweep.run, sweep.clock
    members = [triple for part in parts.values() for triple in part.test]
    cells = tested(some, dev.chosen, config)
    told = f"base, chosen cell, {len(cells.random)} random and {len(cells.shuffled)} shuffled directions"
    with clock.stage("test", f"{told} on {len(members)} test triples"):
        readings = sweep.measure(TEST, members, cells.all())
        require_apart(Readings.of(run.rows(DEV), config.by), readings)
        found = find_test(readings, cells, list(parts))
    _write_cells(run, some, dev.chosen, cells, config)
    return SweepSummary(
        question=QUESTIONS[config.by],
        answer=verdict(config.by, dev.chosen, found, config),
        by=config.by,
        domains=tuple(parts),
        directions=tuple(direction.name for direction in some.directions),
        layers=some.layers,
        coefficients=tuple(map(float, config.coefficients)),
        unit=config.unit,
        where=config.where,
        subject=sweep.subject.facts.as_json(),
        seed=config.seed,
        seconds=clock.total(),
        split={
            "extract": 0 if config.directions else config.n_extract,
            "dev": config.n_dev,
            "test": config.n_test,
        },
        dev=dev.rows,
        chosen=dev.chosen,
        dose=dev.dose,
        breakdown=dev.breakdown,
        test=found,
        answers=examples(run, TEST, members, cells.real) if config.by == "answers" else (),
        caveats=caveats(config, parts, dev.chosen, config.model),
        timings=dict(clock.seconds),
        methods=methods(config),
    )


def _write_cells(
    run: RunFolder, some: Candidates, chosen: Choice, cells: Tested, config: SweepConfig
) -> None:
    """Keep what every cell's name in the rows stands for."""
    dev = {cell.name: cell.facts() for cell in (*grid(some, config), *doses(some, chosen, config))}
    run.write_json("cells.json", {DEV: dev, TEST: {cell.name: cell.facts() for cell in cells.all()}})
