"""Parquet files, a batch of rows at a time, of which only the named columns are read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from activations.progress import Progress, silent
from pipeline.importers.batches import BATCH_ROWS, batch_rows, count_unread, first_line, rows_to_read
from pipeline.importers.columns import Columns
from pipeline.importers.extras import extra
from pipeline.importers.imported import FileFacts, Imported
from pipeline.importers.rows import Ledger
from pipeline.importers.source_file import SourceFile, on_disk, sha256_of
from pipeline.importers.tables import table


def read_parquet(
    source: Path | str | SourceFile,
    columns: Columns,
    *,
    domain: str | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Imported:
    """Read a Parquet file as what its columns make. Needs pyarrow.

    Args:
        source: The file.
        columns: Which column is what.
        domain: The domain of triples; by default the file's name without its ending.
        limit: Read this many rows from the beginning; all by default.
        progress: Shows how far it is.

    Raises:
        OSError: The file cannot be read.
        LookupError: pyarrow is not installed.
        ValueError: The file is damaged, lacks a column, or a row has something else than text in it.
    """
    file = source if isinstance(source, SourceFile) else on_disk(source)
    parquet = extra("pyarrow.parquet", f"{file.name}: a Parquet file")
    ledger = Ledger(file.stem)
    with file.open() as handle:
        opened = _opened(parquet, handle, file.name)
        present, n_rows = opened.schema_arrow.names, opened.metadata.num_rows
        columns.check_among(present, file.name)
        n_read = rows_to_read(n_rows, limit, file.name)

        def files() -> tuple[FileFacts, ...]:
            count_unread(ledger, present, columns, n_rows)
            return (sha256_of(file),)

        with progress(f"read {Path(file.name).name}", n_read) as advance:
            batches = _batches(opened, columns.named(), file.name)
            rows = batch_rows(batches, n_read, file.name, ledger, advance)
            return table("parquet", rows, files, columns, ledger, domain=domain)


def parquet_columns(source: SourceFile) -> list[str]:
    """Return the names of the columns of a Parquet file.

    Raises:
        LookupError: pyarrow is not installed.
        ValueError: The file is damaged.
    """
    parquet = extra("pyarrow.parquet", f"{source.name}: a Parquet file")
    with source.open() as handle:
        return list(_opened(parquet, handle, source.name).schema_arrow.names)


def _opened(parquet: Any, handle: Any, name: str) -> Any:
    try:
        return parquet.ParquetFile(handle)
    except (ValueError, OSError) as error:
        raise ValueError(f"{name}: is no whole Parquet file: {first_line(error)}") from error


def _batches(opened: Any, names: tuple[str, ...], at: str) -> Iterator[Any]:
    batches = opened.iter_batches(batch_size=BATCH_ROWS, columns=list(names))
    while True:
        try:
            batch = next(batches, None)
        except (ValueError, OSError) as error:
            raise ValueError(f"{at}: is damaged: {first_line(error)}") from error
        if batch is None:
            return
        yield batch
