"""Data sets of the Hugging Face hub by name, streamed: no script of theirs runs, no file of theirs is unpickled."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from huggingface_hub import HfApi

from activations.progress import Advance, Progress, no_bars, silent
from pipeline.importers.batches import MOST_ROWS, count_unread, first_line, rows_to_read
from pipeline.importers.columns import Columns
from pipeline.importers.extras import extra
from pipeline.importers.imported import FileFacts, Imported
from pipeline.importers.rows import Ledger, Row
from pipeline.importers.tables import table
from pipeline.json_text import json_bytes

Found = TypeVar("Found")

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def read_dataset_hub(
    name: str,
    columns: Columns,
    *,
    split: str,
    config: str | None = None,
    revision: str | None = None,
    domain: str | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Imported:
    """Read a data set of the hub as what its columns make. Needs datasets, and a network.

    Args:
        name: Of the data set, with its owner: `OWNER/NAME`.
        columns: Which column is what.
        split: Which split, e.g. `train`.
        config: Which configuration, where there are several.
        revision: Commit, tag or branch; the facts name the commit that was read.
        domain: The domain of triples; by default the data set's name without its owner.
        limit: Read this many rows from the beginning; all by default.
        progress: Shows how far it is.

    Raises:
        LookupError: datasets is not installed, the hub cannot be reached, or there is no such data set.
        ValueError: The name is not of this form, a column is missing, or a row has something else than text in it.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"data set {name!r}: is no folder here; a name on the hub has the form OWNER/NAME")
    n_read = rows_to_read(MOST_ROWS, limit, name)
    datasets = extra("datasets", f"data set {name!r}: a data set by name")
    commit = _commit(name, revision)
    options = {"split": split, "revision": commit, "streaming": True}
    with no_bars():  # `hf://` keeps a folder of that name from being taken for it
        stream = _asked(lambda: datasets.load_dataset(f"hf://datasets/{name}", config, **options), name)
    present = _present(stream, name)
    columns.check_among(present, f"{name}, split {split}")
    stream = stream.select_columns(list(columns.named()))  # so that no picture is unpacked
    ledger, digest = Ledger(name.partition("/")[2]), hashlib.sha256()
    first = f"[:{limit}]" if limit is not None else ""

    def files() -> tuple[FileFacts, ...]:
        count_unread(ledger, present, columns, 0)
        place = "/".join(part for part in (name, config, split + first) if part)
        return (FileFacts(name=f"{place}@{commit}", sha256=digest.hexdigest()),)

    with progress(f"read {name}", n_read) as advance:
        rows = _rows(stream, name, ledger, limit)
        hashed = (_noted(row, digest, advance) for row in rows)
        return table("dataset", hashed, files, columns, ledger, domain=domain)


def _present(stream: Any, name: str) -> list[str]:
    if stream.column_names is not None:
        return list(stream.column_names)
    return list(_asked(lambda: next(iter(stream), None), name) or ())


def _rows(stream: Any, name: str, ledger: Ledger, limit: int | None) -> Iterator[Row]:
    values = iter(stream)
    while ledger.n_rows != limit and (found := _asked(lambda: next(values, None), name)) is not None:
        if ledger.n_rows == MOST_ROWS and limit is None:
            raise ValueError(f"{name}: has more than {MOST_ROWS:,} rows; set a limit, e.g. limit=10000")
        ledger.n_rows += 1
        yield Row(at=f"{name}: row {ledger.n_rows}", number=ledger.n_rows, values=found)


def _noted(row: Row, digest: "hashlib._Hash", advance: Advance) -> Row:
    try:
        digest.update(json_bytes(row.values, row.at))
    except TypeError as error:  # bytes, a date: nothing that a prompt or an answer could be
        raise ValueError(str(error)) from error
    advance(1)
    return row


def _commit(name: str, revision: str | None) -> str:
    """Return the commit that a revision stands for; the first question, so it finds out if there is a hub."""
    try:
        return str(_asked(lambda: HfApi().dataset_info(name, revision=revision).sha, name))
    except LookupError as error:
        ask = "is there a network, is the name right, and is HF_TOKEN set if the data set is not public?"
        without = "Without a network give a folder that save_to_disk wrote, or a Parquet file"
        raise LookupError(f"{error}; {ask} {without}") from error


def _asked(ask: Callable[[], Found], name: str) -> Found:
    """Return what the hub answers.

    Raises:
        LookupError: It cannot be reached, or has no such data set.
    """
    try:
        return ask()
    except Exception as error:  # which errors its clients raise differs between their versions
        told = f"data set {name!r} could not be read from the hub: {first_line(error)}"
        raise LookupError(told) from error
