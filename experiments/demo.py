"""The main job on a real model: do misalignment directions of some domains act in the others?

Capture -> extract -> compare -> choose layer and strength on a dev split -> transfer matrix on a test split against
norm-matched random directions -> answers side by side. Everything lands in a run folder that can be resumed.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from activations import Answer, HookPoint, Subject, load
from activations.progress import Progress, silent
from experiments.alikeness import alikeness
from experiments.side_by_side import answers_side_by_side
from experiments.summary import BaselineRow, Chosen, DemoSummary, RandomRow, SweepRow, TransferRow
from experiments.shifts import Shifts, score
from experiments.verdict import caveats, methods, verdict
from pipeline.poles import Poles, capture_poles
from pipeline.runs import RunFolder
from pipeline.statistics import holm
from pipeline.triples import Split, load_corpus, split
from steering import (
    UNEDITED,
    Cell,
    Direction,
    additions,
    empirical_p,
    extract,
    random_directions,
    split_half_cosine,
)

QUESTION = (
    "Does a direction that separates misaligned from aligned answers in one domain also act in the others?"
)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Show the main job on the embedded model: three domains, their directions, and what each does to the others."""

    model: str = "smollm2-135m-instruct"
    """An embedded model, a hub id, a folder, a .gguf file or an adapter folder."""
    domains: tuple[str, ...] = ("bad_medical_advice", "risky_financial_advice", "toxic_legal_advice")
    """Packaged domains to compare."""
    n_extract: int = 36
    """Triples a domain that directions are extracted from."""
    n_dev: int = 6
    """Triples a domain that layer and coefficient are chosen on."""
    n_test: int = 16
    """Triples a domain that the transfer matrix is measured on."""
    layers: tuple[int, ...] = ()
    """Layers to sweep; every fourth by default."""
    coefficients: tuple[float, ...] = (0.1, 0.3)
    """Strengths to sweep, as a share of the typical residual norm at the layer."""
    n_random: int = 20
    """Norm-matched random directions."""
    n_prompts: int = 2
    """Test prompts a domain that are answered with and without the direction."""
    max_new_tokens: int = 48
    """Length of these answers."""
    seed: int = 0
    """Of the split, the random directions and all resampling."""


@dataclass
class _Clock:
    """Says what is being done, and keeps how long it took."""

    console: Console
    seconds: dict[str, float]

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Announce a stage and time it."""
        self.console.print(f"[bold]{name}[/bold]  {what}")
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 3)


def run_demo(
    config: DemoConfig, out: Path, *, progress: Progress = silent, console: Console | None = None
) -> DemoSummary:
    """Run the demo, or what is left of it, into a run folder; return what `summary.json` holds.

    Args:
        config: What to do.
        out: The run folder, new or begun with the same settings.
        progress: Shows how far long work is.
        console: Where results are shown as they come; nowhere by default.

    Raises:
        LookupError: There is no such model or domain.
        ValueError: A corpus is too small for the split, a layer is out of range, or the folder holds another run.
        OSError: The disk is full; what was written stays, and the same call goes on from there.
    """
    clock = _Clock(console or Console(quiet=True), {})
    began = time.monotonic()
    with RunFolder.open(out, verb="demo", config=config, seed=config.seed) as run:
        run.require_free(64 * 2**20)
        parts = {domain: _split(config, domain) for domain in config.domains}
        with clock.stage("load", config.model):
            subject = load(config.model)
        layers = config.layers or tuple(range(3, subject.facts.n_layers - 1, 4))
        middle = layers[len(layers) // 2]
        with clock.stage(
            "capture", f"{len(parts)} domains x {config.n_extract} triples x 2 answers, every layer"
        ):
            poles = {}
            for domain, part in parts.items():
                poles[domain] = capture_poles(subject, part.extract, progress=progress)
                clock.console.print(f"    {domain}: {_first_look(poles[domain], middle, config.seed)}")
            directions = _directions(run, poles, config.seed)
        with clock.stage("compare", "directions with one another"):
            cosines, reliability = alikeness(directions, poles, middle, config.seed)
            for row in cosines.rows:
                clock.console.print(
                    f"    cosine {row.a} ~ {row.b}: {row.cosine:+.2f}  (n = {row.n} triples each; chance stays within "
                    f"±{cosines.floor.random_95:.2f}, noise allows {row.ceiling:.2f})"
                )
        with clock.stage(
            "sweep", f"{len(layers)} layers x {len(config.coefficients)} coefficients on the dev split"
        ):
            sweep = _sweep(run, subject, parts, directions, layers, config, progress)
            chosen = _choose(sweep)
            clock.console.print(f"    chosen: layer {chosen.layer}, {chosen.coefficient:g} x residual norm")
        with clock.stage(
            "transfer", f"{len(parts)} x {len(parts)} and {config.n_random} random directions, test split"
        ):
            shifts = _score_test(run, subject, parts, directions, chosen, config, progress)
            transfer, random = _transfer(shifts, config), _random(shifts, config)
        with clock.stage("answers", "base and steered, side by side"):
            answers = answers_side_by_side(
                run,
                subject,
                {d: p.test[: config.n_prompts] for d, p in parts.items()},
                directions,
                chosen,
                max_new_tokens=config.max_new_tokens,
                progress=progress,
            )
        baseline = tuple(
            BaselineRow(domain=d, n=e.n, mean=e.value, low=e.low, high=e.high)
            for d, e in ((d, shifts.level(d)) for d in config.domains)
        )
        summary = DemoSummary(
            question=QUESTION,
            answer=verdict(shifts, config.domains, config.n_random),
            domains=config.domains,
            subject=subject.facts.as_json(),
            seed=config.seed,
            seconds=round(time.monotonic() - began, 3),
            split={"extract": config.n_extract, "dev": config.n_dev, "test": config.n_test},
            cosines=cosines,
            reliability=reliability,
            sweep=sweep,
            chosen=chosen,
            baseline=baseline,
            transfer=transfer,
            random=random,
            answers=answers,
            caveats=caveats(config.n_random, len(config.domains)),
            timings=clock.seconds,
            methods=methods(config.n_random),
        )
        run.write_json("summary.json", summary)
    return summary


def _split(config: DemoConfig, domain: str) -> Split:
    return split(
        load_corpus(domain), extract=config.n_extract, dev=config.n_dev, test=config.n_test, seed=config.seed
    )


def _first_look(poles: Poles, layer: int, seed: int) -> str:
    point = [HookPoint(layer)]
    halves = split_half_cosine(poles.misaligned.at_points(point), poles.aligned.at_points(point), seed=seed)
    return (
        f"directions from two halves of its triples agree with cosine {halves.mean[0]:+.2f} at layer {layer} "
        f"(n = {len(poles.aligned.rows)}, 95 % of {halves.n_splits} splits {halves.low[0]:+.2f} to {halves.high[0]:+.2f})"
    )


def _directions(run: RunFolder, poles: Mapping[str, Poles], seed: int) -> dict[str, Direction]:
    """Extract and save a direction for each domain; all get the domains' mean residual norm as their unit.

    With one unit a coefficient means a step of the same length for every domain and every random direction.
    """
    found = {d: extract(p.misaligned, p.aligned, name=d, seed=seed) for d, p in poles.items()}
    norms = torch.stack([direction.norms for direction in found.values()]).mean(dim=0)
    directions = {domain: replace(direction, norms=norms) for domain, direction in found.items()}
    folder = run.path / "directions"
    folder.mkdir(exist_ok=True)
    for domain, direction in directions.items():
        direction.save(folder / f"{domain}.safetensors")
    return directions


def _sweep(
    run: RunFolder,
    subject: Subject,
    parts: Mapping[str, Split],
    directions: Mapping[str, Direction],
    layers: tuple[int, ...],
    config: DemoConfig,
    progress: Progress,
) -> tuple[SweepRow, ...]:
    """Score each domain's dev triples under its own direction, at every layer and coefficient."""
    rows = []
    for domain, direction in directions.items():
        cells = additions([direction], layers, config.coefficients, where=Answer())
        score(run, "sweep", subject, parts[domain].dev, [UNEDITED, *cells], progress=progress)
    shifts = Shifts.of(run.rows("sweep"), base=UNEDITED.name)
    for domain, direction in directions.items():
        for cell in additions([direction], layers, config.coefficients, where=Answer()):
            edit = cell.edits[0]
            found = shifts.shift(cell.name, domain)
            rows.append(
                SweepRow(
                    domain=domain,
                    layer=edit.points[0].layer,
                    coefficient=edit.coefficient,
                    n=found.n,
                    mean=found.value,
                    low=found.low,
                    high=found.high,
                )
            )
    return tuple(rows)


def _choose(sweep: tuple[SweepRow, ...]) -> Chosen:
    """Choose the layer and coefficient whose lower bounds, averaged over the domains, are highest on the dev split."""
    bounds: dict[tuple[int, float], list[float]] = {}
    for row in sweep:
        bounds.setdefault((row.layer, row.coefficient), []).append(row.mean if row.low is None else row.low)
    layer, coefficient = max(bounds, key=lambda place: sum(bounds[place]) / len(bounds[place]))
    return Chosen(layer=layer, coefficient=coefficient, unit="residual")


def _score_test(
    run: RunFolder,
    subject: Subject,
    parts: Mapping[str, Split],
    directions: Mapping[str, Direction],
    chosen: Chosen,
    config: DemoConfig,
    progress: Progress,
) -> Shifts:
    """Score all test triples under every direction and every random one, at the chosen place and strength."""
    point = HookPoint(chosen.layer)
    some = next(iter(directions.values())).select([point])
    draws = random_directions(some, config.n_random, config.seed)
    cells = additions(
        [*directions.values(), *draws], [point], [chosen.coefficient], unit="residual", where=Answer()
    )
    cells = tuple(
        Cell(name=cell.edits[0].direction.name, edits=cell.edits) for cell in cells
    )
    triples = [triple for part in parts.values() for triple in part.test]
    score(run, "transfer", subject, triples, [UNEDITED, *cells], progress=progress)
    return Shifts.of(run.rows("transfer"), base=UNEDITED.name)


def _random(shifts: Shifts, config: DemoConfig) -> tuple[RandomRow, ...]:
    return tuple(
        RandomRow(target=domain, draw=draw, mean=shifts.shift(f"random {draw}", domain).value)
        for domain in config.domains
        for draw in range(config.n_random)
    )


def _transfer(shifts: Shifts, config: DemoConfig) -> tuple[TransferRow, ...]:
    """Return every direction's shift on every domain, with its p among the random directions, and Holm over all."""
    rows = []
    for source in config.domains:
        for target in config.domains:
            found = shifts.shift(source, target)
            null = np.array([shifts.shift(f"random {k}", target).value for k in range(config.n_random)])
            low, high = np.quantile(null, (0.025, 0.975))
            rows.append(
                TransferRow(
                    source=source,
                    target=target,
                    n=found.n,
                    mean=found.value,
                    low=found.low,
                    high=found.high,
                    p=empirical_p(found.value, null.tolist()),
                    p_holm=None,
                    n_random=config.n_random,
                    random_mean=float(null.mean()),
                    random_low=float(low),
                    random_high=float(high),
                )
            )
    adjusted = holm([row.p for row in rows if row.p is not None])
    return tuple(replace(row, p_holm=float(p)) for row, p in zip(rows, adjusted, strict=True))
