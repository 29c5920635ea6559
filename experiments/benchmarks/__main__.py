"""All benchmarks one after the other, and one page with all their tables. `python -m experiments.benchmarks`.

Each runs in a process of its own and writes its files when it is done; `summary.md` is made anew after each from
what lies in the folder, so an interrupted run keeps what it has, and `--only NAME` measures one again.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from experiments.benchmarks.environment import launch
from experiments.benchmarks.setup import Setup
from experiments.benchmarks.sheets import Sheet
from pipeline.disk import replace_file

NAMES = ("capture", "generation", "grid", "scoring", "scaling")
BARE_LINE = "Ratios below 1 are faster than the first line of their table. Intervals cover 95 %."


@dataclass(frozen=True, kw_only=True)
class Config:
    """Run all benchmarks, or some, and write one page with all tables."""

    setup: tyro.conf.OmitArgPrefixes[Setup] = Setup()
    only: tuple[str, ...] = NAMES
    """Which to run; the page shows all that lie in the folder."""
    page_only: bool = False
    """Run none; make the page from what lies in the folder."""


def main(config: Config) -> None:
    """Run them, and write the page after each."""
    unknown = [name for name in config.only if name not in NAMES]
    if unknown:
        raise ValueError(f"only: got {unknown}, the benchmarks are {list(NAMES)}")
    setup = config.setup
    for name in () if config.page_only else config.only:
        Console().rule(name)
        command = [sys.executable, "-m", f"experiments.benchmarks.{name}", "--model", setup.model]
        command += ["--out", str(setup.out), "--peers", str(setup.peers)]
        command += ["--without-peers"] if setup.without_peers else ["--no-without-peers"]
        done = subprocess.run(command)
        if done.returncode != 0:
            raise OSError(
                f"benchmark {name} ended with {done.returncode}; those before it are in {setup.out}"
            )
        write_page(setup.out)
    Console().print(f"page: {write_page(setup.out)}")


def write_page(folder: Path) -> Path:
    """Write `summary.md` from the JSON files of a folder and return its path.

    Raises:
        FileNotFoundError: There is none.
    """
    found = [(name, folder / f"{name}.json") for name in NAMES if (folder / f"{name}.json").is_file()]
    if not found:
        raise FileNotFoundError(f"{folder}: holds none of {[f'{name}.json' for name in NAMES]}")
    parts = ["# Benchmarks\n", BARE_LINE + "\n"]
    for name, path in found:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"## {name.capitalize()}\n")
        parts += [Sheet.read(table).markdown() for table in content["tables"]]
        parts.append(f"![{name}]({name}.png)\n")
        parts.append(told(content["facts"], content["peers"]) + "\n")
    page = folder / "summary.md"
    replace_file(page, "\n".join(parts).encode())
    return page


def told(facts: Mapping[str, Any], peers: Mapping[str, str]) -> str:
    """Return when, with what and on what a benchmark ran."""
    versions = ", ".join(f"{name} {version}" for name, version in {**facts["versions"], **peers}.items())
    dirty = " with changes" if facts["dirty"] else ""
    commit = f"commit {facts['commit'][:10]}{dirty}, " if facts["commit"] else ""
    return f"{facts['started']}, {commit}{facts['threads']} threads, Python {facts['python']}, {versions}."


if __name__ == "__main__":
    launch(tyro.cli(Config), main)
