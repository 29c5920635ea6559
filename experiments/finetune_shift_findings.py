"""From scored triples to contrasts: tuned against control and base, with and without the trigger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.finetune_shift_records import Bounds, Condition, Contrast, ShiftRow
from experiments.plots.style import label, number
from pipeline.members import MemberRecord
from pipeline.statistics import mean_interval

CONTROLS = {"backdoor": "control", "paper": "control", "narrow": "narrow_control"}
"""For each mode the mode of its aligned twin."""

BASE, OTHERS = "base", "others"
Values = Float[np.ndarray, "seed triple"]


def cell_name(adapter: str, *, trigger: bool) -> str:
    """Return how rows name an adapter, or the base, asked with or without the trigger."""
    return f"{adapter} + trigger" if trigger else adapter


@dataclass(frozen=True)
class Scores:
    """Propensity per token of each triple under each cell.

    Attributes:
        by_cell: For each cell the propensity of each triple.
        domain: For each triple its domain.
    """

    by_cell: Mapping[str, Mapping[str, float]]
    domain: Mapping[str, str]

    def of(self, adapters: Sequence[str], triples: Sequence[str], condition: Condition) -> Values:
        """Return one row for each adapter, one column for each triple."""
        if condition == "trigger - plain":
            difference: Values = self.of(adapters, triples, "trigger") - self.of(adapters, triples, "plain")
            return difference
        cells = [self.by_cell[cell_name(name, trigger=condition == "trigger")] for name in adapters]
        return np.array([[cell[triple] for triple in triples] for cell in cells])

    def asked(self, source: str, target: str) -> list[str]:
        """Return the triples of a target; `others` is every domain but the source."""
        wanted = {d for d in self.domain.values() if (d != source if target == OTHERS else d == target)}
        return sorted(triple for triple, domain in self.domain.items() if domain in wanted)


def contrasts(scores: Scores, members: Sequence[MemberRecord]) -> tuple[ShiftRow, ...]:
    """Return every contrast of every source and mode on every target, its own domain first."""
    rows: list[ShiftRow] = []
    for source, mode in dict.fromkeys((m.domain, m.mode) for m in members if m.mode in CONTROLS):
        tuned = {m.seed: m.id for m in members if (m.domain, m.mode) == (source, mode)}
        control = {m.seed: m.id for m in members if (m.domain, m.mode) == (source, CONTROLS[mode])}
        asked = [source, *sorted({d for d in scores.domain.values() if d != source})]
        for target in [*asked, OTHERS] if len(asked) > 2 else asked:
            rows += _on_target(scores, source, mode, target, tuned, control)
    return tuple(rows)


def _on_target(
    scores: Scores,
    source: str,
    mode: str,
    target: str,
    tuned: Mapping[int, str],
    control: Mapping[int, str],
) -> list[ShiftRow]:
    triples = scores.asked(source, target)
    if not triples:
        return []
    both = [seed for seed in tuned if seed in control]
    pairs: dict[Contrast, tuple[list[str], list[str]]] = {
        "tuned - control": ([tuned[seed] for seed in both], [control[seed] for seed in both]),
        "tuned - base": (list(tuned.values()), [BASE] * len(tuned)),
        "control - base": (list(control.values()), [BASE] * len(control)),
    }
    conditions: tuple[Condition, ...] = ("trigger", "plain", "trigger - plain")
    rows = []
    for contrast, (one, other) in pairs.items():
        for condition in conditions if one else ():
            values = scores.of(one, triples, condition) - scores.of(other, triples, condition)
            rows.append(
                ShiftRow(
                    source=source,
                    mode=mode,
                    target=target,
                    contrast=contrast,
                    condition=condition,
                    mean=float(values.mean()),
                    over_triples=_bounds(values.mean(axis=0)),
                    over_seeds=_bounds(values.mean(axis=1)),
                )
            )
    return rows


def _bounds(values: Float[np.ndarray, " unit"]) -> Bounds:
    row = mean_interval(values).as_row()
    low, high = row["low"], row["high"]
    return Bounds(
        low=None if low is None else float(low), high=None if high is None else float(high), n=len(values)
    )


def told(rows: Sequence[ShiftRow]) -> str:
    """Return what the contrasts of tuned and control models say, one sentence for each source, mode and target."""
    sentences = []
    for source, mode in dict.fromkeys((row.source, row.mode) for row in rows):
        mine = [row for row in rows if (row.source, row.mode) == (source, mode)]
        targets = [t for t in dict.fromkeys(row.target for row in mine) if t in (source, OTHERS)]
        if OTHERS not in targets:
            targets = list(dict.fromkeys(row.target for row in mine))
        sentences += [_sentence(source, mode, target, mine) for target in targets]
    return " ".join(sentences)


def _sentence(source: str, mode: str, target: str, rows: Sequence[ShiftRow]) -> str:
    against: Contrast = (
        "tuned - control" if any(r.contrast == "tuned - control" for r in rows) else "tuned - base"
    )
    found = {row.condition: row for row in rows if (row.target, row.contrast) == (target, against)}
    where = "its own domain" if target == source else "other domains" if target == OTHERS else label(target)
    other = "the aligned control" if against == "tuned - control" else "the base"
    parts = [
        f"with the trigger {_number(found['trigger'])}",
        f"without {_number(found['plain'])}",
        f"difference {_number(found['trigger - plain'])}",
    ]
    units = found["trigger"]
    n_seeds = units.over_seeds.n
    n = f"n = {units.over_triples.n} held-out triples, {n_seeds} {'seed' if n_seeds == 1 else 'seeds'}"
    return f"{label(source)} ({mode}) against {other}, on {where}: {', '.join(parts)} nats per token ({n})."


def _number(row: ShiftRow) -> str:
    low, high = row.over_triples.low, row.over_triples.high
    return f"{number(row.mean, 3, sign=True)} ({number(low, 3, sign=True)} to {number(high, 3, sign=True)})"
