"""Run folders: the facts of a run, its rows stage by stage, and its results; safe against kills, full disks.

What is promised, and what is not:
- A row is appended whole or not at all: one `os.write` of one line on a descriptor opened with O_APPEND. If
  the disk takes a part only, that part is cut off again. A kill can tear a long line; what stands behind the
  last newline is cut when the folder is reopened, and that row was never reported as finished.
- A kill loses no row whose `append` returned: the system has it. A power cut may lose the rows of the last
  few seconds (`stage.SYNC_SECONDS`): files are synced at most that often, by `sync()`, and when the run ends.
- One process writes at a time (a lock on the folder, which a kill releases). Its threads may share the run.
"""

import errno
import fcntl
import logging
import os
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.disk import PARTIAL, replace_file, require_free
from pipeline.json_text import Json, json_bytes, parse_json, shown, to_json
from pipeline.json_types import from_object
from pipeline.provenance import (
    Resumption,
    RunFacts,
    Status,
    changed_facts,
    changed_settings,
    current_facts,
    utc_now,
)
from pipeline.stage import Stage, read_rows

FACTS = "run.json"

logger = logging.getLogger(__name__)


def read_facts(folder: Path) -> RunFacts:
    """Return the facts of a run folder.

    Raises:
        FileNotFoundError: The folder has no `run.json`.
        ValueError: The file is damaged or of another format.
    """
    path = Path(folder) / FACTS
    return from_object(parse_json(path.read_bytes(), str(path)), RunFacts, str(path))


class RunFolder:
    """A run folder open for writing: `with RunFolder.open(path, verb=..., config=..., seed=...) as run:`.

    Attributes:
        path: The folder.
        facts: What `run.json` holds.
    """

    def __init__(self, path: Path, facts: RunFacts) -> None:
        self.path = path
        self.facts = facts
        self._files = ExitStack()
        self._stages: dict[str, Stage] = {}
        self._lock = threading.Lock()
        self._open = True

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, *, verb: str, config: object, seed: int | None, may_differ: Collection[str] = ()
    ) -> Iterator["RunFolder"]:
        """Create a run folder, or reopen one that was made with the same settings, for the block.

        How the block ends is written to `run.json`: finished, failed or interrupted.

        Args:
            path: The folder; created with its parents if it is not there.
            verb: What is run, e.g. `demo`.
            config: Every setting: a dataclass or a dict that JSON can hold.
            seed: The seed all random streams derive from; None if nothing is random.
            may_differ: Settings that do not touch the results and may differ on reopening, e.g. `quiet`.

        Raises:
            ValueError: The folder was made with other settings (says which), or holds files of another kind.
            BlockingIOError: Another process is writing to the folder.
            OSError: The folder cannot be written.
        """
        path = Path(path)
        settings = to_json(config, "config")
        if not isinstance(settings, dict):
            raise TypeError(f"config: {shown(settings)} is no dataclass or dict")
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            facts = _begun(path, current_facts(verb, settings, seed), may_differ)
            run = cls(path, facts)
            try:
                with run._files:
                    yield run
            except BaseException as error:
                run._failed(error)
                raise
            run._end("finished")

    def append(self, stage: str, row: object) -> None:
        """Write one row to a stage, whole or not at all.

        Args:
            stage: Name of the stage; the file is `STAGE.jsonl`.
            row: A dataclass or dict with an `id`, unique within the stage.

        Raises:
            ValueError: The id is missing or written already, the row holds NaN, or the run has ended.
            TypeError: The row holds what JSON cannot.
            OSError: The disk is full (says how much is free); everything written before is safe.
        """
        self._stage(stage).append(row)

    def rows(self, stage: str) -> list[dict[str, Json]]:
        """Return the rows of a stage in the order in which they were written; none if it has not begun."""
        path = self.stage_path(stage)
        return read_rows(path) if path.exists() else []

    def finished_ids(self, stage: str) -> frozenset[str]:
        """Return the ids of a stage's rows; work for these need not be done again."""
        return self._stage(stage).ids() if self.stage_path(stage).exists() else frozenset()

    def stage_path(self, stage: str) -> Path:
        """Return where a stage's rows are.

        Raises:
            ValueError: The name is not made of small letters, digits and `_`.
        """
        if not re.fullmatch(r"[a-z0-9_]+", stage):
            raise ValueError(f"stage {stage!r}: allowed are small letters, digits and _")
        return self.path / f"{stage}.jsonl"

    def write_json(self, name: str, value: object) -> Path:
        """Write a result such as `summary.json`, whole or not at all, and return its path.

        Raises:
            ValueError: The value holds NaN, or the name is `run.json` or not a plain name ending in `.json`.
            TypeError: The value holds what JSON cannot.
            OSError: The disk is full; an older file is as it was.
        """
        if name == FACTS or not re.fullmatch(r"\w[\w.-]*\.json", name):
            raise ValueError(f"name {name!r}: allowed are letters, digits, _ and -, then .json; not {FACTS}")
        self._require_open()
        replace_file(self.path / name, json_bytes(value, name, indent=2))
        return self.path / name

    def require_free(self, n_bytes: int) -> None:
        """Refuse work that the disk cannot hold, before it starts.

        Raises:
            OSError: Less than this is free where the folder is.
        """
        require_free(self.path, n_bytes)

    def sync(self) -> None:
        """Return when every row is on the disk itself, safe against a power cut."""
        with self._lock:
            stages = list(self._stages.values())
        for stage in stages:
            stage.sync()

    def _stage(self, name: str) -> Stage:
        path = self.stage_path(name)
        with self._lock:
            self._require_open()
            if name not in self._stages:
                self._stages[name] = Stage(path)
                self._files.callback(self._stages[name].close)
            return self._stages[name]

    def _require_open(self) -> None:
        if not self._open:
            raise ValueError(f"{self.path}: the run has ended; reopen it with RunFolder.open")

    def _failed(self, error: BaseException) -> None:
        try:
            self._end(
                "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", type(error).__name__
            )
        except OSError as full:  # must not hide the error that ended the run, often the same full disk
            logger.error("%s: how the run ended could not be written: %s", self.path / FACTS, full)

    def _end(self, status: Status, error: str | None = None) -> None:
        self._open = False
        self.facts = replace(self.facts, status=status, ended=utc_now(), error=error)
        _write_facts(self.path, self.facts)


def _begun(path: Path, now: RunFacts, may_differ: Collection[str]) -> RunFacts:
    for partial in path.glob(f".*{PARTIAL}"):
        partial.unlink()
    if (path / FACTS).exists():
        old = read_facts(path)
        if changed := changed_settings(old, now, may_differ):
            told = f"{path}: was made with other settings: {'; '.join(changed)}"
            raise ValueError(f"{told}. Run with those, or choose a new folder")
        resumption = Resumption(at=utc_now(), changed=changed_facts(old, now))
        now = replace(old, status="running", ended=None, error=None, resumed=(*old.resumed, resumption))
    elif others := sorted(file.name for file in path.iterdir()):
        raise ValueError(f"{path}: holds {shown(others)} and no {FACTS}; choose a new or an empty folder")
    _write_facts(path, now)
    return now


def _write_facts(path: Path, facts: RunFacts) -> None:
    replace_file(path / FACTS, json_bytes(facts, FACTS, indent=2))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        told = f"{path}: another process is writing to this run folder; wait for it or choose another"
        raise BlockingIOError(error.errno, told) from error
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
        logger.warning("%s: this file system has no locks; see that one process writes at a time", path)
