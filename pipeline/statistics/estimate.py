"""A number with its uncertainty: the record that every interval of the toolkit comes in."""

import math
from dataclasses import asdict, dataclass

from pipeline.statistics.checks import Number, require_share


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value, its interval, and what the interval rests on.

    Attributes:
        value: The estimate; nan where there is nothing to estimate from (0 of 0).
        low: Lower end; -inf where the data set no bound (one unit alone).
        high: Upper end; inf where the data set no bound.
        n: Independent units behind it: questions or domains, not samples.
        level: Coverage the interval aims at.
        method: How the interval was made, in words for the report.
    """

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95
    method: str

    def __post_init__(self) -> None:
        """Refuse an interval that is upside down, or a level that is no share."""
        require_share(self.level, "level")
        if not self.low <= self.high:
            raise ValueError(f"interval {self.low} to {self.high}: the ends must be numbers in this order")

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] ({100 * self.level:g} %, n={self.n})"

    def excludes(self, value: Number) -> bool:
        """Tell whether a value, such as 0 for no difference, lies outside the interval."""
        return not self.low <= value <= self.high

    def as_row(self) -> dict[str, float | int | str | None]:
        """Return the fields for JSON, where an end that is not bounded, or a missing value, is None."""
        row: dict[str, float | int | str | None] = asdict(self)
        return {
            name: None if isinstance(field, float) and not math.isfinite(field) else field
            for name, field in row.items()
        }
