"""Rows out of Arrow record batches, and the limits within which a table is read."""

from collections.abc import Iterable, Iterator
from typing import Any

from activations.progress import Advance
from pipeline.importers.columns import Columns
from pipeline.importers.rows import Ledger, Row

BATCH_ROWS = 1000
"""Rows that are unpacked at a time."""

MOST_ROWS = 10_000_000
"""More rows are read only if the caller sets a limit: a few bytes can stand for any number of equal rows."""


def rows_to_read(n_rows: int, limit: int | None, at: str) -> int:
    """Return how many of a table's rows are read.

    Raises:
        ValueError: The limit is below 1, or there is none and the rows are too many.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: allowed: whole numbers from 1 up")
    if limit is None and n_rows > MOST_ROWS:
        raise ValueError(f"{at}: has {n_rows:,} rows; set a limit to read the first ones, e.g. limit=10000")
    return n_rows if limit is None else min(limit, n_rows)


def batch_rows(
    batches: Iterable[Any], n_rows: int, at: str, ledger: Ledger, advance: Advance
) -> Iterator[Row]:
    """Yield the first `n_rows` rows of record batches, numbered from 1.

    Raises:
        ValueError: A batch is damaged, or holds text that is not UTF-8.
    """
    for batch in batches:
        left = n_rows - ledger.n_rows
        if left <= 0:
            return
        for row in _unpacked(batch.slice(0, left), at, ledger.n_rows):
            ledger.n_rows += 1
            yield Row(at=f"{at}: row {ledger.n_rows}", number=ledger.n_rows, values=row)
        advance(min(left, batch.num_rows))


def count_unread(ledger: Ledger, present: Iterable[str], columns: Columns, n_rows: int) -> None:
    """Count the columns that nobody named and the rows beyond the limit."""
    for name in present:
        if name not in columns.named():
            ledger.ignored[f"column {name!r}"] = ledger.n_rows
    if n_rows > ledger.n_rows:
        ledger.ignored["rows beyond the limit"] = n_rows - ledger.n_rows


def first_line(error: BaseException) -> str:
    """Return the first line of what another package says of an error."""
    told = str(error).strip()
    return told.splitlines()[0].rstrip(".") if told else type(error).__name__


def _unpacked(batch: Any, at: str, n_before: int) -> list[dict[str, Any]]:
    rows = f"{at}: rows {n_before + 1} to {n_before + batch.num_rows}"
    try:
        batch.validate(full=True)  # offsets that point outside would end the process when unpacked
        found: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError as error:
        raise ValueError(f"{rows}: hold text that is not UTF-8") from error
    except ValueError as error:
        raise ValueError(f"{rows}: are damaged: {first_line(error)}") from error
    return found
