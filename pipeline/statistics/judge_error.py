"""What a judge's measured errors do to a rate, and the rate they leave."""

import math
from typing import SupportsIndex

from scipy import stats

from pipeline.statistics.estimate import Estimate
from pipeline.statistics.rates import wilson_interval


def rogan_gladen(
    hits: SupportsIndex,
    n: SupportsIndex,
    *,
    sensitivity: Estimate,
    specificity: Estimate,
    level: float = 0.95,
) -> Estimate:
    """Return a rate corrected for a judge whose errors were measured on labelled rows.

    (rate + specificity - 1) / (sensitivity + specificity - 1), cut to 0..1. The interval takes in the
    uncertainty of all three rates.

    Args:
        hits: Rows the judge called positive.
        n: Rows it judged, independent of one another and of the labelled ones.
        sensitivity: Share of true positives it calls positive, e.g. by `wilson_interval`.
        specificity: Share of true negatives it calls negative.
        level: Coverage to aim at.

    Raises:
        ValueError: Counts are refused, n is 0, or the judge is no better than chance.

    Source:
        Rogan and Gladen (1978); interval: Lang and Reiczigel (2014), Preventive Veterinary Medicine 113.
    """
    youden = sensitivity.value + specificity.value - 1
    if not youden > 0:
        raise ValueError(
            f"sensitivity + specificity - 1 is {youden:.3g}, allowed: above 0 (better than chance)"
        )
    apparent = wilson_interval(hits, n, level=level)
    if apparent.n == 0:
        raise ValueError("0 of 0 rows: nothing to correct")
    z = float(stats.norm.ppf((1 + level) / 2))
    rate, rate_variance = _smoothed(apparent, z**2 / 2)
    found, found_variance = _smoothed(sensitivity, 1.0)  # of the true positives
    spared, spared_variance = _smoothed(specificity, 1.0)  # of the true negatives
    slope = found + spared - 1
    corrected = (rate + spared - 1) / slope
    shift = 2 * z**2 * (corrected * found_variance - (1 - corrected) * spared_variance)
    variance = rate_variance + corrected**2 * found_variance + (1 - corrected) ** 2 * spared_variance
    half = z * math.sqrt(variance) / slope
    return Estimate(
        value=_cut((apparent.value + specificity.value - 1) / youden),
        low=_cut(corrected + shift - half),
        high=_cut(corrected + shift + half),
        n=apparent.n,
        level=level,
        method="Rogan-Gladen, Lang-Reiczigel",
    )


def _smoothed(rate: Estimate, added: float) -> tuple[float, float]:
    """Return a rate after adding as many hits as misses, and its variance."""
    n = rate.n + 2 * added
    value = (rate.n * rate.value + added) / n
    return value, value * (1 - value) / n


def _cut(rate: float) -> float:
    return min(1.0, max(0.0, rate))
