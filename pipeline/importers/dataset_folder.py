"""Folders that `save_to_disk` of Hugging Face's datasets wrote: their Arrow files, read a batch at a time.

Reads the Arrow files itself, so nothing but pyarrow is needed and nothing in the folder can run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from activations.progress import Progress, silent
from pipeline.importers.batches import BATCH_ROWS, batch_rows, count_unread, first_line, rows_to_read
from pipeline.importers.columns import Columns
from pipeline.importers.extras import extra
from pipeline.importers.imported import FileFacts, Imported
from pipeline.importers.rows import Ledger
from pipeline.importers.source_file import on_disk, sha256_of
from pipeline.importers.tables import table
from pipeline.importers.wording import listed, meant
from pipeline.json_text import Json, parse_json, shown
from pipeline.json_types import from_json

_STATE, _SPLITS = "state.json", "dataset_dict.json"


def read_dataset_folder(
    folder: Path | str,
    columns: Columns,
    *,
    split: str | None = None,
    domain: str | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Imported:
    """Read a folder written by `save_to_disk` as what its columns make. Needs pyarrow.

    Args:
        folder: Of a data set, or of several splits.
        columns: Which column is what.
        split: Which of several splits.
        domain: The domain of triples; by default the folder's name.
        limit: Read this many rows from the beginning; all by default.
        progress: Shows how far it is.

    Raises:
        OSError: The folder or a file in it cannot be read.
        LookupError: pyarrow is not installed.
        ValueError: It is no such folder, is damaged, lacks a column, or a row has something else than text in it.
    """
    place = _with_split(Path(folder).expanduser(), str(folder), split)
    at = str(folder) if split is None else f"{folder}, split {split}"
    pa = extra("pyarrow", f"{folder}: a data set")
    shards = _shards(place)
    present, n_rows = _outline(pa, shards)
    columns.check_among(present, at)
    n_read = rows_to_read(n_rows, limit, at)
    ledger = Ledger(Path(folder).resolve().name)

    def files() -> tuple[FileFacts, ...]:
        count_unread(ledger, present, columns, n_rows)
        return tuple(sha256_of(on_disk(shard)) for shard in shards)

    with progress(f"read {ledger.stem}", n_read) as advance:
        batches = (batch.select(columns.named()) for batch in _batches(pa, shards))
        rows = batch_rows(batches, n_read, at, ledger, advance)
        return table("dataset", rows, files, columns, ledger, domain=domain)


def dataset_columns(folder: Path | str, split: str | None = None) -> list[str]:
    """Return the names of the columns of a folder written by `save_to_disk`.

    Raises:
        OSError: The folder or a file in it cannot be read.
        LookupError: pyarrow is not installed.
        ValueError: It is no such folder, or is damaged.
    """
    pa = extra("pyarrow", f"{folder}: a data set")
    return _outline(pa, _shards(_with_split(Path(folder).expanduser(), str(folder), split)))[0]


def _with_split(place: Path, name: str, split: str | None) -> Path:
    """Return the folder of the data set itself."""
    if not place.is_dir():
        raise NotADirectoryError(f"{name}: is no folder; need one that save_to_disk wrote")
    if not (place / _SPLITS).is_file():
        if not (place / _STATE).is_file():
            found = listed(sorted(item.name for item in place.iterdir()))
            raise ValueError(f"{name}: holds {found} and no {_STATE}; need a folder that save_to_disk wrote")
        if split is not None:
            raise ValueError(f"{name}: has no splits; leave split={split} out")
        return place
    splits: list[str] = from_json(
        _facts(place / _SPLITS).get("splits"), list[str], f"{place / _SPLITS}: splits"
    )
    if split is None or split not in splits:
        example = f"; say which, e.g. split={splits[0]}" if splits else ""
        asked = "" if split is None else f"; got {split!r}{meant(split, splits)}"
        raise ValueError(f"{name}: has the splits {listed(splits)}{example}{asked}")
    return _inside(place, split, place / _SPLITS)


def _shards(place: Path) -> tuple[Path, ...]:
    state = _facts(place / _STATE)
    if state.get("_indices_data_files"):
        raise ValueError(
            f"{place / _STATE}: has indices beside the data, as older versions wrote; save it anew"
        )
    at = f"{place / _STATE}: _data_files"
    files: list[dict[str, Json]] = from_json(state.get("_data_files"), list[dict[str, Json]], at)
    if not files:
        raise ValueError(f"{place}: is empty; need at least one row")
    names: list[str] = [from_json(file.get("filename"), str, f"{at}: filename") for file in files]
    shards = tuple(_inside(place, name, place / _STATE) for name in names)
    if missing := [shard for shard in shards if not shard.is_file()]:
        raise FileNotFoundError(f"{missing[0]}: there is no such file, though {_STATE} names it")
    return shards


def _facts(path: Path) -> dict[str, Json]:
    try:
        facts = parse_json(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: there is no such file; need a folder that save_to_disk wrote"
        ) from error
    if not isinstance(facts, dict):
        raise ValueError(f"{path}: {shown(facts)} is not an object")
    return facts


def _inside(place: Path, name: str, said_by: Path) -> Path:
    """Return a file or folder directly inside another, never one elsewhere."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"{said_by}: names {name!r}; allowed: plain names of what is in this folder")
    return place / name


def _outline(pa: Any, shards: Sequence[Path]) -> tuple[list[str], int]:
    """Return the names of the columns and the number of rows, without unpacking any."""
    columns: list[str] = []
    n_rows = 0
    for shard in shards:
        with _stream(pa, shard) as stream:
            names = list(stream.schema.names)
            if (columns := columns or names) != names:
                raise ValueError(
                    f"{shard}: has columns {listed(names)}; the file before has {listed(columns)}"
                )
        n_rows += sum(batch.num_rows for batch in _batches(pa, [shard]))
    return columns, n_rows


def _batches(pa: Any, shards: Sequence[Path]) -> Iterator[Any]:
    for shard in shards:
        with _stream(pa, shard) as stream:
            while (batch := _next(stream, shard)) is not None:
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)


@contextmanager
def _stream(pa: Any, shard: Path) -> Iterator[Any]:
    ipc = extra("pyarrow.ipc", f"{shard}: an Arrow file")
    try:
        with pa.memory_map(str(shard)) as mapped, ipc.open_stream(mapped) as stream:
            yield stream
    except pa.ArrowInvalid as error:
        raise ValueError(f"{shard}: is no whole Arrow stream: {first_line(error)}") from error


def _next(stream: Any, shard: Path) -> Any:
    try:
        return stream.read_next_batch()
    except StopIteration:
        return None
    except (ValueError, OSError) as error:
        raise ValueError(f"{shard}: is damaged: {first_line(error)}") from error
