"""How many adapters should share a batch: what larger batches win back against what switching by row costs.

A decode step takes a while however few rows it has, because all weights are read; the more rows share it, the less
each row pays of that. Rows of several adapters can share it, but PEFT then works through the adapters one by one in
every layer. Both are counted here in rows: by how many rows a step would have to be larger to take as long.
"""

from dataclasses import dataclass
from math import ceil

STEP_ROWS = 20.0
"""What a decode step costs besides its rows, in rows. Measured, see `experiments/benchmarks/adapters.py`."""

SWITCH_ROWS = 6.0
"""What every further adapter in a batch costs in a step, in rows, where all linear layers have LoRA pairs. Fewer
layers cost less, so this is the careful side."""


@dataclass(frozen=True, kw_only=True)
class DecodeWork:
    """What decoding one token of every row takes.

    Attributes:
        steps: Passes through the model.
        switches: Adapters beyond the first in each of them, summed up.
        rows: Rows in each of them, summed up.
    """

    steps: int
    switches: float
    rows: int

    @property
    def cost(self) -> float:
        """All of it in rows."""
        return STEP_ROWS * self.steps + SWITCH_ROWS * self.switches + self.rows


def adapters_together(n_adapters: int, rows_each: int, max_rows: int) -> int:
    """Return how many adapters should share a batch so that all rows are done soonest.

    All fit in one batch: sharing saves a step's own cost for every adapter but the first, and costs the switch. The
    batches of one adapter are full already: sharing saves no step and costs the switch in every one. In between,
    the number of batches decides. A base model without adapter counts as an adapter.

    Args:
        n_adapters: How many adapters there are.
        rows_each: How many rows each has.
        max_rows: How many rows a batch holds.

    Raises:
        ValueError: A number is below 1.
    """
    if min(n_adapters, rows_each, max_rows) < 1:
        raise ValueError(
            f"n_adapters {n_adapters}, rows_each {rows_each}, max_rows {max_rows}: need at least 1 of each"
        )
    return min(
        range(1, n_adapters + 1),
        key=lambda together: decode_work(n_adapters, rows_each, max_rows, together).cost,
    )


def decode_work(n_adapters: int, rows_each: int, max_rows: int, together: int) -> DecodeWork:
    """Return what decoding one token of every row takes if so many adapters share batches."""
    whole, left = divmod(n_adapters, together)
    parts = [together] * whole + ([left] if left else [])
    batches = [ceil(n * rows_each / max_rows) for n in parts]
    # A batch of two rows serves no third adapter.
    present = [min(n, n * rows_each / b) for n, b in zip(parts, batches, strict=True)]
    return DecodeWork(
        steps=sum(batches),
        switches=float(sum(b * (p - 1) for b, p in zip(batches, present, strict=True))),
        rows=n_adapters * rows_each,
    )
