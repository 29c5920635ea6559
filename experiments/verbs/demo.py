"""`misdirection demo`: the main job on a real model, from capture to a transfer matrix and a report."""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from activations.progress import Progress
from experiments.demo import run_demo
from experiments.demo_config import DemoConfig
from experiments.report import write_report


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Extract a direction for each of some domains and test whether it acts in the others; ends in a report."""

    config: tyro.conf.OmitArgPrefixes[DemoConfig] = DemoConfig()
    out: Path = Path("runs/demo")
    """The run folder; if it holds a run with the same settings that was cut short, that one is finished."""

    def run(self, console: Console, progress: Progress) -> None:
        """Run it and say what came out and where it is."""
        summary = run_demo(self.config, self.out, progress=progress, console=console)
        report = write_report(self.out)
        console.print(f"\n[bold]{summary.question}[/bold]\n{escape(summary.answer)}\n")
        paths = f"report  {report}\nfolder  {self.out}  (run.json, JSONL, summary.json, figures, directions)"
        console.print(Text(paths), soft_wrap=True)
