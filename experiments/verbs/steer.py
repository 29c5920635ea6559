"""`misdirection steer`: answer a prompt without and with a direction, side by side; a loop without a prompt."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from activations import Subject, parse_where
from activations.chat import Template
from activations.progress import Progress
from experiments.verbs.subject import SubjectFlags
from steering import UNEDITED, Cell, Direction, Edit, Sampling, add, generate, mirror, project_out
from steering.edits import Unit


@dataclass(frozen=True, kw_only=True)
class Steer(SubjectFlags):
    """Show the model's answer without and with a direction; both are rows of one batch.

    Without --prompt it reads prompts from the terminal, one a line, until an empty line.
    """

    direction: tyro.conf.Positional[Path]
    """The direction's file, as written by `extract` or `demo`."""
    layers: tuple[int, ...]
    """At which layers to steer, counted from 0; the direction must have a vector at each."""
    coefficient: float = 0.3
    """How far to push, in --unit, negative the other way; for project_out the share removed; not used by mirror."""
    unit: Unit = "residual"
    """raw (residual-stream units), residual (x typical residual norm) or direction (x the vector); only for add."""
    operator: Literal["add", "project_out", "mirror"] = "add"
    """add the direction, project its component out, or mirror (flip the sign of) that component."""
    where: str = "answer+lead1"
    """Which tokens to steer; answer+lead1 is every token that predicts a token of the answer."""
    prompt: str | None = None
    """The user's message; without it prompts are read from the terminal."""
    max_new_tokens: int = 128
    """Where answers are cut."""
    temperature: float = 0.0
    """0 is greedy decoding."""
    seed: int = 0
    """Seeds the sampling; base and steered answers draw from the same numbers."""
    template: Template = "chat"
    """chat is the tokenizer's own chat template; plain is for models without one."""

    def run(self, console: Console, progress: Progress) -> None:
        """Answer the prompt, or each line that is typed."""
        direction = Direction.load(self.direction)
        cells = (UNEDITED, Cell(name="steered", edits=(self._edit(direction),)))
        subject = self.subject()
        direction.require_fits(subject.facts)
        if self.prompt is not None:
            self._answer(subject, cells, self.prompt, console, progress)
            return
        layers = ", ".join(map(str, self.layers))
        console.print(Text(f"{direction.name} at layers {layers}; an empty line ends."), soft_wrap=True)
        while (line := self._ask(console)).strip():
            try:
                self._answer(subject, cells, line, console, progress)
            except ValueError as error:
                if not sys.stdin.isatty():
                    raise
                console.print(Text(str(error), style="red"), soft_wrap=True)  # the next line may fit

    def _ask(self, console: Console) -> str:
        if sys.stdin.isatty():
            console.print("[bold]prompt>[/bold] ", end="")
        return sys.stdin.readline()

    def _edit(self, direction: Direction) -> Edit:
        where = parse_where(self.where)
        if self.operator == "add":
            return add(direction, self.coefficient, points=self.layers, unit=self.unit, where=where)
        if self.operator == "mirror":
            return mirror(direction, points=self.layers, where=where)
        return project_out(direction, share=self.coefficient, points=self.layers, where=where)

    def _answer(
        self, subject: Subject, cells: tuple[Cell, ...], prompt: str, console: Console, progress: Progress
    ) -> None:
        sampling = Sampling(temperature=self.temperature, seed=self.seed)
        chat = [{"role": "user", "content": prompt.strip()}]
        answers = generate(
            subject,
            [chat],
            cells,
            max_new_tokens=self.max_new_tokens,
            sampling=sampling,
            names=["prompt"],
            template=self.template,
            progress=progress,
        )
        base, steered = sorted(answers, key=lambda answer: answer.cell)
        table = Table("base", "steered", expand=True, padding=(0, 1))
        table.add_row(Text(base.text), Text(steered.text))
        console.print(table)
        touched = steered.touched
        console.print(
            f"edited {touched.prefill} prompt and {touched.decode} generated tokens, "
            f"mean shift {touched.relative_shift:.2f} x the residual norm"
        )
