"""What a sweep's `summary.json` holds, as records: written by the sweep, read strictly by its report.

A number that could not be computed is None (null), never NaN. `low` and `high` bound the 95 % interval.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.summary import AnswerRow
from pipeline.json_text import Json, parse_json
from pipeline.json_types import from_object

SWEEP_FORMAT = "misdirection.sweep/1"


@dataclass(frozen=True, kw_only=True)
class DevRow:
    """One cell of the grid on one domain's dev triples.

    Attributes:
        direction: Its name.
        domain: Domain of the triples.
        layer: After which block it was added.
        coefficient: How much of it.
        n: Triples that could be measured.
        mean: Effect: shift of propensity, or departure of the answers, in nats per token.
        low: Lower bound.
        high: Upper bound.
        loss: Coherence lost, in nats per token; below 0 it grew.
        repetition: How much the share of repeated 3-grams grew; None for propensity.
    """

    direction: str
    domain: str
    layer: int
    coefficient: float
    n: int
    mean: float | None
    low: float | None
    high: float | None
    loss: float | None
    repetition: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen on the dev triples, before a test triple was scored.

    Attributes:
        direction: Its name.
        layer: The layer.
        coefficient: The coefficient.
        unit: Of the coefficient.
        bound: Lower bound of its effect, averaged over domains.
        coherent: Whether it keeps within the floor; False only if no cell does.
        n_coherent: Cells that do.
        n_cells: Cells of the grid.
        rule: The rule, in words.
    """

    direction: str
    layer: int
    coefficient: float
    unit: str
    bound: float | None
    coherent: bool
    n_coherent: int
    n_cells: int
    rule: str


@dataclass(frozen=True, kw_only=True)
class DoseRow:
    """The chosen direction and layer at one strength, over the dev triples of all domains; as in `DevRow`."""

    coefficient: float
    n: int
    mean: float | None
    low: float | None
    high: float | None
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    repetition: float | None


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Where coherence breaks down: the smallest strength tried whose mean loss passes the floor.

    Attributes:
        coefficient: That of either sign with the smallest absolute value; None if none breaks it.
        positive: The smallest positive one.
        negative: The negative one closest to 0.
        floor: Most nats per token that may be lost.
        repetition: Most by which repetition may grow; None for propensity.
        lowest: The lowest coefficient tried.
        highest: The highest coefficient tried.
    """

    coefficient: float | None
    positive: float | None
    negative: float | None
    floor: float
    repetition: float | None
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class HeldOutRow:
    """The chosen cell on the test triples of one domain, beside base and controls.

    Attributes:
        domain: Domain of the triples, or None for all of them together.
        n: Triples that could be measured.
        base: Mean of the measure without edits, in nats per token.
        mean: Effect of the chosen cell.
        low: Lower bound.
        high: Upper bound.
        loss: Coherence lost, in nats per token.
        repetition: How much the share of repeated 3-grams grew; None for propensity.
        random_low: 2.5th percentile of the effects of random directions.
        random_high: 97.5th percentile.
        shuffled_low: 2.5th percentile of the effects of directions of shuffled labels; None without them.
        shuffled_high: 97.5th percentile.
    """

    domain: str | None
    n: int
    base: float | None
    mean: float | None
    low: float | None
    high: float | None
    loss: float | None
    repetition: float | None
    random_low: float | None
    random_high: float | None
    shuffled_low: float | None
    shuffled_high: float | None


@dataclass(frozen=True, kw_only=True)
class ControlRow:
    """The effect of one control over all test triples; None if too few answers could be measured."""

    kind: Literal["random", "shuffled"]
    draw: int
    mean: float | None


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What the test triples say; nothing here was seen by a choice.

    Attributes:
        rows: All domains together first, then each.
        controls: Every control.
        p_random: Share of random directions, the chosen one counted in, that act at least as much.
        p_shuffled: The same for shuffled labels; None without them.
    """

    rows: tuple[HeldOutRow, ...]
    controls: tuple[ControlRow, ...]
    p_random: float | None
    p_shuffled: float | None


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """Everything a sweep found.

    Attributes:
        format: Always `misdirection.sweep/1`.
        question: What was asked.
        answer: What came out, in a sentence, from test triples alone.
        by: The measure.
        domains: Whose triples were scored.
        directions: Names of those that were tried.
        layers: Layers that were tried.
        coefficients: Those the choice was made from.
        unit: Of the coefficients.
        where: Which tokens were edited.
        subject: The fields of `SubjectFacts`.
        seed: The seed.
        seconds: How long it took.
        split: Triples per domain in extract, dev and test.
        dev: The grid on the dev triples.
        chosen: What was chosen there.
        dose: Dose-response on the dev triples.
        breakdown: Where coherence breaks down, on the dev triples.
        test: The chosen cell and its controls on the test triples.
        answers: Examples; none for propensity.
        caveats: What limits the answer, a sentence each.
        timings: Seconds for each stage.
        methods: How the numbers of a section were obtained; sections are grid, dose, test.
    """

    format: Literal["misdirection.sweep/1"] = "misdirection.sweep/1"
    question: str
    answer: str
    by: Literal["propensity", "answers"]
    domains: tuple[str, ...]
    directions: tuple[str, ...]
    layers: tuple[int, ...]
    coefficients: tuple[float, ...]
    unit: str
    where: str
    subject: dict[str, Json]
    seed: int
    seconds: float
    split: dict[str, int]
    dev: tuple[DevRow, ...]
    chosen: Choice
    dose: tuple[DoseRow, ...]
    breakdown: Breakdown
    test: HeldOut
    answers: tuple[AnswerRow, ...]
    caveats: tuple[str, ...]
    timings: dict[str, float]
    methods: dict[str, str] = field(default_factory=dict)


def read_sweep_summary(path: Path) -> SweepSummary:
    """Read a sweep's `summary.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or of another format; says which key, what came and what is allowed.
    """
    return from_object(parse_json(Path(path).read_bytes(), str(path)), SweepSummary, str(path))
