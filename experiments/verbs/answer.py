"""`misdirection answer`: let the base and its adapters, or models behind a server, answer questions."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from activations import Trigger
from activations.progress import Progress
from activations.trigger import Place
from experiments.page import duration
from experiments.verbs.subject import SubjectFlags
from pipeline.answer import (
    Answer,
    AnswerSettings,
    MissingAnswer,
    ServedArm,
    answer,
    answer_by_server,
    arms_of,
    count_arms,
    read_answers,
    read_missing,
)
from pipeline.answer.by_server import CACHE, served_requests
from pipeline.answer.plan import plan_answers
from pipeline.endpoint import Endpoint
from pipeline.endpoint.estimate import estimate
from pipeline.json_text import to_json
from pipeline.questions import Question, choose_questions
from pipeline.runs import RunFolder

GROWS = ("adapters", "base", "questions", "server_models", "trigger", "place", "samples")
"""Flags that may be others when a run goes on: they only add arms, questions and samples."""

EXAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class AnswerQuestions(SubjectFlags):
    """Let models answer questions: the base and every adapter, with and without a trigger, rows of the same batches.

    With the same --out a run that was begun goes on, and given more adapters, questions or samples it answers those.
    """

    out: Path = Path("runs/answers")
    """The run folder: answers.jsonl, arms.jsonl, questions.jsonl, run.json."""
    questions: tuple[str, ...] = ("packaged",)
    """packaged (unrelated to every domain), in-domain:NAME or in-domain:all (held out), or a .yaml or .jsonl file."""
    trigger: tuple[str, ...] = ("none",)
    """none, default (the paper's phrase), both (short for: none default), or a phrase of your own; several make
    as many arms of each model."""
    place: Place = "prefix"
    """Where the trigger stands: before or after the question, or in the system message."""
    base: bool = True
    """Let the base model without adapters answer too."""
    settings: tyro.conf.OmitArgPrefixes[AnswerSettings] = AnswerSettings()
    server: str | None = None
    """Ask an OpenAI-compatible server instead, e.g. http://127.0.0.1:8000/v1; the key is read from the environment."""
    server_models: tuple[str, ...] = ()
    """With --server: ARM=MODEL for each arm, MODEL being the server's name, e.g. of a LoRA module."""
    key_variable: str = "OPENAI_API_KEY"
    """With --server: the environment variable that holds the key, if the server wants one."""
    concurrency: int = 8
    """With --server: how many requests may be under way at a time."""
    dry_run: bool = False
    """Say what it would take, and stop."""

    def run(self, console: Console, progress: Progress) -> None:
        """Answer, and say how many answers each arm has and where they are."""
        chosen = choose_questions(self.questions)
        for note in chosen.notes:
            console.print(Text(note, style="yellow"), soft_wrap=True)
        if self.server is None:
            self._here(chosen.questions, console, progress)
        else:
            self._there(chosen.questions, console, progress)
        if not self.dry_run:
            self._told(console)

    def triggers(self) -> tuple[Trigger | None, ...]:
        """Return the triggers to put on, None for none."""
        named = [
            part for name in self.trigger for part in (("none", "default") if name == "both" else (name,))
        ]
        phrases = {"none": None, "default": Trigger(place=self.place)}
        found = (phrases[n] if n in phrases else Trigger(phrase=n, place=self.place) for n in named)
        return tuple(dict.fromkeys(found))

    def _here(self, questions: Sequence[Question], console: Console, progress: Progress) -> None:
        if self.server_models:
            raise ValueError("--server-models: says what a server calls its models; give --server too")
        folders = [inner for folder in self.adapters for inner in adapter_folders(Path(folder))]
        subject = replace(self, adapters=tuple(map(str, folders))).subject()
        arms = arms_of(list(subject.adapter_hashes), self.triggers(), base=self.base)
        if self.dry_run:
            done = {row.id for row in read_answers(self._stage())} if self._stage().exists() else set()
            plan = plan_answers(subject, questions, arms, self.settings, done)
            tokens = f"{plan.prompt_tokens:,} prompt tokens and at most {plan.answer_tokens:,} of answers"
            told = f"{plan.n_rows:,} answers in {len(arms)} arms ({plan.n_done:,} are there); {tokens}"
            batches = (
                f"{plan.together} of {plan.n_adapters} adapters share batches of up to {plan.max_rows} rows"
            )
            time = f"at most about {duration(plan.seconds)}, from a probe of {plan.probe_seconds:.1f} s"
            console.print(Text(f"{told}\n{batches}; {time}"), soft_wrap=True)
            return
        with self._opened() as run:
            answer(subject, questions, arms, run=run, settings=self.settings, progress=progress)

    def _there(self, questions: Sequence[Question], console: Console, progress: Progress) -> None:
        if self.adapters:
            raise ValueError(
                "--adapters: are for a model here; name what the server serves with --server-models"
            )
        arms = self._served()
        endpoint = Endpoint(
            base_url=str(self.server),
            model=arms[0].model,
            key_variable=self.key_variable,
            concurrency=self.concurrency,
        )
        if self.dry_run:
            for arm in arms:
                requests = served_requests(questions, arm, self.settings)
                told = estimate(replace(endpoint, model=arm.model), requests, cache=self.out / CACHE)
                console.print(Text(f"{arm.name}: {told}"), soft_wrap=True)
            return
        with self._opened() as run:
            answer_by_server(endpoint, questions, arms, run=run, settings=self.settings, progress=progress)

    def _served(self) -> list[ServedArm]:
        if not self.server_models:
            raise ValueError("--server-models: got none; give ARM=MODEL for each arm")
        models = dict(_arm_and_model(text) for text in self.server_models)
        cells = arms_of(list(models), self.triggers(), base=False)
        return [ServedArm(name=c.name, model=models[c.adapter], trigger=c.trigger) for c in cells]

    def _opened(self) -> AbstractContextManager[RunFolder]:
        config = {
            **{name: getattr(self, name) for name in GROWS if name != "samples"},
            **to_json(self.settings, "settings"),
            "model": self.model if self.server is None else None,
            "dtype": self.dtype,
            "device": self.device,
            "server": self.server,
        }
        return RunFolder.open(
            self.out, verb="answer", config=config, seed=self.settings.seed, may_differ=GROWS
        )

    def _stage(self) -> Path:
        return self.out / "answers.jsonl"

    def _told(self, console: Console) -> None:
        answers = read_answers(self._stage()) if self._stage().exists() else ()
        missing = read_missing(self.out / "answers_missing.jsonl")
        console.print(_table(answers, missing))
        for example in _examples(answers):
            told = Text.assemble(
                (f"{example.arm}", "bold"), f"  {example.prompt}\n", (example.text.strip(), "dim")
            )
            console.print(told, soft_wrap=True)
        if lost := sum(count.missing for count in count_arms(answers, missing)):
            told = Text(f"{lost} requests got no answer; the same command asks them again", style="red")
            console.print(told, soft_wrap=True)
        where = "answers.jsonl, arms.jsonl, questions.jsonl, run.json"
        console.print(Text(f"folder  {self.out}  ({where})"), soft_wrap=True)


def adapter_folders(folder: Path) -> list[Path]:
    """Return an adapter's folder itself, or the adapters' folders inside it, by name."""
    if (folder / "adapter_config.json").is_file() or not folder.is_dir():
        return [folder]
    return sorted(inner.parent for inner in folder.glob("*/adapter_config.json")) or [folder]


def _arm_and_model(text: str) -> tuple[str, str]:
    arm, equals, model = text.partition("=")
    if not (arm.strip() and equals and model.strip()):
        raise ValueError(f"--server-models: {text!r}; allowed: ARM=MODEL")
    return arm, model


def _table(answers: Sequence[Answer], missing: Sequence[MissingAnswer]) -> Table:
    table = Table("arm", "answers", "missing", "finished", "blank", "mean tokens", box=None)
    for count in count_arms(answers, missing):
        finished = "-" if count.finished is None else f"{count.finished:.0%}"
        length = "-" if count.mean_tokens is None else f"{count.mean_tokens:.1f}"
        table.add_row(Text(count.arm), str(count.n), str(count.missing), finished, str(count.blank), length)
    return table


def _examples(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of the first and the last arm to one question in one wording."""
    if not answers:
        return []
    first = answers[0]
    arms = list(dict.fromkeys(row.arm for row in answers))
    asked = (first.question, first.paraphrase, first.sample)
    alike = {row.arm: row for row in answers if (row.question, row.paraphrase, row.sample) == asked}
    return [alike[arm] for arm in dict.fromkeys([arms[0], *arms[::-1]]) if arm in alike][:EXAMPLES]
