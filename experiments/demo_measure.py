"""What the demo measures: a sweep on the dev split, the choice it leads to, and transfer on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot, inf

import numpy as np

from activations import Answer, HookPoint, Subject
from activations.progress import Progress
from experiments.shifts import Shifts, score
from experiments.summary import BaselineRow, Chosen, RandomRow, SweepRow, TransferRow
from pipeline.runs import RunFolder
from pipeline.statistics import holm
from pipeline.triples import Split
from steering import UNEDITED, Cell, Direction, additions, empirical_p, random_directions


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What every measurement needs.

    Attributes:
        run: Where scored rows are kept.
        subject: The model.
        parts: For each domain its split.
        directions: For each domain its direction.
        progress: Told how far it is.
    """

    run: RunFolder
    subject: Subject
    parts: Mapping[str, Split]
    directions: Mapping[str, Direction]
    progress: Progress


def sweep_rows(bench: Bench, layers: Sequence[int], coefficients: Sequence[float]) -> tuple[SweepRow, ...]:
    """Score each domain's dev triples under its own direction, at every layer and coefficient."""
    cells = {d: additions([v], layers, coefficients, where=Answer()) for d, v in bench.directions.items()}
    for domain, own in cells.items():
        dev = bench.parts[domain].dev
        score(bench.run, "sweep", bench.subject, dev, [UNEDITED, *own], progress=bench.progress)
    shifts = Shifts.of(bench.run.rows("sweep"), base=UNEDITED.name)
    rows = []
    for domain, own in cells.items():
        for cell in own:
            found = shifts.shift(cell.name, domain)
            rows.append(
                SweepRow(
                    domain=domain,
                    layer=cell.edits[0].points[0].layer,
                    coefficient=cell.edits[0].coefficient,
                    n=found.n,
                    mean=found.value,
                    low=found.low,
                    high=found.high,
                )
            )
    return tuple(rows)


def choose(sweep: Sequence[SweepRow]) -> Chosen:
    """Choose the layer and coefficient whose mean shift over the domains has the highest lower bound on the dev split.

    The mean weighs domains alike; the half-widths of their intervals are combined as independent errors are.
    """
    places: dict[tuple[int, float], list[SweepRow]] = {}
    for row in sweep:
        places.setdefault((row.layer, row.coefficient), []).append(row)
    layer, coefficient = max(places, key=lambda place: _bound(places[place]))
    return Chosen(layer=layer, coefficient=coefficient, unit="residual")


def _bound(rows: Sequence[SweepRow]) -> float:
    half_widths = [inf if row.low is None else row.mean - row.low for row in rows]
    return (sum(row.mean for row in rows) - hypot(*half_widths)) / len(rows)


def score_test(bench: Bench, chosen: Chosen, n_random: int, seed: int) -> Shifts:
    """Score all test triples under every direction and every random one, at the chosen place and strength."""
    point = HookPoint(chosen.layer)
    some = next(iter(bench.directions.values())).select([point])
    directions = [*bench.directions.values(), *random_directions(some, n_random, seed)]
    cells = additions(directions, [point], [chosen.coefficient], unit="residual", where=Answer())
    named = [Cell(name=cell.edits[0].direction.name, edits=cell.edits) for cell in cells]
    triples = [triple for part in bench.parts.values() for triple in part.test]
    score(bench.run, "transfer", bench.subject, triples, [UNEDITED, *named], progress=bench.progress)
    return Shifts.of(bench.run.rows("transfer"), base=UNEDITED.name)


def baseline_rows(shifts: Shifts, domains: Sequence[str]) -> tuple[BaselineRow, ...]:
    """Return how the untouched model leans in each domain."""
    levels = [(domain, shifts.level(domain)) for domain in domains]
    return tuple(BaselineRow(domain=d, n=e.n, mean=e.value, low=e.low, high=e.high) for d, e in levels)


def random_rows(shifts: Shifts, domains: Sequence[str], n_random: int) -> tuple[RandomRow, ...]:
    """Return every random direction's shift on every domain."""
    return tuple(
        RandomRow(target=domain, draw=draw, mean=shifts.shift(f"random {draw}", domain).value)
        for domain in domains
        for draw in range(n_random)
    )


def transfer_rows(shifts: Shifts, domains: Sequence[str], n_random: int) -> tuple[TransferRow, ...]:
    """Return every direction's shift on every domain, with its p among the random directions, and Holm over all."""
    nulls = {
        target: np.array([shifts.shift(f"random {draw}", target).value for draw in range(n_random)])
        for target in domains
    }
    rows = [_transfer(shifts, source, target, nulls[target]) for source in domains for target in domains]
    adjusted = holm([row.p for row in rows if row.p is not None])
    return tuple(replace(row, p_holm=float(p)) for row, p in zip(rows, adjusted, strict=True))


def _transfer(shifts: Shifts, source: str, target: str, null: np.ndarray) -> TransferRow:
    found = shifts.shift(source, target)
    low, high = np.quantile(null, (0.025, 0.975))
    return TransferRow(
        source=source,
        target=target,
        n=found.n,
        mean=found.value,
        low=found.low,
        high=found.high,
        p=empirical_p(found.value, null.tolist()),
        p_holm=None,
        n_random=len(null),
        random_mean=float(null.mean()),
        random_low=float(low),
        random_high=float(high),
    )
