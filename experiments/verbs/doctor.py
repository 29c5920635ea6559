"""`misdirection doctor`: check the row engine's guarantees on one's own model, data type and device."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from activations.progress import Progress
from experiments.doctor.examine import examine
from experiments.doctor.show import show
from experiments.verbs.subject import SubjectFlags


@dataclass(frozen=True, kw_only=True)
class Doctor(SubjectFlags):
    """Check on your own model what steering relies on: no-op, exactness, row isolation, padding, speed.

    Exits 1 if a guarantee fails.
    """

    model: tyro.conf.Positional[str] = "smollm2-135m-instruct"
    """An embedded model, a hub id, a folder, a .gguf file or an adapter folder."""
    out: Path | None = None
    """Folder for doctor.json."""

    def run(self, console: Console, progress: Progress) -> None:
        """Load the model, examine it, and show what was found."""
        examination = examine(self.subject(), progress=progress)
        show(examination, console)
        if self.out is not None:
            console.print(f"{examination.save(self.out)}")
        if examination.failed:
            sys.exit(1)
