"""Pool an effect over domains that differ: its mean, how much domains vary, what a new domain may show."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pipeline.statistics.checks import Number, as_matched
from pipeline.statistics.estimate import Estimate
from pipeline.statistics.intervals import t_interval


@dataclass(frozen=True, kw_only=True)
class RandomEffects:
    """What effects measured in several domains say together.

    Attributes:
        mean: The mean effect over domains like these, with a Hartung-Knapp interval.
        prediction: The same value with the interval for the true effect in one more such domain.
        tau2: Variance of the true effects between domains, in squared units of the effect.
        i2: Share of the observed variation that is due to it, 0 to 1.
        q: Cochran's Q.
        q_p: p of Q if all domains had one effect.
        scale: Hartung-Knapp's variance over the classical one. Below 1 the interval is shorter than the
            errors of the domains alone would make it: chance agreement, to be read with caution.
    """

    mean: Estimate
    prediction: Estimate
    tau2: float
    i2: float
    q: float
    q_p: float
    scale: float


def random_effects(
    effects: ArrayLike, standard_errors: ArrayLike, *, level: float = 0.95, least_scale: Number = 0.0
) -> RandomEffects:
    """Summarise one effect per domain, where both the domains and the questions in them are samples.

    It replaces counting significant domains. The prediction interval has domains - 2 degrees of freedom,
    so two domains give none (-inf to inf). From nine domains it is a sketch: they say so little about tau2
    that "95 %" held a new domain's effect in 82 to 93 % of simulations. The mean's own interval missed in 5 %
    with equal errors, in up to 9 % with errors that differ six-fold (7 % with `least_scale` 1).

    Args:
        effects: One per domain, e.g. alignment with the trigger minus without, in points.
        standard_errors: Their standard errors, e.g. over the domain's questions; each above 0.
        level: Coverage of both intervals.
        least_scale: 1 keeps the interval from being shorter than the classical one (modified
            Hartung-Knapp, Röver et al. 2015); 0 is Hartung and Knapp's own.

    Raises:
        ValueError: There are fewer than 2 domains, the lists do not match, or an error is not above 0.

    Source:
        DerSimonian and Laird (1986); Hartung and Knapp (2001), Statistics in Medicine 20; prediction
        interval: Higgins, Thompson and Spiegelhalter (2009), JRSS A 172, with Hartung-Knapp's error.
    """
    y, se = as_matched(effects, standard_errors, ("effects", "standard_errors"), at_least=2)
    if (se <= 0).any():
        worst = int(np.argmin(se))
        raise ValueError(
            f"standard_errors: {se[worst]:g} at {worst}, allowed: above 0 (no domain is known exactly)"
        )
    k = len(y)
    precision = se**-2
    q = float(precision @ (y - precision @ y / precision.sum()) ** 2)
    spread = precision.sum() - (precision @ precision) / precision.sum()
    tau2 = max(0.0, (q - (k - 1)) / float(spread))
    weights = 1 / (se**2 + tau2)
    mean = float(weights @ y / weights.sum())
    scale = float(weights @ (y - mean) ** 2) / (k - 1)
    variance = max(scale, least_scale) / float(weights.sum())
    new_domain = math.sqrt(tau2 + variance)
    return RandomEffects(
        mean=t_interval(mean, math.sqrt(variance), k - 1, k, level, "DerSimonian-Laird, Hartung-Knapp"),
        prediction=t_interval(mean, new_domain, k - 2, k, level, "prediction for a new domain"),
        tau2=tau2,
        i2=max(0.0, 1 - (k - 1) / q) if q else 0.0,
        q=q,
        q_p=float(stats.chi2.sf(q, k - 1)),
        scale=scale,
    )
