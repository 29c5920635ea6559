"""The facts of a run: what was asked, with which code and packages, on what machine, and how it ended."""

import platform
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch

from pipeline.json_text import Json, shown

PACKAGES = ("misdirection", "torch", "transformers", "peft", "safetensors", "numpy", "scipy", "scikit-learn")
Status = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """One reopening of a run folder.

    Attributes:
        at: UTC time.
        changed: How it differed from the first session, e.g. `versions.torch: '2.12' -> '2.13'`.
    """

    at: str
    changed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What `run.json` holds.

    Attributes:
        format: Always `misdirection.run/1`.
        verb: What was run, e.g. `demo`.
        config: Every setting, as JSON.
        seed: The seed all random streams derive from; None if nothing is random.
        commit: Of the git checkout that is the working folder; None if it is none.
        dirty: Tracked files differed from the commit. Untracked ones do not count: results lie among them.
        versions: Of the packages that the numbers depend on, those installed.
        python: Version of Python.
        platform: System and machine.
        threads: Threads that torch uses on the CPU.
        started: UTC time of creation.
        ended: UTC time of the last ending; None while it runs and after a kill.
        status: `running` also after a kill, which leaves no time to say so.
        error: The type of the exception that ended it. Its text is left out: it may hold secrets.
        resumed: Each reopening.
    """

    format: Literal["misdirection.run/1"] = "misdirection.run/1"
    verb: str
    config: dict[str, Json]
    seed: int | None
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    python: str
    platform: str
    threads: int
    started: str
    ended: str | None = None
    status: Status = "running"
    error: str | None = None
    resumed: tuple[Resumption, ...] = ()


_SESSION = ("commit", "dirty", "versions", "python", "platform", "threads")


def current_facts(verb: str, config: dict[str, Json], seed: int | None) -> RunFacts:
    """Return the facts of a run that starts now, in the working folder of this process."""
    commit, dirty = git_state(Path.cwd())
    return RunFacts(
        verb=verb,
        config=config,
        seed=seed,
        commit=commit,
        dirty=dirty,
        versions=_versions(),
        python=platform.python_version(),
        platform=platform.platform(),
        threads=torch.get_num_threads(),
        started=utc_now(),
    )


def changed_facts(old: RunFacts, new: RunFacts) -> tuple[str, ...]:
    """Return how the code, packages and machine of two sessions differ, one sentence for each difference."""
    before, after = ({name: getattr(facts, name) for name in _SESSION} for facts in (old, new))
    return tuple(f"{name}: {shown(a)} -> {shown(b)}" for name, a, b in differences(before, after))


def changed_settings(old: RunFacts, new: RunFacts, free: Collection[str]) -> tuple[str, ...]:
    """Return how verb, seed and settings differ, one sentence each; settings named in `free` are left out."""
    before, after = ({"verb": facts.verb, "seed": facts.seed, **facts.config} for facts in (old, new))
    return tuple(
        f"{name}: {shown(a)} there, {shown(b)} now"
        for name, a, b in differences(before, after)
        if name.partition(".")[0] not in free
    )


def differences(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[tuple[str, Json, Json]]:
    """Return name, old and new value of what differs; names inside objects are joined by dots."""
    found: list[tuple[str, Json, Json]] = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [(f"{name}.{inner}", a, b) for inner, a, b in differences(old, new)]
        elif old != new or type(old) is not type(new):
            found.append((name, old, new))
    return found


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the git checkout around a folder and whether tracked files differ from it.

    Both are None where there is no checkout, no commit yet, or no git.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    # Without --no-optional-locks a status may hold the index lock while somebody commits.
    changes = _git(folder, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None, None
    return commit, bool(changes)


def utc_now() -> str:
    """Return the time as ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
