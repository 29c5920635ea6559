"""How many adapters share a batch."""


def adapters_together(n_adapters: int, rows_each: int, max_rows: int) -> int:
    """How many adapters share a batch."""
    return n_adapters
