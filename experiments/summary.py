"""What the demo's `summary.json` holds, as records: written by the demo, read strictly by its report.

A number that could not be computed is None (null), never NaN. `low` and `high` bound the 95 % interval.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.json_text import Json, parse_json
from pipeline.json_types import MaybeBlank, from_object

DEMO_FORMAT = "misdirection.demo/1"


@dataclass(frozen=True, kw_only=True)
class CosineRow:
    """The cosine of two domains' directions.

    Attributes:
        a: One domain.
        b: The other.
        cosine: From -1 to 1.
        ceiling: The cosine that noise would leave of two equal directions; None if it was not computed.
        n: Triples behind each direction.
    """

    a: str
    b: str
    cosine: float
    ceiling: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class CosineFloor:
    """How large a cosine is by chance: 95 % of draws are smaller in absolute value.

    Attributes:
        random_95: Of random directions.
        shuffled_95: Of directions extracted from shuffled labels.
        n_draws: Draws behind each.
    """

    random_95: float
    shuffled_95: float | None
    n_draws: int


@dataclass(frozen=True, kw_only=True)
class Cosines:
    """How alike the domains' directions are at one layer."""

    layer: int
    rows: tuple[CosineRow, ...]
    floor: CosineFloor


@dataclass(frozen=True, kw_only=True)
class ReliabilityRow:
    """How far a direction would come out the same from other triples.

    Attributes:
        domain: The domain.
        layer: The layer, from 0.
        split_half: Cosine of the directions of two halves of the triples.
        low: Lower bound.
        high: Upper bound.
        angle_median: Median angle between bootstrap directions and the direction, in degrees.
        n: Triples.
    """

    domain: str
    layer: int
    split_half: float
    low: float | None
    high: float | None
    angle_median: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """Shift of propensity on the dev split when a domain's own direction is added, in nats per token."""

    domain: str
    layer: int
    coefficient: float
    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The layer and coefficient chosen on the dev split and used on the test split."""

    layer: int
    coefficient: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """Propensity of the untouched model on the test split, in nats per token; below 0 it is aligned."""

    domain: str
    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class TransferRow:
    """Shift of propensity of one domain's test split under another domain's direction, in nats per token.

    Attributes:
        source: Domain of the direction.
        target: Domain of the questions.
        n: Questions.
        mean: Shift.
        low: Lower bound.
        high: Upper bound.
        p: Share of random directions that shift at least as far.
        p_holm: The same, adjusted for the number of cells.
        n_random: Random directions.
        random_mean: Mean of their shifts.
        random_low: 2.5th percentile of their shifts.
        random_high: 97.5th percentile of their shifts.
    """

    source: str
    target: str
    n: int
    mean: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n_random: int
    random_mean: float | None
    random_low: float | None
    random_high: float | None


@dataclass(frozen=True, kw_only=True)
class RandomRow:
    """Shift under one random direction of the same norm."""

    target: str
    draw: int
    mean: float


@dataclass(frozen=True, kw_only=True)
class SteeredAnswer:
    """An answer under steering, with the audit of its edits.

    Attributes:
        coefficient: The coefficient.
        text: What the model wrote.
        n_edited_prefill: Prompt tokens that were edited.
        n_edited_decode: Answer tokens that were edited.
        relative_shift: Length of the edit over the residual's norm.
    """

    coefficient: float
    text: MaybeBlank
    n_edited_prefill: int
    n_edited_decode: int
    relative_shift: float | None


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """Answers to one prompt, side by side."""

    domain: str
    prompt: MaybeBlank
    base: MaybeBlank
    steered: tuple[SteeredAnswer, ...]


@dataclass(frozen=True, kw_only=True)
class DemoSummary:
    """Everything the demo found.

    Attributes:
        format: Always `misdirection.demo/1`.
        question: What was asked.
        answer: What came out, in a sentence.
        domains: In the order of the tables.
        subject: The fields of `SubjectFacts`.
        seed: The seed.
        seconds: How long it took.
        split: Triples per domain in extract, dev and test.
        cosines: How alike the directions are.
        reliability: How stable they are.
        sweep: Which layer and coefficient act.
        chosen: Those that were chosen.
        baseline: The untouched model.
        transfer: Every direction on every domain.
        random: Random directions.
        answers: Examples.
        caveats: What limits the answer, a sentence each.
        timings: Seconds for each stage.
        methods: How the numbers of a section were obtained, e.g. {"transfer": "bootstrap over questions"};
            sections are cosines, reliability, sweep, baseline, transfer, random, answers.
    """

    format: Literal["misdirection.demo/1"] = "misdirection.demo/1"
    question: str
    answer: str
    domains: tuple[str, ...]
    subject: dict[str, Json]
    seed: int
    seconds: float
    split: dict[str, int]
    cosines: Cosines
    reliability: tuple[ReliabilityRow, ...]
    sweep: tuple[SweepRow, ...]
    chosen: Chosen
    baseline: tuple[BaselineRow, ...]
    transfer: tuple[TransferRow, ...]
    random: tuple[RandomRow, ...]
    answers: tuple[AnswerRow, ...]
    caveats: tuple[str, ...]
    timings: dict[str, float]
    methods: dict[str, str] = field(default_factory=dict)


def read_demo_summary(path: Path) -> DemoSummary:
    """Read a demo's `summary.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or of another format; says which key, what came and what is allowed.
    """
    return from_object(parse_json(Path(path).read_bytes(), str(path)), DemoSummary, str(path))
