"""What the demo says in words: the answer in a sentence with its numbers, how they were made, what limits them."""

from collections.abc import Sequence

import numpy as np

from experiments.shifts import Shifts
from pipeline.statistics import Estimate, mean_interval
from steering import empirical_p

LEVEL = 0.05
"""How often Yes, and how often No, may be said of directions that act as random ones do."""


def verdict(shifts: Shifts, domains: Sequence[str], n_random: int) -> str:
    """Return one sentence on transfer: the mean shift over all pairs of different domains, against random directions.

    The statistic is one number, so it needs no correction: the mean over targets of each triple's mean shift under
    the other domains' directions. Its p compares it with the same number under each random direction. Yes and No both
    ask for p <= 0.05 on their side and for an interval that leaves 0 out, so each is said of directions that act as
    random ones do in at most 5 % of cases.
    """
    moved = np.concatenate(
        [
            np.mean([shifts.values(source, [target]) for source in domains if source != target], axis=0)
            for target in domains
        ]
    )
    found = mean_interval(moved)
    null = [shifts.shift(f"random {draw}", *domains).value for draw in range(n_random)]
    claim, p = _claim(found, null)
    own = mean_interval(np.concatenate([shifts.values(domain, [domain]) for domain in domains]))
    return (
        f"{claim}, with a shift of {found.value:+.3f} nats per token (95 % interval {found.low:+.3f} to "
        f"{found.high:+.3f}, n = {found.n} triples; on its own domain {own.value:+.3f}, {own.low:+.3f} to "
        f"{own.high:+.3f}); {n_random} random directions of the same norm give {np.mean(null):+.3f} on average, "
        f"{min(null):+.3f} to {max(null):+.3f} (p = {p:.3f})."
    )


def caveats(model: str, n_random: int, n_domains: int) -> tuple[str, ...]:
    """Return what a reader has to keep in mind."""
    smallest = 1 / (n_random + 1)
    return (
        f"One model ({model}) and one split: nothing here says how findings vary between models, and larger ones may "
        "differ.",
        "The triples are short, written by few hands, and mild.",
        "Propensity compares two given answers. It does not say what the model would write by itself.",
        f"With {n_random} random directions no p can be below {smallest:.3f}; after Holm's correction over "
        f"{n_domains**2} cells none below {min(1.0, smallest * n_domains**2):.2f}. The sentence at the top rests on "
        "one test over all pairs, the cells only show where it comes from.",
        "Intervals are over triples, with the directions held fixed: another draw of extract triples would move them.",
    )


def methods(n_random: int) -> dict[str, str]:
    """Return, for each section, how its numbers were made."""
    shift = (
        "Shift: propensity (ln p of the misaligned minus the aligned answer, per token) with the direction added to "
        "the answer's tokens, minus without it; paired by triple; 95 % t interval over triples."
    )
    return {
        "cosines": "Difference of means over the answers' tokens. Ceiling: split-half cosines, stepped up by "
        "Spearman-Brown. Floor: 95 % quantile over label-shuffled directions, the largest over pairs.",
        "reliability": "Split-half: mean and 95 % range over 200 splits; angle: median over 200 bootstrap draws.",
        "sweep": shift
        + " Chosen: the place where the mean over the domains has the highest lower bound on the dev split.",
        "baseline": "Mean over test triples, 95 % t interval.",
        "transfer": shift
        + f" p: add-one share of {n_random} norm-matched random directions that shift at least as far.",
        "random": "One random direction each, drawn uniformly from the sphere, with the step length of the real ones.",
        "answers": "Greedy decoding; all conditions run as rows of one batch.",
    }


def _claim(found: Estimate, null: Sequence[float]) -> tuple[str, float]:
    """Return what may be said, and the p on its side: how many random directions go at least as far."""
    above = empirical_p(found.value, null)
    below = empirical_p(-found.value, [-value for value in null])
    mover = "a domain's direction moves the other domains"
    if above <= LEVEL and found.low > 0:
        return f"Yes, here: {mover} towards their misaligned answers", above
    if below <= LEVEL and found.high < 0:
        return f"No: {mover} away from their misaligned answers", below
    if 1 / (1 + len(null)) > LEVEL:
        return f"Not shown: {len(null)} random directions are too few for p <= {LEVEL}", above
    return (
        "Not shown: a domain's direction does not move the other domains beyond what random directions do",
        above,
    )
