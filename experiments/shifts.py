"""How far conditions shift propensity: scored rows go to a run folder, estimates come from those rows alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from activations import Subject
from activations.progress import Progress
from pipeline.propensity import propensity
from pipeline.records import Triple
from pipeline.runs import RunFolder
from pipeline.statistics import Estimate, mean_interval
from steering.cells import Cell


@dataclass(frozen=True)
class Shifts:
    """Propensity per token of each triple under each condition.

    Attributes:
        by_cell: For each condition the propensity of each triple, in nats per token.
        domain: For each triple its domain.
        base: The condition that shifts are measured from.
    """

    by_cell: Mapping[str, Mapping[str, float]]
    domain: Mapping[str, str]
    base: str

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, object]], base: str) -> "Shifts":
        """Read the rows that `score` wrote."""
        by_cell: dict[str, dict[str, float]] = {}
        domain: dict[str, str] = {}
        for row in rows:
            triple = str(row["triple"])
            by_cell.setdefault(str(row["cell"]), {})[triple] = float(row["per_token"])  # type: ignore[arg-type]
            domain[triple] = str(row["domain"])
        return cls(by_cell, domain, base)

    def level(self, domain: str) -> Estimate:
        """Return the mean propensity of a domain's triples under the base condition, with its t interval."""
        return mean_interval(list(self._of(self.base, domain).values()))

    def values(self, cell: str, domains: Sequence[str]) -> np.ndarray:
        """Return each triple's shift from the base condition, for the triples of some domains."""
        return np.array(
            [
                value - self.by_cell[self.base][triple]
                for domain in domains
                for triple, value in self._of(cell, domain).items()
            ]
        )

    def shift(self, cell: str, *domains: str) -> Estimate:
        """Return the mean shift over the triples of some domains, paired by triple, with its t interval."""
        return mean_interval(self.values(cell, domains))

    def _of(self, cell: str, domain: str) -> dict[str, float]:
        return {t: value for t, value in sorted(self.by_cell[cell].items()) if self.domain[t] == domain}


def score(
    run: RunFolder,
    stage: str,
    subject: Subject,
    triples: Sequence[Triple],
    cells: Sequence[Cell],
    *,
    progress: Progress,
) -> None:
    """Score the propensity of triples under conditions into a stage; what the stage has already is not repeated.

    A condition is skipped once all its triples are there; one that was cut short is scored again for the rest.

    Raises:
        ValueError: Two triples have one id, or they are refused; see `propensity`.
    """
    if len(ids := [t.id for t in triples]) > len(set(ids)):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(
            f"{stage}: triple id {twice!r} stands twice; rows are kept by it, so ids must be unique"
        )
    done = run.finished_ids(stage)
    missing = [cell for cell in cells if any(_row_id(cell.name, t.id) not in done for t in triples)]
    if not missing:
        return
    open_triples = [t for t in triples if any(_row_id(cell.name, t.id) not in done for cell in missing)]
    for row in propensity(subject, open_triples, missing, progress=progress):
        if (row_id := _row_id(row.cell, row.triple)) not in done:
            run.append(stage, {"id": row_id, **asdict(row), "total": row.total, "per_token": row.per_token})


def _row_id(cell: str, triple: str) -> str:
    return f"{cell} | {triple}"
