"""Time several ways of doing one job, interleaved in one process, and report ratios with their spread."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np

from activations.progress import Progress, silent


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
        scale: By how much times were multiplied: where only a part of the job was run, whole by part.
    """

    name: str
    seconds: float
    ratio: float
    low: float
    high: float
    rounds: int
    scale: float = 1.0

    @property
    def interval(self) -> str:
        """The interval as tables show it."""
        return f"{self.low:.2f} to {self.high:.2f}"


def interleaved(
    jobs: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 1,
    seed: int = 0,
    scales: Mapping[str, float] | None = None,
    progress: Progress = silent,
) -> tuple[Timing, ...]:
    """Run every job once per round, in a new random order each time; the first job named is the reference.

    Noise that comes and goes hits all jobs of a round alike, so the ratio within a round is what is kept.

    Args:
        jobs: What to time, by name.
        rounds: How often.
        warm_up: Rounds before that, not timed.
        seed: Of the order and of the bootstrap.
        scales: For jobs that do only a part of the work: the whole by that part. Their times are multiplied.
        progress: Told how many jobs are done.

    Raises:
        ValueError: There is no job or no round, or a scale names no job.
    """
    names, factors = list(jobs), dict(scales or {})
    if not names or rounds < 1 or not set(factors) <= set(names):
        raise ValueError(f"interleaved: {rounds} rounds of {names}, scales for {sorted(factors)}")
    draw = np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with progress("benchmark", (warm_up + rounds) * len(names)) as advance, _settled():
        for turn in range(warm_up + rounds):
            for i in draw.permutation(len(names)):
                gc.collect()
                began = time.perf_counter()
                jobs[names[i]]()
                took = time.perf_counter() - began
                if turn >= warm_up:
                    seconds[names[i]].append(took * factors.get(names[i], 1.0))
                advance(1)
    return tuple(
        compared(name, np.array(seconds[name]), np.array(seconds[names[0]]), draw, factors.get(name, 1.0))
        for name in names
    )


@contextmanager
def _settled() -> Iterator[None]:
    """Leave what lives now out of the garbage collections inside the block: they would take longer than some jobs."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def compared(
    name: str, seconds: np.ndarray, reference: np.ndarray, draw: np.random.Generator, scale: float = 1.0
) -> Timing:
    """Return how the times of one way compare with those of the reference, round by round."""
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
        scale=scale,
    )
