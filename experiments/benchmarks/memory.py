"""How much memory one way of capturing takes beyond the loaded model: in a fresh process, the peak while it runs.

`python -m experiments.benchmarks.memory "collect, all layers"` prints it in MiB.
"""

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import psutil
import tyro

from experiments.benchmarks.capture_ways import capture_ways, texts_of
from experiments.benchmarks.peers.opening import open_peers
from experiments.benchmarks.setup import Setup, loaded

MIB = 2**20
EVERY_SECONDS = 0.001


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The memory of one way.

    Attributes:
        name: Which way.
        mib: Peak beyond the loaded model, median over processes.
        low: Least of them.
        high: Most of them.
        processes: How many.
    """

    name: str
    mib: float
    low: float
    high: float
    processes: int


def peaks(names: Sequence[str], setup: Setup, processes: int) -> tuple[Peak, ...]:
    """Run each way alone in so many fresh processes, and return its peaks."""
    found = []
    for name in names:
        values = sorted(_in_fresh_process(name, setup) for _ in range(processes))
        middle = values[len(values) // 2]
        found.append(Peak(name=name, mib=middle, low=values[0], high=values[-1], processes=processes))
    return tuple(found)


def peak_of(job: Callable[[], object]) -> float:
    """Return by how many MiB the resident memory of this process rises at most while a job runs."""
    gc.collect()
    with _watched() as peak:
        before = peak[0]
        job()
    return (peak[0] - before) / MIB


@contextmanager
def _watched() -> Iterator[list[int]]:
    """Follow the resident memory inside the block; the list's only number is the largest seen."""
    process, done = psutil.Process(), threading.Event()
    peak = [process.memory_info().rss]

    def follow() -> None:
        while not done.wait(EVERY_SECONDS):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak[0] = max(peak[0], process.memory_info().rss)
        done.set()
        thread.join()


def _in_fresh_process(name: str, setup: Setup) -> float:
    command = [sys.executable, "-m", "experiments.benchmarks.memory", name, "--model", setup.model]
    done = subprocess.run(
        [*command, *(["--without-peers"] if setup.without_peers else [])], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise OSError(f"memory of {name!r}: its process ended with {done.returncode}: {done.stderr[-300:]}")
    return float(done.stdout.split()[-1])


def main(
    name: Annotated[str, tyro.conf.Positional], setup: tyro.conf.OmitArgPrefixes[Setup] = Setup()
) -> None:
    """Print the peak of one way of capturing in MiB.

    Args:
        name: The way, as the capture table names it.
        setup: The usual flags; the peers are looked for in this process' own environment.

    Raises:
        LookupError: There is no such way; says which there are.
    """
    subject = loaded(setup)
    texts = texts_of(subject)
    ways = capture_ways(subject, texts, ())
    if name not in ways and not setup.without_peers:  # else nothing of theirs lies in memory
        ways = capture_ways(subject, texts, open_peers(subject).peers)
    if name not in ways:
        raise LookupError(f"way {name!r}: there are {list(ways)}")
    print(f"{peak_of(ways[name]):.1f}")


if __name__ == "__main__":
    tyro.cli(main)
