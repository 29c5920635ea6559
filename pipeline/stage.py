"""One stage of a run: an append-only JSONL file of rows with unique ids, safe against kill and full disk."""

import logging
import os
import threading
import time
from pathlib import Path

from pipeline.disk import full_disk_explained, sync_folder
from pipeline.json_text import Json, json_bytes, shown, to_json
from pipeline.records import lines_of

SYNC_SECONDS = 5.0
"""A power cut loses rows of at most about this many seconds; a kill of the process loses none."""

logger = logging.getLogger(__name__)


def read_rows(path: Path) -> list[dict[str, Json]]:
    """Return the rows of a stage, also while another process writes it: a torn last line is left out.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is damaged, has no id, or an id stands twice; says which line.
    """
    data = Path(path).read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    rows: list[dict[str, Json]] = []
    seen: dict[str, str] = {}
    for at, row in lines_of(whole, str(path)) if whole else ():
        if (first := seen.setdefault(row_id(row, at), at)) != at:
            raise ValueError(f"{at}: id {row['id']!r} stands on line {first.rpartition(':')[2]} already")
        rows.append(row)
    return rows


def row_id(row: Json, at: str) -> str:
    """Return the id of a row.

    Raises:
        ValueError: The row is no object, or its id is missing, blank or not text.
    """
    found = row.get("id") if isinstance(row, dict) else None
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"{at}: a row needs an 'id' that is text and not blank, got {shown(row)}")
    return found


class Stage:
    """A stage file open for appending. Threads may share it; processes may not."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, cut a torn last line off and note which rows are there.

        Raises:
            ValueError: A line is damaged, has no id, or an id stands twice.
        """
        self.path = path
        new = not path.exists()
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            if new:
                sync_folder(path.parent)
            self._size = self._cut_torn_line()
            self._ids = {row["id"] for row in read_rows(path)}
        except BaseException:
            os.close(self._descriptor)
            raise
        self._synced = time.monotonic()

    def ids(self) -> frozenset[str]:
        """Return the ids of the rows that are written."""
        with self._lock:
            return frozenset(self._ids)

    def append(self, row: object) -> None:
        """Write one row, whole or not at all.

        Raises:
            ValueError: The row has no id, or one that is written already, or holds NaN.
            TypeError: The row holds what JSON cannot.
            OSError: The disk is full, or the file was changed by someone else; the rows before are safe.
        """
        plain = to_json(row, f"{self.path.name}: row")
        at = f"{self.path.name}: row {row_id(plain, self.path.name)!r}"
        line = json_bytes(plain, at)
        with self._lock:
            if plain["id"] in self._ids:
                raise ValueError(f"{at}: is written already; rows are appended once")
            if (size := os.fstat(self._descriptor).st_size) != self._size:
                raise OSError(
                    f"{self.path}: has {size} bytes, expected {self._size}: someone else changed it"
                )
            kept = f"the {len(self._ids)} rows before are safe; free some space and run the same again"
            with full_disk_explained(self.path, len(line), kept=kept):
                self._write(line)
            self._size += len(line)
            self._ids.add(plain["id"])
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self._sync()

    def sync(self) -> None:
        """Return when every row is on the disk itself, safe against a power cut."""
        with self._lock:
            self._sync()

    def close(self) -> None:
        """Sync and close the file, whatever else happens."""
        with self._lock:
            try:
                self._sync()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1  # a late append must not reach a file that took over the number

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced = time.monotonic()

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._descriptor, line)
            while written < len(line):  # the disk took a part; the next write goes through or says why not
                written += os.write(self._descriptor, line[written:])
        except BaseException:
            os.ftruncate(self._descriptor, self._size)
            raise

    def _cut_torn_line(self) -> int:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            logger.warning("%s: cut %d bytes of a torn last line", self.path, len(data) - whole)
            os.ftruncate(self._descriptor, whole)
        return whole
