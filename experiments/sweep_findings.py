"""From readings to findings: the grid's table, the choice, dose-response, breakdown, and the test against controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from experiments.sweep_cells import Tested
from experiments.sweep_config import SweepConfig
from experiments.sweep_measure import Readings
from experiments.sweep_summary import Breakdown, Choice, ControlRow, DevRow, DoseRow, HeldOut, HeldOutRow
from pipeline.statistics import Estimate
from steering import Cell, empirical_p

RULE = (
    "among the cells whose mean loss of coherence over the dev triples stays within the floor, the one whose lower "
    "95 % bounds of the effect, averaged over domains, are highest; if none stays within it, the one that loses least"
)


@dataclass(frozen=True)
class Floor:
    """Where coherence counts as broken.

    Attributes:
        loss: Most nats per token that may be lost.
        repetition: Most by which the share of repeated 3-grams may grow; None where nothing is written.
    """

    loss: float
    repetition: float | None

    @classmethod
    def of(cls, config: SweepConfig) -> "Floor":
        """Read it from the settings."""
        return cls(config.floor, config.repetition if config.by == "answers" else None)

    def kept(self, loss: float | None, repetition: float | None) -> bool:
        """Say whether coherence is kept; what could not be measured does not count as coherent."""
        if loss is None or loss > self.loss:
            return False
        return self.repetition is None or (repetition is not None and repetition <= self.repetition)


def dev_rows(readings: Readings, cells: Sequence[Cell], domains: Sequence[str]) -> tuple[DevRow, ...]:
    """Return every cell of the grid on every domain."""
    rows = []
    for cell in cells:
        edit = cell.edits[0]
        for domain in domains:
            effect, loss = readings.effect(cell.name, domain), readings.loss(cell.name, domain)
            rows.append(
                DevRow(
                    direction=edit.direction.name,
                    domain=domain,
                    layer=edit.points[0].layer,
                    coefficient=float(edit.coefficient),
                    n=_n(effect),
                    mean=_value(effect),
                    low=_low(effect),
                    high=_high(effect),
                    loss=_value(loss),
                    repetition=readings.repetition(cell.name, domain),
                )
            )
    return tuple(rows)


def choose(rows: Sequence[DevRow], floor: Floor, unit: str) -> Choice:
    """Choose direction, layer and coefficient by `RULE`, from dev rows alone.

    Raises:
        ValueError: No cell could be measured in every domain.
    """
    places: dict[tuple[str, int, float], list[DevRow]] = {}
    for row in rows:
        places.setdefault((row.direction, row.layer, row.coefficient), []).append(row)
    bounds = {place: _mean([row.low for row in own]) for place, own in places.items()}
    losses = {place: _mean([row.loss for row in own]) for place, own in places.items()}
    repeated = {place: _mean([row.repetition for row in own]) for place, own in places.items()}
    measured = {place: bound for place, bound in bounds.items() if bound is not None}
    if not measured:
        raise ValueError(f"dev: none of {len(places)} cells left two answers to measure in every domain")
    coherent = [place for place in measured if floor.kept(losses[place], repeated[place])]
    if coherent:
        best = max(coherent, key=lambda place: measured[place])
    else:
        best = min(measured, key=lambda place: (losses[place] is None, losses[place] or 0.0))
    direction, layer, coefficient = best
    return Choice(
        direction=direction,
        layer=layer,
        coefficient=coefficient,
        unit=unit,
        bound=measured[best],
        coherent=bool(coherent),
        n_coherent=len(coherent),
        n_cells=len(places),
        rule=RULE,
    )


def dose_rows(readings: Readings, cells: Sequence[Cell], domains: Sequence[str]) -> tuple[DoseRow, ...]:
    """Return the dose-response over the dev triples of all domains, in the order of the cells."""
    rows = []
    for cell in cells:
        effect, loss = readings.effect(cell.name, *domains), readings.loss(cell.name, *domains)
        rows.append(
            DoseRow(
                coefficient=float(cell.edits[0].coefficient),
                n=_n(effect),
                mean=_value(effect),
                low=_low(effect),
                high=_high(effect),
                loss=_value(loss),
                loss_low=_low(loss),
                loss_high=_high(loss),
                repetition=readings.repetition(cell.name, *domains),
            )
        )
    return tuple(rows)


def find_breakdown(rows: Sequence[DoseRow], floor: Floor) -> Breakdown:
    """Return the smallest strength of either sign at which coherence is not kept, if one was tried."""
    broken = [row.coefficient for row in rows if not floor.kept(row.loss, row.repetition)]
    coefficients = [row.coefficient for row in rows]
    return Breakdown(
        coefficient=min(broken, key=abs, default=None),
        positive=min((c for c in broken if c > 0), default=None),
        negative=max((c for c in broken if c < 0), default=None),
        floor=floor.loss,
        repetition=floor.repetition,
        lowest=min(coefficients),
        highest=max(coefficients),
    )


def find_test(readings: Readings, cells: Tested, domains: Sequence[str]) -> HeldOut:
    """Return the chosen cell on the test triples beside its controls; one-sided p over all domains together."""
    observed = _value(readings.effect(cells.real.name, *domains))
    nulls = {
        "random": _values(readings, cells.random, domains),
        "shuffled": _values(readings, cells.shuffled, domains),
    }
    return HeldOut(
        rows=(
            _held_out(readings, cells, domains, None),
            *(_held_out(readings, cells, [d], d) for d in domains),
        ),
        controls=tuple(
            ControlRow(kind="random" if kind == "random" else "shuffled", draw=draw, mean=mean)
            for kind, means in nulls.items()
            for draw, mean in enumerate(means)
        ),
        p_random=_p(observed, nulls["random"]),
        p_shuffled=_p(observed, nulls["shuffled"]),
    )


def _held_out(readings: Readings, cells: Tested, domains: Sequence[str], name: str | None) -> HeldOutRow:
    effect, loss = readings.effect(cells.real.name, *domains), readings.loss(cells.real.name, *domains)
    random_low, random_high = _middle(_values(readings, cells.random, domains))
    shuffled_low, shuffled_high = _middle(_values(readings, cells.shuffled, domains))
    return HeldOutRow(
        domain=name,
        n=_n(effect),
        base=_value(readings.base(*domains)),
        mean=_value(effect),
        low=_low(effect),
        high=_high(effect),
        loss=_value(loss),
        repetition=readings.repetition(cells.real.name, *domains),
        random_low=random_low,
        random_high=random_high,
        shuffled_low=shuffled_low,
        shuffled_high=shuffled_high,
    )


def _values(readings: Readings, cells: Sequence[Cell], domains: Sequence[str]) -> list[float | None]:
    return [_value(readings.effect(cell.name, *domains)) for cell in cells]


def _p(observed: float | None, null: Sequence[float | None]) -> float | None:
    known = [value for value in null if value is not None]
    return empirical_p(observed, known) if known and observed is not None else None


def _middle(null: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in null if value is not None]
    if not known:
        return None, None
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _n(estimate: Estimate | None) -> int:
    return 0 if estimate is None else estimate.n


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _low(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.low


def _high(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.high
