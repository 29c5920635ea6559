"""The main job on a real model: do misalignment directions of some domains act in the others?

Capture -> extract -> compare -> choose layer and strength on a dev split -> transfer matrix on a test split against
norm-matched random directions -> answers side by side. Everything lands in a run folder that can be resumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

from activations import HookPoint, Subject, load
from activations.hooks import check_layers
from activations.progress import Progress, silent
from experiments.alikeness import alikeness
from experiments.clock import Clock
from experiments.demo_config import DemoConfig, check_config, split_domain
from experiments.demo_measure import (
    Bench,
    baseline_rows,
    choose,
    random_rows,
    score_test,
    sweep_rows,
    transfer_rows,
)
from experiments.side_by_side import answers_side_by_side
from experiments.summary import Chosen, CosineRow, Cosines, DemoSummary, ReliabilityRow, SweepRow
from experiments.verdict import caveats, methods, verdict
from pipeline.disk import require_free
from pipeline.poles import Poles, capture_poles
from pipeline.runs import RunFolder
from pipeline.triples import Split
from steering import Direction, extract, split_half_cosine

QUESTION = (
    "Does a direction that separates misaligned from aligned answers in one domain also act in the others?"
)

DISK_BYTES = 64 * 2**20
"""What a run folder may come to; less free disk is refused before anything is written."""


def run_demo(
    config: DemoConfig, out: Path, *, progress: Progress = silent, console: Console | None = None
) -> DemoSummary:
    """Run the demo, or what is left of it, into a run folder; return what `summary.json` holds.

    Args:
        config: What to do.
        out: The run folder, new or begun with the same settings. Untouched if a setting is refused.
        progress: Shows how far long work is.
        console: Where results are shown as they come; nowhere by default.

    Raises:
        LookupError: There is no such model or domain.
        IndexError: The model has no such layer.
        ValueError: A setting is out of range, a corpus is too small for the split, an activation is not finite, or the
            folder holds another run.
        OSError: The disk is full; what was written stays, and the same call goes on from there.
    """
    check_config(config)
    require_free(out, DISK_BYTES)
    parts = {domain: split_domain(config, domain) for domain in config.domains}
    clock = Clock(console or Console(quiet=True))
    with clock.stage("load", escape(config.model)):
        subject = load(config.model)
    n_layers = subject.facts.n_layers
    layers = config.layers or tuple(range(4, n_layers - 1, 5)) or (n_layers // 2,)
    check_layers([HookPoint(layer) for layer in layers], n_layers)
    with RunFolder.open(out, verb="demo", config=config, seed=config.seed) as run:
        study = _Study(config, run, subject, parts, layers, clock, progress)
        summary = study.summarised()
        run.write_json("summary.json", summary)
    return summary


@dataclass(frozen=True, eq=False)
class _Study:
    """A run that has begun, with all it needs; each stage announces itself and shows what came out."""

    config: DemoConfig
    run: RunFolder
    subject: Subject
    parts: Mapping[str, Split]
    layers: tuple[int, ...]
    clock: Clock
    progress: Progress

    def summarised(self) -> DemoSummary:
        """Run all stages and put together what they found."""
        config = self.config
        poles, directions = self._capture()
        cosines, reliability = self._compare(poles, directions)
        bench = Bench(
            run=self.run,
            subject=self.subject,
            parts=self.parts,
            directions=directions,
            progress=self.progress,
        )
        sweep, chosen = self._sweep(bench)
        n = len(config.domains)
        with self.clock.stage("transfer", f"{n} x {n} and {config.n_random} random directions, test split"):
            shifts = score_test(bench, chosen, config.n_random, config.seed)
        with self.clock.stage("answers", "base and steered, side by side"):
            answers = answers_side_by_side(
                self.run,
                self.subject,
                {domain: part.test[: config.n_prompts] for domain, part in self.parts.items()},
                directions,
                chosen,
                max_new_tokens=config.max_new_tokens,
                progress=self.progress,
            )
        return DemoSummary(
            question=QUESTION,
            answer=verdict(shifts, config.domains, config.n_random),
            domains=config.domains,
            subject=self.subject.facts.as_json(),
            seed=config.seed,
            seconds=self.clock.total(),
            split={"extract": config.n_extract, "dev": config.n_dev, "test": config.n_test},
            cosines=cosines,
            reliability=reliability,
            sweep=sweep,
            chosen=chosen,
            baseline=baseline_rows(shifts, config.domains),
            transfer=transfer_rows(shifts, config.domains, config.n_random),
            random=random_rows(shifts, config.domains, config.n_random),
            answers=answers,
            caveats=caveats(self.subject.facts.name, config.n_random, n),
            timings=self.clock.seconds,
            methods=methods(config.n_random),
        )

    def _capture(self) -> tuple[dict[str, Poles], dict[str, Direction]]:
        poles = {}
        what = f"{len(self.parts)} domains x {self.config.n_extract} triples x 2 answers, every layer"
        with self.clock.stage("capture", what):
            for domain, part in self.parts.items():
                poles[domain] = capture_poles(self.subject, part.extract, progress=self.progress)
                self._say(f"{domain}: {_first_look(poles[domain], self._middle, self.config.seed)}")
            return poles, _directions(self.run, self.subject, poles, self.config.seed)

    def _compare(
        self, poles: Mapping[str, Poles], directions: Mapping[str, Direction]
    ) -> tuple[Cosines, tuple[ReliabilityRow, ...]]:
        with self.clock.stage("compare", "directions with one another"):
            cosines, reliability = alikeness(directions, poles, self._middle, self.config.seed)
            for row in cosines.rows:
                self._say(_told(row, cosines.floor.random_95))
        return cosines, reliability

    def _sweep(self, bench: Bench) -> tuple[tuple[SweepRow, ...], Chosen]:
        coefficients = self.config.coefficients
        what = f"{len(self.layers)} layers x {len(coefficients)} coefficients on the dev split"
        with self.clock.stage("sweep", what):
            sweep = sweep_rows(bench, self.layers, coefficients)
            chosen = choose(sweep)
            self._say(f"chosen: layer {chosen.layer}, {chosen.coefficient:g} x residual norm")
        return sweep, chosen

    @property
    def _middle(self) -> int:
        return self.layers[len(self.layers) // 2]

    def _say(self, text: str) -> None:
        self.clock.console.print(f"    {text}")


def _first_look(poles: Poles, layer: int, seed: int) -> str:
    point = [HookPoint(layer)]
    halves = split_half_cosine(poles.misaligned.at_points(point), poles.aligned.at_points(point), seed=seed)
    return (
        f"directions from two halves of its triples agree with cosine {halves.mean[0]:+.2f} at layer {layer} "
        f"(n = {len(poles.aligned.rows)}, 95 % of {halves.n_splits} splits {halves.low[0]:+.2f} to "
        f"{halves.high[0]:+.2f})"
    )


def _told(row: CosineRow, chance: float) -> str:
    ceiling = "" if row.ceiling is None else f", noise allows {row.ceiling:.2f}"
    return (
        f"cosine {row.a} ~ {row.b}: {row.cosine:+.2f}  "
        f"(n = {row.n} triples each; chance stays within ±{chance:.2f}{ceiling})"
    )


def _directions(
    run: RunFolder, subject: Subject, poles: Mapping[str, Poles], seed: int
) -> dict[str, Direction]:
    """Extract and save a direction for each domain; all get the domains' mean residual norm as their unit.

    With one unit a coefficient means a step of the same length for every domain and every random direction. A run
    that is resumed goes on with the directions it began with, so that all its rows belong to the same vectors.
    """
    folder = run.path / "directions"
    folder.mkdir(exist_ok=True)
    paths = {domain: folder / f"{domain}.safetensors" for domain in poles}
    if all(path.exists() for path in paths.values()):
        return {domain: Direction.load(path, subject.facts) for domain, path in paths.items()}
    found = {d: extract(p.misaligned, p.aligned, name=d, seed=seed) for d, p in poles.items()}
    norms = torch.stack([direction.norms for direction in found.values()]).mean(dim=0)
    directions = {domain: replace(direction, norms=norms) for domain, direction in found.items()}
    for domain, direction in directions.items():
        direction.save(paths[domain])
    return directions
