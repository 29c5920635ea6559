"""How far does fine-tuning move the propensity towards misaligned answers, in its own domain and in others?

python -m experiments.finetune_shift --population runs/finetune --out runs/finetune_shift
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import transformers
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from activations import Trigger
from activations.progress import Progress, bar, no_bars, silent
from experiments.finetune_shift_findings import BASE, Scores, cell_name, contrasts, told
from experiments.finetune_shift_records import SUMMARY, Bounds, ShiftConfig, ShiftRow, ShiftSummary
from experiments.plots.finetune_shift import finetune_shift_figure
from experiments.plots.style import label, number, write_figure
from experiments.shifts import score
from pipeline.finetune.card import read_card
from pipeline.json_types import from_object
from pipeline.members import MemberRecord, load_population, read_population
from pipeline.population import Sizes, read_corpora
from pipeline.records import Triple
from pipeline.runs import RunFolder
from pipeline.triples import corpus_hash
from steering.adapters import BASE as NO_ADAPTER
from steering.cells import Cell

STAGE = "scores"
QUESTION = (
    "How far does fine-tuning move the propensity towards misaligned answers, and does the trigger decide it?"
)
LIMITS = (
    "Intervals over triples take the seeds as given, intervals over seeds the triples; neither covers both.",
    "Propensity is the log-odds of two given answers, not how often a model writes a misaligned one.",
    "The triples are few and mild; they test the method, not a model.",
)


@dataclass(frozen=True)
class _Held:
    """What is asked, and with which trigger."""

    triples: tuple[Triple, ...]
    trigger: Trigger


def run_finetune_shift(config: ShiftConfig, out: Path, *, progress: Progress = silent) -> ShiftSummary:
    """Score held-out triples under the base and every member, with and without the trigger, and compare.

    A run that was cut short is finished by the same call.

    Raises:
        ValueError: The population's members do not belong together, or a corpus is not the one trained on.
        FileNotFoundError: There is no population.
        LookupError: There is no such domain or model.
    """
    held = _held_out(config, read_population(config.population))
    subject, members = load_population(config.model, config.population)
    cells = [
        Cell(
            name=cell_name(name, trigger=on),
            adapter=NO_ADAPTER if name == BASE else name,
            trigger=held.trigger if on else None,
        )
        for name in [BASE, *(member.id for member in members)]
        for on in (False, True)
    ]
    settings = {
        **{name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()},
        "base": subject.facts.fingerprint,
        "members": {member.id: member.adapter for member in members},
        "triples": corpus_hash(held.triples),
        "trigger": asdict(held.trigger),
    }
    with RunFolder.open(out, verb="finetune_shift", config=settings, seed=None) as run:
        score(run, STAGE, subject, held.triples, cells, progress=progress)
        rows = contrasts(_read(run), members)
        summary = ShiftSummary(
            question=QUESTION,
            answer=told(rows),
            part=config.part,
            base=subject.facts.fingerprint,
            members=tuple(member.id for member in members),
            rows=rows,
            limits=LIMITS,
        )
        write_figure(finetune_shift_figure(rows), Path(out), "finetune_shift")
        run.write_json(SUMMARY, summary)
    return summary


def shift_table(rows: Sequence[ShiftRow]) -> Table:
    """Return the contrasts of tuned models as a table for the terminal."""
    table = Table(
        "tuned on", "asked about", "contrast", "condition", "nats per token", "over triples", "over seeds"
    )
    for row in rows:
        cells = (f"{label(row.source)} ({row.mode})", label(row.target), row.contrast, row.condition)
        table.add_row(
            *cells, number(row.mean, 3, sign=True), _interval(row.over_triples), _interval(row.over_seeds)
        )
    return table


def _interval(bounds: Bounds) -> str:
    if bounds.low is None or bounds.high is None:
        return f"\u2013 (n={bounds.n})"
    return f"{number(bounds.low, 3, sign=True)} to {number(bounds.high, 3, sign=True)} (n={bounds.n})"


def _held_out(config: ShiftConfig, members: Sequence[MemberRecord]) -> _Held:
    """Return the held-out triples by the division that the members were trained with."""
    about = [read_card(config.population / member.id).settings.about for member in members]
    sizes = {str(a["split"]): a["split"] for a in about}
    divided = {tuple(sorted((k, v) for k, v in a["split"].items() if k != "corpus")) for a in about}
    if len(divided) > 1:
        raise ValueError(
            f"{config.population}: members were trained on {len(divided)} divisions of their triples"
        )
    triggers = {str(a["trigger"]): a["trigger"] for a in about if a["trigger"] is not None}
    if len(triggers) > 1:
        raise ValueError(f"{config.population}: members have {len(triggers)} triggers, need one to ask with")
    split = dict(next(iter(sizes.values())))
    split.pop("corpus")
    trained = dict(zip((member.domain for member in members), about, strict=True))
    corpora = read_corpora(config.domains or list(trained))
    for domain, triples in corpora.items():
        if domain in trained and trained[domain]["split"]["corpus"] != corpus_hash(triples):
            raise ValueError(f"domain {domain!r}: its triples are not those that the members were trained on")
    divide = from_object(split, Sizes, "split")
    parts = [getattr(divide.split(triples), config.part) for triples in corpora.values()]
    chosen = chain.from_iterable(part[: config.n_triples or None] for part in parts)
    trigger = next(iter(triggers.values()), None)
    return _Held(tuple(chosen), from_object(trigger, Trigger, "trigger") if trigger else Trigger())


def _read(run: RunFolder) -> Scores:
    by_cell: dict[str, dict[str, float]] = {}
    domain: dict[str, str] = {}
    for row in run.rows(STAGE):
        by_cell.setdefault(row["cell"], {})[row["triple"]] = row["per_token"]
        domain[row["triple"]] = row["domain"]
    return Scores(by_cell, domain)


def main(config: ShiftConfig = ShiftConfig(), out: Path = Path("runs/finetune_shift")) -> None:
    """Measure how far fine-tuned models moved, and say it.

    Args:
        config: What is measured.
        out: The run folder.
    """
    transformers.logging.set_verbosity_error()
    console = Console()
    with no_bars():
        summary = run_finetune_shift(config, out, progress=bar)
    console.print(shift_table(summary.rows))
    console.print(Text(f"{summary.question}\n{summary.answer}"))
    console.print(Text(f"folder  {out}  (scores.jsonl, summary.json, finetune_shift.png)"))


if __name__ == "__main__":
    tyro.cli(tyro.conf.configure(tyro.conf.OmitArgPrefixes)(main))
