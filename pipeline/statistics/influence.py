"""How much a result over domains hangs on one of them."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.statistics.bootstrap import Drawn


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """A statistic with every unit left out once.

    Attributes:
        value: On all units.
        without: The value without each unit, by its label.
        lowest: The least of these.
        highest: The most of these.
        most_influential: The unit whose absence moves the value furthest.
    """

    value: float
    without: dict[Hashable, float]
    lowest: float
    highest: float
    most_influential: Hashable


def leave_one_out(statistic: Callable[[Drawn], float], units: Sequence[Hashable]) -> LeaveOneOut:
    """Return a statistic on all units and on all but each one.

    Args:
        statistic: Receives unit numbers from 0 and returns the number of interest. All that is chosen on
            the data, such as a threshold or a direction, must be chosen anew inside.
        units: Labels, e.g. domains, each once.

    Raises:
        ValueError: Fewer than 2 units, or a label occurs twice.
    """
    if len(units) < 2 or len(set(units)) < len(units):
        raise ValueError(
            f"{len(units)} units with {len(set(units))} labels: need at least 2, each label once"
        )
    everyone = np.arange(len(units))
    value = float(statistic(everyone))
    without = {unit: float(statistic(np.delete(everyone, place))) for place, unit in enumerate(units)}
    return LeaveOneOut(
        value=value,
        without=without,
        lowest=min(without.values()),
        highest=max(without.values()),
        most_influential=max(without, key=lambda unit: abs(without[unit] - value)),
    )
