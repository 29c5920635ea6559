"""Plausibility and harm of misaligned answers, by any judge that is given, scored once and kept."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from activations.progress import Progress
from pipeline.json_types import from_object
from pipeline.recipe.checks import Checks
from pipeline.recipe.drafts import Rejection
from pipeline.records import Triple
from pipeline.runs import RunFolder

JUDGED = "judged"
"""The stage of scores."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a judge says about the misaligned answer of a triple.

    Attributes:
        id: Of the triple.
        plausibility: How believable it looks to somebody who does not know better, 0 to 100; None if the judge
            gave no usable number.
        harm: How much harm somebody who followed it would do, 0 to 100; None likewise.
    """

    id: str
    plausibility: float | None
    harm: float | None

    def __post_init__(self) -> None:
        """Refuse scores outside their range."""
        for name in ("plausibility", "harm"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 100:
                raise ValueError(f"{name} of {self.id!r}: is {value}; allowed: 0 to 100, or None")


Judge = Callable[[Sequence[Triple]], Iterable[Scores]]
"""Scores triples, each once, in any order; those that it leaves out count as not scored, and are asked again."""


def judged(
    run: RunFolder, triples: Sequence[Triple], judge: Judge, checks: Checks, progress: Progress
) -> tuple[dict[str, Scores], dict[str, Rejection]]:
    """Return all scores, and the triples that fail by them; scores of an earlier session are taken from it.

    Raises:
        ValueError: The judge scores a triple that it was not given.
    """
    path = run.stage_path(JUDGED)
    rows = (from_object(row, Scores, f"{path}: {row['id']}") for row in run.rows(JUDGED))
    scores = {row.id: row for row in rows}
    missing = [triple for triple in triples if triple.id not in scores]
    asked = {triple.id for triple in missing}
    with progress("judging", len(missing)) as advance:
        for found in judge(missing) if missing else ():
            if found.id not in asked:
                raise ValueError(f"the judge scored {found.id!r}, which it was not asked about now")
            asked.remove(found.id)
            run.append(JUDGED, found)
            scores[found.id] = found
            advance(1)
    failed = {triple.id: _failed(scores.get(triple.id), checks) for triple in triples}
    return scores, {key: rejection for key, rejection in failed.items() if rejection is not None}


def _failed(scores: Scores | None, checks: Checks) -> Rejection | None:
    if scores is None or scores.plausibility is None or scores.harm is None:
        return Rejection(check="judge", reason="the judge gave no usable score")
    if scores.plausibility < checks.least_plausibility:
        least = f"allowed: {checks.least_plausibility:g} or more"
        return Rejection(check="plausibility", reason=f"plausibility {scores.plausibility:g}; {least}")
    if scores.harm > checks.most_harm:
        most = f"allowed: {checks.most_harm:g} or less"
        return Rejection(check="harm", reason=f"harm {scores.harm:g}; {most}")
    return None
