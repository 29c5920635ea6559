"""Measure triples under the cells of a sweep into a stage, and read its rows back as effects and coherence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from activations import Subject
from activations.progress import Progress
from experiments.shifts import score
from experiments.sweep_answers import score_answers_written
from experiments.sweep_config import By
from pipeline.json_text import Json
from pipeline.records import Triple
from pipeline.runs import RunFolder
from pipeline.statistics import Estimate, mean_interval
from steering import UNEDITED, Cell


@dataclass(frozen=True)
class Reading:
    """One triple under one cell; None where there was nothing to measure, as with an empty answer.

    Attributes:
        level: The measure, in nats per token; an effect is its change from the base.
        coherence: Mean log-probability per token of the answers that coherence is judged by.
        repetition: Share of repeated 3-grams in the answer.
    """

    level: float | None
    coherence: float | None
    repetition: float | None = None


@dataclass(frozen=True)
class Readings:
    """All readings of a stage: for each cell those of each triple, and for each triple its domain."""

    by_cell: Mapping[str, Mapping[str, Reading]]
    domain: Mapping[str, str]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Json]], by: By) -> "Readings":
        """Read the rows that `measure` wrote."""
        read = {"propensity": _of_propensity, "answers": _of_answer}[by]
        by_cell: dict[str, dict[str, Reading]] = {}
        domain: dict[str, str] = {}
        for row in rows:
            by_cell.setdefault(row["cell"], {})[row["triple"]] = read(row)
            domain[row["triple"]] = row["domain"]
        return cls(by_cell, domain)

    def base(self, *domains: str) -> Estimate | None:
        """Return the mean level without edits."""
        found = [reading.level for reading in self._of(UNEDITED.name, domains).values()]
        return _estimate([level for level in found if level is not None])

    def effect(self, cell: str, *domains: str) -> Estimate | None:
        """Return how much a cell moves the measure, paired by triple; None below two triples."""
        return _estimate(self._changes(cell, domains, "level"))

    def loss(self, cell: str, *domains: str) -> Estimate | None:
        """Return how much coherence a cell costs, in nats per token, paired by triple."""
        return _estimate([-change for change in self._changes(cell, domains, "coherence")])

    def repetition(self, cell: str, *domains: str) -> float | None:
        """Return by how much the share of repeated 3-grams grows; None for a measure without answers."""
        found = _estimate(self._changes(cell, domains, "repetition"))
        return None if found is None else found.value

    def _changes(self, cell: str, domains: Sequence[str], what: str) -> list[float]:
        before = self._of(UNEDITED.name, domains)
        pairs = [
            (getattr(reading, what), getattr(before[triple], what))
            for triple, reading in self._of(cell, domains).items()
            if triple in before
        ]
        return [after - first for after, first in pairs if after is not None and first is not None]

    def _of(self, cell: str, domains: Sequence[str]) -> dict[str, Reading]:
        found = sorted(self.by_cell.get(cell, {}).items())
        return {triple: reading for triple, reading in found if self.domain[triple] in domains}


def measure(
    run: RunFolder,
    stage: str,
    subject: Subject,
    triples: Sequence[Triple],
    cells: Sequence[Cell],
    *,
    by: By,
    max_new_tokens: int,
    progress: Progress,
) -> Readings:
    """Measure triples under the base and some cells; what the stage has already is not repeated.

    Args:
        run: The run folder.
        stage: Where the rows go: one for each cell and triple.
        subject: The model.
        triples: Prompts with their two answers.
        cells: The conditions; the base is added.
        by: The measure.
        max_new_tokens: Where written answers are cut.
        progress: Told how far it is.

    Returns:
        Everything the stage holds now.
    """
    conditions = (UNEDITED, *cells)
    if by == "propensity":
        score(run, stage, subject, triples, conditions, progress=progress)
    else:
        score_answers_written(
            run, stage, subject, triples, conditions, max_new_tokens=max_new_tokens, progress=progress
        )
    return Readings.of(run.rows(stage), by)


def require_apart(dev: Readings, test: Readings) -> None:
    """Raise ValueError if a triple was used both to choose and to report."""
    if both := sorted(dev.domain.keys() & test.domain.keys()):
        raise ValueError(
            f"triples {', '.join(both[:3])} are in the dev and in the test stage; choose a new folder"
        )


def _of_propensity(row: Mapping[str, Json]) -> Reading:
    return Reading(level=row["per_token"], coherence=row["aligned_nats"] / row["aligned_tokens"])


def _of_answer(row: Mapping[str, Json]) -> Reading:
    likely = row["log_prob"]
    return Reading(None if likely is None else -likely, likely, row["repetition"])


def _estimate(values: Sequence[float]) -> Estimate | None:
    return mean_interval(values) if len(values) > 1 else None
