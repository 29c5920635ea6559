"""What the doctor found: one record for each check, and the examination that they make up."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pipeline.disk import replace_file
from pipeline.json_text import json_bytes, parse_json
from pipeline.json_types import from_object

Verdict = Literal["ok", "differs by", "FAILED", "measured"]
"""`differs by` is a difference that rounding explains; `measured` is a number that promises nothing."""

TOLERANCE = 1e-4
"""What float32 must meet: nats for log-probabilities, shares of the norm for residuals."""

NOISE_FACTOR = 5.0
"""Beyond this many times of what rounding alone does, a difference is not rounding."""

FILE = "doctor.json"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: Of the check.
        question: What was checked, in words.
        measured: What came out; None where no finite number did.
        unit: Of `measured`.
        verdict: Whether the guarantee holds.
        meaning: What that means for the user.
    """

    name: str
    question: str
    measured: float | None
    unit: str
    verdict: Verdict
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What each verdict on a difference means for the user."""

    ok: str
    differs: str
    failed: str


@dataclass(frozen=True, kw_only=True)
class Examination:
    """All checks of one model, as `doctor.json` holds them.

    Attributes:
        model: Facts of the subject, as JSON.
        dtype: Of its weights.
        device: Where it ran.
        versions: Of the packages that the numbers depend on.
        template: How chats were written: `chat` or `plain`.
        notes: What the reader must know besides.
        seconds: How long it took.
        results: One for each check.
    """

    format: Literal["misdirection.doctor/1"] = "misdirection.doctor/1"
    model: dict[str, Any]
    dtype: str
    device: str
    versions: dict[str, str]
    template: str
    notes: tuple[str, ...]
    seconds: float
    results: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(result.name for result in self.results if result.verdict == "FAILED")

    def save(self, folder: Path) -> Path:
        """Write `doctor.json` into a folder, whole or not at all; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / FILE, json_bytes(self, FILE, indent=2))
        return folder / FILE

    @classmethod
    def load(cls, path: Path) -> "Examination":
        """Read what `save` wrote.

        Raises:
            ValueError: The file is not an examination of this format.
        """
        return from_object(parse_json(path.read_bytes(), str(path)), cls, str(path))


def graded(
    name: str, question: str, difference: float, unit: str, *, noise: float, meaning: Meaning
) -> CheckResult:
    """Return the verdict on a difference that should be zero.

    Args:
        name: Of the check.
        question: What was checked.
        difference: The largest found; NaN fails.
        unit: Of the difference.
        noise: What rounding in the model's data type alone does, in the same unit; 0 where `TOLERANCE` counts.
        meaning: What to tell the user.
    """
    verdict = verdict_on(difference, noise)
    told = {"ok": meaning.ok, "differs by": meaning.differs, "FAILED": meaning.failed}[verdict]
    if verdict == "differs by":
        told += f" Rounding alone does up to {noise:.2g}."
    return CheckResult(
        name=name, question=question, measured=finite(difference), unit=unit, verdict=verdict, meaning=told
    )


def verdict_on(difference: float, noise: float) -> Verdict:
    """Return whether a difference is none to speak of, what rounding does, or more."""
    if difference <= TOLERANCE:
        return "ok"
    return "differs by" if difference <= NOISE_FACTOR * noise else "FAILED"


def finite(number: float) -> float | None:
    """Return a number as JSON can hold it."""
    return float(number) if isfinite(number) else None
