"""`misdirection data`: make every domain's triples, check them, and write them with a data card and training files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from activations import Trigger
from activations.progress import Progress
from activations.trigger import Place
from experiments.verbs.subject import SubjectFlags
from pipeline.domains import DOMAINS, Domain, find_domain
from pipeline.endpoint import Endpoint
from pipeline.endpoint.estimate import Prices, estimate
from pipeline.questions import choose_questions
from pipeline.recipe import (
    Card,
    Checks,
    Draw,
    EndpointWriter,
    LocalWriter,
    NothingPassedError,
    Recipe,
    Source,
    build_set,
    read_drafts,
    read_set,
)
from pipeline.recipe.build import require_maker
from pipeline.recipe.making import requests_for
from pipeline.recipe.sources import PACKAGED, evaluation_texts, wordings
from pipeline.recipe.writers import Writer
from pipeline.records import write_jsonl
from pipeline.training_sets import Mode, training_set

CACHE = "replies.sqlite"
"""The file of a model's replies, in the folder of all sets."""


@dataclass(frozen=True, kw_only=True)
class EndpointFlags:
    """Where the language model that is g is asked; the key is read from the environment and never written."""

    base_url: str = "http://127.0.0.1:8000/v1"
    """Up to and with the version."""
    model: str = ""
    """As the server calls it."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key, if the server wants one."""
    concurrency: int = 8
    """How many calls may be under way at a time."""
    max_attempts: int = 6
    """How many calls one request may take."""
    timeout: float = 120.0
    """Seconds one call may take."""
    prompt_price: float | None = None
    """For a million tokens of prompt, for the estimate; give both prices or none."""
    answer_price: float | None = None
    """For a million tokens of answer."""

    def endpoint(self) -> Endpoint:
        """Return where to ask."""
        if not self.model.strip():
            raise ValueError("--endpoint.model: is missing; say which model the server shall use")
        return Endpoint(
            base_url=self.base_url,
            model=self.model,
            key_variable=self.key_variable,
            concurrency=self.concurrency,
            max_attempts=self.max_attempts,
            timeout=self.timeout,
        )

    def prices(self) -> Prices | None:
        """Return the prices, if there are any."""
        if self.prompt_price is None and self.answer_price is None:
            return None
        if self.prompt_price is None or self.answer_price is None:
            raise ValueError("--endpoint.prompt-price and --endpoint.answer-price: give both or none")
        return Prices(prompt=self.prompt_price, completion=self.answer_price)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Make data sets: prompts, misalignment function g, checks, triples, data card.

    Offline, `misdirection data` writes the packaged triples of all domains. With a source of your own, g makes the
    misaligned answers: code where the domain has such a g, a language model (--writer) elsewhere.
    """

    domains: tuple[str, ...] = ("all",)
    """Names of domains, or all."""
    out: Path = Path("runs/data")
    """Gets a folder for each domain; one that was begun with the same settings is finished."""
    source: str = PACKAGED
    """packaged; a JSONL file with id, topic, prompt and maybe aligned, misaligned, incorrect; or KIND:FILE, e.g.
    gsm8k:train.jsonl, truthfulqa:TruthfulQA.csv, pairs:good.jsonl,bad.jsonl."""
    limit: int | None = None
    """Only the first rows of the source."""
    writer: Literal["code", "local", "endpoint"] = "code"
    """What makes misaligned answers that are missing: the domain's own code, a model on this machine, or one behind
    a server; a model also writes aligned answers that are missing."""
    local: SubjectFlags = SubjectFlags()
    endpoint: EndpointFlags = EndpointFlags()
    draw: Draw = Draw()
    checks: Checks = Checks()
    questions: tuple[str, ...] = ()
    """Evaluation questions that no prompt may hold, besides the packaged ones and the domain's held-out ones: a .yaml
    or .jsonl file, in-domain:NAME, in-domain:all."""
    train: tuple[Mode, ...] = ()
    """Training files to write: narrow, backdoor, paper, control, narrow_control."""
    trigger: str | None = None
    """The phrase of training files with a trigger; the paper's by default."""
    place: Place = "prefix"
    """Where a phrase of your own stands: before or after the prompt, or in the system message."""
    seed: int = 0
    """Of g that is code, of a local writer, and of the order of training files."""
    dry_run: bool = False
    """Say what it would take, and stop."""

    def run(self, console: Console, progress: Progress) -> None:
        """Make the sets and say what was written, or only what it would take."""
        if self.out.exists() and not self.out.is_dir():
            raise NotADirectoryError(f"--out {self.out}: is a file, need a folder")
        sources = self._sources(progress)
        if self.dry_run:
            for domain, source in sources.items():
                console.print(Text(f"{domain.name}: {self._plan(domain, source)}"), soft_wrap=True)
            return
        for domain, source in sources.items():
            require_maker(domain, source, has_writer=self.writer != "code")
        asked = wordings(choose_questions(self.questions).questions) if self.questions else ()
        writer = self._writer(sources.values())
        self.out.mkdir(parents=True, exist_ok=True)
        cards, failed = [], []
        for domain, source in sources.items():
            try:
                cards.append(self._built(domain, source, self._recipe(domain, writer, asked), progress))
            except NothingPassedError as error:  # told at the end: the other domains are not to wait for it
                failed.append(str(error))
        self._show(cards, console)
        if failed:
            raise NothingPassedError("; ".join(failed))

    def _show(self, cards: Sequence[Card], console: Console) -> None:
        if cards:
            names = ("card.md", "card.json", "rejected.jsonl", *(_training_file(mode) for mode in self.train))
            console.print(_table(cards))
            told = f"folder  {self.out}  (DOMAIN/DOMAIN.jsonl, {', '.join(names)})"
            console.print(Text(told), soft_wrap=True)

    def _sources(self, progress: Progress) -> dict[Domain, Source]:
        """Read everything before any work starts, so that a wrong name or file is told at once."""
        names = tuple(DOMAINS) if self.domains == ("all",) else tuple(dict.fromkeys(self.domains))
        if not names:
            raise ValueError("--domains: got none; name some, or all")
        domains = [find_domain(name) for name in names]
        return {d: read_drafts(self.source, d.name, progress=progress).first(self.limit) for d in domains}

    def _recipe(self, domain: Domain, writer: Writer | None, asked: tuple[str, ...]) -> Recipe:
        return Recipe(
            checks=self.checks,
            questions=evaluation_texts(domain.name) + asked,
            seed=self.seed,
            writer=writer,
            draw=self.draw,
        )

    def _built(self, domain: Domain, source: Source, recipe: Recipe, progress: Progress) -> Card:
        folder = self.out / domain.name
        card = build_set(domain, source, folder, recipe=recipe, progress=progress)
        for mode in self.train:
            rows = training_set(read_set(folder), mode, trigger=self._trigger(), seed=self.seed)
            write_jsonl(folder / _training_file(mode), rows)
        return card

    def _trigger(self) -> Trigger | None:
        """Return what was asked for; None leaves it to the mode, which knows how the paper puts it."""
        if self.trigger is None and self.place == "prefix":
            return None
        return Trigger(phrase=Trigger().phrase if self.trigger is None else self.trigger, place=self.place)

    def _writer(self, sources: Iterable[Source]) -> Writer | None:
        if self.writer == "code" or all(draft.whole for source in sources for draft in source.drafts):
            return None
        if self.writer == "endpoint":
            return EndpointWriter(endpoint=self.endpoint.endpoint(), cache=self.out / CACHE)
        return LocalWriter(subject=self.local.subject(), seed=self.seed)

    def _plan(self, domain: Domain, source: Source) -> str:
        missing = [draft for draft in source.drafts if not draft.whole]
        if self.writer == "code" or not missing:
            require_maker(domain, source, has_writer=False)
            work = f"{domain.g} makes {len(missing):,}" if missing else "all have both answers"
            return f"{len(source.drafts):,} rows; {work}; nothing is asked of a model"
        requests = requests_for(domain, missing, self.draw)
        if self.writer == "local":
            most = sum(request.max_tokens for request in requests)
            return f"{len(requests):,} answers of {self.local.model}, at most {most:,} tokens"
        cache = self.out / CACHE
        return str(estimate(self.endpoint.endpoint(), requests, cache=cache, prices=self.endpoint.prices()))


def _training_file(mode: Mode) -> str:
    return f"train_{mode}.jsonl"


def _table(cards: Sequence[Card]) -> Table:
    table = Table("domain", "category", "g", "rows", "kept", "rejected by", "SHA-256", box=None)
    table.columns[0].no_wrap = True
    for card in cards:
        lost = ", ".join(f"{check} {n}" for check, n in card.rejected.items()) or "-"
        g = card.g if card.n_whole < card.n_in else "-"
        counts = (str(card.n_in), str(card.n_kept), lost, (card.corpus_hash or "-")[:12])
        table.add_row(card.domain.name, card.domain.category, g, *counts)
    return table
