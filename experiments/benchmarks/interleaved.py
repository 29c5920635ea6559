"""Time several ways of doing one job, interleaved in one process, and report ratios with their spread."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One way of doing the job.

    Attributes:
        name: Which way.
        seconds: Median time of a round.
        ratio: Median over rounds of its time by that of the reference in the same round.
        low: 2.5 % quantile of the ratio's median over bootstrap draws of rounds.
        high: 97.5 % quantile of the same.
        rounds: How often it was timed.
    """

    name: str
    seconds: float
    ratio: float
    low: float
    high: float
    rounds: int


def interleaved(
    jobs: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1, seed: int = 0
) -> tuple[Timing, ...]:
    """Run every job once per round, in a new random order each time; the first job named is the reference.

    Noise that comes and goes hits all jobs of a round alike, so the ratio within a round is what is kept.
    """
    for _ in range(warm_up):
        for job in jobs.values():
            job()
    draw = np.random.default_rng(seed)
    names = list(jobs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for i in draw.permutation(len(names)):
            gc.collect()
            began = time.perf_counter()
            jobs[names[i]]()
            seconds[names[i]].append(time.perf_counter() - began)
    reference = np.array(seconds[names[0]])
    return tuple(_timing(name, np.array(seconds[name]), reference, draw) for name in names)


def _timing(name: str, seconds: np.ndarray, reference: np.ndarray, draw: np.random.Generator) -> Timing:
    ratios = seconds / reference
    picks = draw.integers(len(ratios), size=(2000, len(ratios)))
    low, high = np.quantile(np.median(ratios[picks], axis=1), (0.025, 0.975))
    return Timing(
        name=name,
        seconds=median(seconds.tolist()),
        ratio=float(np.median(ratios)),
        low=float(low),
        high=float(high),
        rounds=len(seconds),
    )
