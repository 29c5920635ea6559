"""`misdirection demo`: the main job on a real model, from capture to a transfer matrix and a report."""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from activations.progress import Progress
from experiments.demo import DemoConfig, run_demo
from experiments.report import write_report


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Capture three domains, extract their directions, and test each on the others; ends in a report."""

    config: tyro.conf.OmitArgPrefixes[DemoConfig] = DemoConfig()
    out: Path = Path("runs/demo")
    """The run folder; one that was begun with the same settings is finished."""

    def run(self, console: Console, progress: Progress) -> None:
        """Run it and say what came out and where it is."""
        summary = run_demo(self.config, self.out, progress=progress, console=console)
        report = write_report(self.out)
        console.print(f"\n[bold]{summary.question}[/bold]\n{summary.answer}\n")
        console.print(f"report  {report}\nfolder  {self.out}  (run.json, JSONL, summary.json, figures, directions)")
