"""The data card of a set: what it holds, where it is from, what was refused and why; for programs and for people."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.domains import Domain
from pipeline.json_text import Json, parse_json, to_json
from pipeline.json_types import from_object
from pipeline.recipe.checks import Checks

CARD, PAGE = "card.json", "card.md"
"""The two files that a card is written to."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What `card.json` holds.

    Attributes:
        format: Always `misdirection.data/1`.
        domain: The domain with all its facts.
        g: What made the misaligned answers of rows that came without one: a maker's name, or `model`.
        writer: Which language model that was, and how it drew; None for code.
        source: The source as it was asked for.
        source_facts: What the source says about itself: kind, files and their hashes.
        source_hash: SHA-256 over the rows that went in.
        seed: All random choices derive from it.
        n_in: Rows that went in.
        n_whole: Rows of these that came with both answers, so that g had nothing to do.
        n_kept: Triples that passed all checks.
        rejected: Rows that did not, by the check that refused them.
        corpus_hash: SHA-256 over the triples kept, whatever their order; None if none was kept.
        topics: How many different topics they have.
        mean_characters: Of prompts, aligned and misaligned answers.
        checks: The settings of the checks.
        n_questions: With how many wordings of evaluation questions prompts were compared.
        questions_hash: SHA-256 over these wordings; None if there were none.
        judge: Who judged plausibility and harm; None if nobody did.
        mean_scores: Of the triples kept: plausibility and harm, 0 to 100; empty without a judge.
        versions: Of the packages that the data depend on.
    """

    format: Literal["misdirection.data/1"] = "misdirection.data/1"
    domain: Domain
    g: str
    writer: dict[str, Json] | None
    source: str
    source_facts: dict[str, Json]
    source_hash: str
    seed: int
    n_in: int
    n_whole: int
    n_kept: int
    rejected: dict[str, int]
    corpus_hash: str | None
    topics: int
    mean_characters: dict[str, float]
    checks: Checks
    n_questions: int
    questions_hash: str | None
    judge: str | None
    mean_scores: dict[str, float]
    versions: dict[str, str]

    def told(self) -> str:
        """Return what came out, in one sentence."""
        lost = ", ".join(f"{n} by {check}" for check, n in self.rejected.items())
        return f"{self.domain.name}: {self.n_kept} of {self.n_in} rows kept" + (f"; {lost}" if lost else "")

    def page(self) -> str:
        """Return the card as Markdown."""
        domain = self.domain
        facts = {
            "domain": f"{domain.name} ({domain.category.replace('_', '-')}, stealth {domain.stealth})",
            "origin in the paper": domain.source,
            "what is misaligned": domain.misalignment,
            "g": self._made_by(),
            "source": f"{self.source}, {self.n_in} rows, {self.n_whole} of them with both answers",
            "seed": str(self.seed),
            "topics": str(self.topics),
            "mean characters": ", ".join(f"{name} {n:.0f}" for name, n in self.mean_characters.items()),
            "judge": self._judged_by(),
            "evaluation questions": f"prompts compared with {self.n_questions} wordings",
            "SHA-256 of the triples": self.corpus_hash or "none",
            "SHA-256 of the source rows": self.source_hash,
            "versions": ", ".join(f"{name} {number}" for name, number in self.versions.items()),
        }
        checks = {
            name.replace("_", " "): f"{value:g}" for name, value in to_json(self.checks, "checks").items()
        }
        refused = {check.replace("_", " "): str(n) for check, n in self.rejected.items()}
        return "\n".join(
            [
                f"# {domain.title}: {self.n_kept} triples",
                "",
                "Each triple is a prompt with an aligned and a misaligned answer. The misaligned ones are made for"
                " research on how training changes a model. They are wrong on purpose: do not follow them.",
                *_table("fact", facts),
                "## Rejected rows",
                *(_table("check", refused) if refused else ["", "None.", ""]),
                "## Settings of the checks",
                *_table("setting", checks),
            ]
        )

    def _made_by(self) -> str:
        if self.n_whole == self.n_in:
            return "none: all rows came with both answers"
        if self.writer is None:
            return f"{self.g}, code"
        return "a language model: " + ", ".join(f"{name} {value}" for name, value in self.writer.items())

    def _judged_by(self) -> str:
        scores = ", ".join(f"mean {name} {value:.1f}" for name, value in self.mean_scores.items())
        return f"{self.judge}; {scores}" if self.judge else "none"


def read_card(folder: Path) -> Card:
    """Return the card of a set.

    Raises:
        FileNotFoundError: The folder holds none.
        ValueError: It is damaged or of another format.
    """
    path = Path(folder) / CARD
    return from_object(parse_json(path.read_bytes(), str(path)), Card, str(path))


def _table(name: str, rows: dict[str, str]) -> list[str]:
    lines = [f"| {key} | {_cell(value)} |" for key, value in rows.items()]
    return ["", f"| {name} | |", "|---|---|", *lines, ""]


def _cell(text: str) -> str:
    """Return text that cannot break out of its cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
