"""`misdirection sweep`: find where and how strongly a direction acts, and test it on questions no choice saw."""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape

from activations.progress import Progress
from experiments.report import write_report
from experiments.sweep import run_sweep
from experiments.sweep_config import SweepConfig
from experiments.sweep_plan import plan_sweep
from experiments.sweep_words import breakdown_told


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Sweep layers, strengths and directions on dev triples; test the chosen one against controls on others."""

    config: tyro.conf.OmitArgPrefixes[SweepConfig] = SweepConfig()
    out: Path = Path("runs/sweep")
    """The run folder; one that was begun with the same settings is finished."""
    dry_run: bool = False
    """Say what it would take, and stop."""

    def run(self, console: Console, progress: Progress) -> None:
        """Run it and say what came out and where it is."""
        if self.dry_run:
            plan = plan_sweep(self.config)
            console.print(plan.table())
            console.print(plan.told())
            return
        summary = run_sweep(self.config, self.out, progress=progress, console=console)
        report = write_report(self.out)
        console.print(
            f"\n[bold]{summary.question}[/bold]\n{escape(summary.answer)}\n{breakdown_told(summary.breakdown)}\n"
        )
        console.print(
            f"report  {report}\nfolder  {self.out}  (run.json, dev.jsonl, choice.json, test.jsonl, figures)"
        )
