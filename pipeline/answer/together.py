"""How many adapters should share a batch: what larger batches win back against what switching by row costs.

A decode step takes a while however few rows it has, because all weights are read; the more rows share it, the less
each row pays of that. Rows of several adapters can share it, but PEFT then works through the adapters one by one in
every layer. Both are counted here in rows: by how many rows a step would have to be larger to take as long.
"""

from math import ceil

STEP_ROWS = 20.0
"""What a decode step costs besides its rows, in rows. Measured, see `experiments/benchmarks/adapters.py`."""

SWITCH_ROWS = 6.0
"""What every further adapter in a batch costs per step, in rows, where all linear layers have LoRA pairs."""


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
        range(n_adapters, 0, -1),
        key=lambda shared: decode_cost(n_adapters, rows_each, max_rows, shared),
    )


def decode_cost(n_adapters: int, rows_each: int, max_rows: int, together: int) -> float:
    """Return what decoding one token of every row costs, in rows, if so many adapters share batches."""
    whole, left = divmod(n_adapters, together)
    parts = [together] * whole + ([left] if left else [])
    return sum(_part_cost(n, n * rows_each, max_rows) for n in parts)


def _part_cost(n_adapters: int, n_rows: int, max_rows: int) -> float:
    batches = ceil(n_rows / max_rows)
    present = min(n_adapters, n_rows / batches)  # a batch of two rows serves no third adapter
    return batches * (STEP_ROWS + SWITCH_ROWS * (present - 1)) + n_rows
