"""Replies that were paid for, in an sqlite file: successes only, each there before anyone hears of it.

What is promised, and what is not:
- `put` returns once the reply is in the file; a kill after that loses nothing, a power cut the last moments.
- Many processes may use one file at a time; the first reply to a request stays. Two processes that ask the same at
  the same time may both make the call. A network file system without working locks is no place for it.
- It holds hashes of requests, and replies; no key and no address.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.body import request_key
from pipeline.endpoint.records import ChatRequest, Reply, Result
from pipeline.json_text import json_bytes, parse_json
from pipeline.json_types import from_object

FORMAT = 0x4D445231
"""The application id in the file's header: `MDR1`."""

WAIT_SECONDS = 60.0
"""How long to wait while other processes write."""


class ReplyCache:
    """A cache file that is open. One thread uses it; other processes may use the same file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            ValueError: The file is no cache of replies.
            OSError: Its folder is missing, or it cannot be written.
        """
        self.path = Path(path)
        try:
            self._base = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: cannot be opened as a cache: {error}") from error
        try:
            self._prepare()
        except BaseException:
            self._base.close()
            raise

    def get(self, key: str, request: str) -> Reply | None:
        """Return the reply to a request that is remembered under this key, as a cached one; None if there is none.

        Raises:
            ValueError: What is remembered is damaged.
        """
        with closing(self._base.execute("SELECT reply FROM replies WHERE key = ?", (key,))) as found:
            row = found.fetchone()
        if row is None:
            return None
        at = f"{self.path}: reply {key[:12]}"
        return replace(from_object(parse_json(row[0], at), Reply, at), id=request, cached=True, attempts=0)

    def put(self, key: str, reply: Reply) -> None:
        """Remember a reply; if there is one under this key already, that one stays.

        Raises:
            OSError: The disk is full, or other processes kept the file busy; the replies before are safe.
        """
        data = json_bytes(reply, f"{self.path}: reply {reply.id!r}")
        try:
            self._base.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, data))
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}; the replies before are safe") from error

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _prepare(self) -> None:
        try:
            (kind,) = self._base.execute("PRAGMA application_id").fetchone()
            (n_tables,) = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if kind != FORMAT and (kind or n_tables):
                raise ValueError(f"{self.path}: is an sqlite file of another kind, no cache of replies")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply BLOB NOT NULL)"
            )
            self._base.execute(f"PRAGMA application_id = {FORMAT}")
            self._base.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(f"{self.path}: cannot be used as a cache: {error}") from error
            raise ValueError(f"{self.path}: is no cache of replies: {error}") from error


def remembered(endpoint: Endpoint, requests: Iterable[ChatRequest], cache: Path | None) -> dict[str, Reply]:
    """Return by request id the replies that a cache holds; no file is made where there is none.

    Raises:
        ValueError: The file is no cache of replies.
    """
    if cache is None or not Path(cache).exists():
        return {}
    with closing(ReplyCache(cache)) as replies:
        found = ((r.id, replies.get(request_key(endpoint, r), r.id)) for r in requests)
        return {row: reply for row, reply in found if reply}


def remember(
    endpoint: Endpoint, requests: Iterable[ChatRequest], told: Mapping[str, Result], cache: Path | None
) -> None:
    """Put what was told of these requests into a cache: the replies, not the failures.

    Raises:
        ValueError: The file is no cache of replies.
        OSError: It cannot be written.
    """
    if cache is None:
        return
    with closing(ReplyCache(cache)) as replies:
        for request in requests:
            if isinstance(reply := told[request.id], Reply):
                replies.put(request_key(endpoint, request), reply)
