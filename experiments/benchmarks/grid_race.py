"""The engine and loops over the same cells, timed against each other and compared row by row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from activations import Subject, Where
from activations.encode import Batch
from activations.hooks import plain_model
from activations.progress import Progress, silent
from experiments.benchmarks.agreement import Agreement, compare_rows, refused
from experiments.benchmarks.interleaved import Timing, interleaved
from experiments.benchmarks.peers import plain
from experiments.benchmarks.peers.contract import Peer
from experiments.benchmarks.peers.opening import Opened
from experiments.benchmarks.setup import Chats, Job, batch_of, shift_of
from experiments.benchmarks.work import (
    GeneratedRow,
    Shape,
    engine_operations,
    loop_operations,
    matmul_rate,
)
from steering import Cell, generate

ENGINE = "row engine"
LOOP = "loop, hooks by hand"


@dataclass(frozen=True, kw_only=True)
class Race:
    """One grid, by the engine and by every loop.

    Attributes:
        where: Which tokens were steered.
        cells: Cells of the grid.
        rows: Rows of the grid.
        new_tokens: New tokens that its rows have in all.
        timings: The engine first; of the loops the ratio is how many times longer they take.
        agreement: How the loops' rows compare with the engine's, by name of the loop.
        engine_operations: Floor of the arithmetic that the engine has to do.
        loop_operations: That of the loop.
        matmul_rate: Operations per second of large matrix products: the larger of those before and after.
        share: Part of that rate that the engine reached.
    """

    where: str
    cells: int
    rows: int
    new_tokens: int
    timings: tuple[Timing, ...]
    agreement: dict[str, Agreement]
    engine_operations: int
    loop_operations: int
    matmul_rate: float
    share: float

    @property
    def arithmetic(self) -> str:
        """The share of the machine's rate, in words and numbers."""
        floor = self.engine_operations / self.matmul_rate
        return (
            f"The grid needs at least {self.engine_operations / 1e12:.2f} x 10^12 operations, "
            f"{floor:.1f} s at the {self.matmul_rate / 1e9:.0f} x 10^9 a second of large matrix products; the engine "
            f"took {self.timings[0].seconds:.1f} s, {self.share:.0%} of that rate. The loop's operations are "
            f"{self.loop_operations / self.engine_operations:.1f} times as many."
        )


@dataclass(frozen=True, eq=False)
class _Grid:
    """What every way runs, and what came out so far."""

    subject: Subject
    chats: Chats
    cells: Sequence[Cell]
    where: Where
    n: int
    batch: Batch
    engine: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)
    looped: dict[str, dict[int, list[list[int]]]] = field(default_factory=dict)

    def run_engine(self) -> None:
        """Run all cells by the row engine."""
        for answer in generate(self.subject, self.chats, self.cells, max_new_tokens=self.n):
            self.engine[answer.cell, answer.row] = answer.ids

    def loop_of(self, peer: Peer, name: str, sample: int) -> Job:
        """Return a job that runs the next cells of a random order by a peer; it is the same for all peers."""
        order = np.random.default_rng(0).permutation(len(self.cells)).tolist()
        done = self.looped.setdefault(name, {})

        def run() -> None:
            for _ in range(sample):
                c = order.pop(0)
                order.append(c)
                done[c] = peer.generate(self.batch, shift_of(self.cells[c], self.where), self.n)

        return run

    def compared(self, name: str) -> Agreement:
        """Return how the rows of one loop compare with the engine's."""
        total = Agreement()
        for c, rows in self.looped[name].items():
            ours = [self.engine[c, r] for r in range(len(self.chats))]
            total += compare_rows(self.subject, self.batch, shift_of(self.cells[c], self.where), ours, rows)
        return total

    def generated_rows(self) -> list[GeneratedRow]:
        """Return the rows of the grid for the count of operations."""
        edits_prompt = [
            [any(cell.edits[0].where.select(row)[:-1]) for row in self.batch.rows] for cell in self.cells
        ]
        return [
            GeneratedRow(
                cell=c,
                prompt=len(self.batch.rows[r]),
                new=len(ids),
                start=self.cells[c].start if edits_prompt[c][r] else None,
            )
            for (c, r), ids in self.engine.items()
        ]


def agreed(
    subject: Subject, chats: Chats, cells: Sequence[Cell], where: Where, n: int, found: Opened
) -> Opened:
    """Return the peers that generate what a hook by hand does in one cell; the others with the reason."""
    batch, shift = batch_of(subject, chats), shift_of(cells[len(cells) // 2], where)
    wanted = plain.generated(subject, batch, shift, n)
    peers, absent = [], {}
    for peer in found.peers:
        reason = refused(subject, peer, batch, shift, n, wanted)
        if reason:
            absent[f"{peer.name}, steered at {where},"] = reason
        else:
            peers.append(peer)
    return Opened(peers=tuple(peers), absent=absent)


def raced(
    subject: Subject,
    chats: Chats,
    cells: Sequence[Cell],
    where: Where,
    peers: Sequence[Peer],
    *,
    n: int,
    rounds: int,
    sample: int,
    progress: Progress = silent,
) -> Race:
    """Run the grid by the engine and a sample of its cells by every loop, in turns.

    Args:
        subject: The model.
        chats: The prompts.
        cells: Each adds a vector at one block.
        where: Which tokens all cells steer.
        peers: Whose loops are run beside that of hooks by hand.
        n: Where answers are cut.
        rounds: How often.
        sample: Cells that each loop runs in a round.
        progress: Told how many jobs are done.
    """
    sample = min(sample, len(cells))
    grid = _Grid(subject, chats, cells, where, n, batch_of(subject, chats))
    device, dtype = subject.device, plain_model(subject.model).dtype
    loops = {LOOP: plain.opened(subject)} | {f"loop, {peer.name}": peer for peer in peers}
    jobs: dict[str, Job] = {ENGINE: grid.run_engine}
    jobs |= {name: grid.loop_of(peer, name, sample) for name, peer in loops.items()}
    plain.generated(subject, grid.batch, None, n)  # warm up; the engine alone would take a round
    rate = matmul_rate(device, dtype)
    scales = dict.fromkeys(loops, len(cells) / sample)
    timings = interleaved(jobs, rounds=rounds, warm_up=0, scales=scales, progress=progress)
    rate = max(rate, matmul_rate(device, dtype))
    shape, rows = Shape.of(subject), grid.generated_rows()
    prompts = [row.ids for row in grid.batch.rows]
    shared = common_tokens([ids[:-2] for ids in prompts])
    needed = engine_operations(shape, list(map(len, prompts)), rows, shared)
    return Race(
        where=str(where),
        cells=len(cells),
        rows=len(rows),
        new_tokens=sum(row.new for row in rows),
        timings=timings,
        agreement={name: grid.compared(name) for name in loops},
        engine_operations=needed,
        loop_operations=loop_operations(shape, rows),
        matmul_rate=rate,
        share=needed / rate / timings[0].seconds,
    )


def common_tokens(rows: Sequence[Sequence[int]]) -> int:
    """Return with how many equal tokens all rows begin."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False)))
