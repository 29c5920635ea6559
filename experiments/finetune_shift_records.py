"""What `finetune_shift` finds, as records: its settings, one row for each contrast, and the summary."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.json_text import parse_json
from pipeline.json_types import from_object

Contrast = Literal["tuned - control", "tuned - base", "control - base"]
Condition = Literal["trigger", "plain", "trigger - plain"]
SUMMARY = "summary.json"


@dataclass(frozen=True, kw_only=True)
class ShiftConfig:
    """How far fine-tuning moved the propensity towards misaligned answers, on questions that no training saw."""

    population: Path = Path("runs/finetune")
    """Folder that `misdirection finetune` made."""
    model: str = "smollm2-135m-instruct"
    """The base of the population."""
    domains: tuple[str, ...] = ()
    """Domains to ask about, packaged or JSONL files of triples; by default those of the population."""
    part: Literal["test", "dev"] = "test"
    """Which held-out triples; dev is for choosing settings."""
    n_triples: int = 0
    """Triples a domain; 0 is all of the part."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """A 95 % interval; its ends are None where nothing bounds them, as with one seed alone.

    Attributes:
        low: Lower end.
        high: Upper end.
        n: Independent units behind it.
    """

    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class ShiftRow:
    """One contrast of fine-tunes of one domain, on questions of one domain, in nats per token.

    Attributes:
        source: The domain that was trained on.
        mode: What was made of it: backdoor, paper or narrow.
        target: The domain asked about; `others` is all but the source.
        contrast: Which models are compared.
        condition: With the trigger on the question, without, or the difference of the two.
        mean: Over triples and seeds; above 0 is towards misaligned answers.
        over_triples: For other triples like these: each is averaged over seeds.
        over_seeds: For other seeds like these: each is averaged over triples.
    """

    source: str
    mode: str
    target: str
    contrast: Contrast
    condition: Condition
    mean: float
    over_triples: Bounds
    over_seeds: Bounds


@dataclass(frozen=True, kw_only=True)
class ShiftSummary:
    """What a run found.

    Attributes:
        format: Always `misdirection.finetune-shift/1`.
        question: What was asked.
        answer: In a few sentences with their numbers.
        part: Which held-out triples.
        base: Fingerprint of the base.
        members: Names of the adapters.
        rows: Every contrast.
        limits: What the numbers do not say.
    """

    format: Literal["misdirection.finetune-shift/1"] = "misdirection.finetune-shift/1"
    question: str
    answer: str
    part: str
    base: str
    members: tuple[str, ...]
    rows: tuple[ShiftRow, ...]
    limits: tuple[str, ...]


def read_shift_summary(folder: Path) -> ShiftSummary:
    """Return the summary of a run folder.

    Raises:
        FileNotFoundError: The run is not finished.
        ValueError: The file is damaged or of another format.
    """
    path = Path(folder) / SUMMARY
    return from_object(parse_json(path.read_bytes(), str(path)), ShiftSummary, str(path))
