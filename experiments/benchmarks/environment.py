"""The environment with the other libraries: made once from pinned packages, and entered by the benchmark itself.

`peers.txt` beside this file holds the pins. The project is installed there too, so one process can time both.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console
from rich.text import Text

from experiments.benchmarks.setup import Setup

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PINS = HERE / "peers.txt"
CONSTRAINTS = ROOT / "constraints.txt"
STAMP = ".peers-complete"
"""Written last; holds the hash of what was installed, so that changed pins are installed again."""

PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet", "--retries", "1")


class PeersMissingError(RuntimeError):
    """The environment with the other libraries is not there and could not be made."""


def enter(folder: Path) -> None:
    """Go on in the peers' environment: make it if need be, and start this command again inside it.

    Does nothing where this process already runs inside; else it does not return.

    Args:
        folder: Of the environment.

    Raises:
        PeersMissingError: It could not be made; says why and what works without it.
    """
    folder = Path(os.path.abspath(folder))
    if Path(sys.prefix).resolve() == folder.resolve():
        return
    made(folder)
    main = sys.modules["__main__"].__spec__
    if main is None:
        raise PeersMissingError("peers: start the benchmark as a module, with `python -m`")
    name = main.name.removesuffix(".__main__")
    python = str(python_of(folder))
    os.execv(python, [python, "-m", name, *sys.argv[1:]])


def made(folder: Path) -> None:
    """Make the environment if it is missing or was made from other pins; a broken attempt is taken up again.

    Raises:
        PeersMissingError: There is no checkout of the project, no network, or pip failed.
    """
    if not CONSTRAINTS.is_file():
        raise PeersMissingError(f"peers: {CONSTRAINTS} is missing; run from a checkout of the project")
    stamp, wanted = folder / STAMP, fingerprint()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    Console(stderr=True).print(
        f"==> environment of the other libraries in {folder}, once: takes some minutes"
    )
    stamp.unlink(missing_ok=True)
    if not python_of(folder).is_file():
        _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python_of(folder)), *PIP, "install"]
    _run([*pip, "--constraint", str(CONSTRAINTS), "--editable", str(ROOT)])
    _run([*pip, "--no-deps", "--requirement", str(PINS)])
    stamp.write_text(wanted, encoding="utf-8")


def fingerprint() -> str:
    """Return a hash of everything that decides what is installed."""
    files = (PINS, CONSTRAINTS, ROOT / "pyproject.toml")
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def python_of(folder: Path) -> Path:
    """Return the environment's interpreter."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise PeersMissingError(
            f"peers: `{' '.join(Path(word).name for word in command[:4])} ...` ended with {done.returncode}; "
            f"give a network that reaches the package index and run again, or measure --without-peers\n{last}"
        )


class _Config(Protocol):
    @property
    def setup(self) -> Setup: ...


Config = TypeVar("Config", bound=_Config)


def launch(config: Config, run: Callable[[Config], None]) -> None:
    """Run a benchmark, inside the peers' environment unless it goes without them; misuse ends in one line."""
    try:
        if not config.setup.without_peers:
            enter(config.setup.peers)
        run(config)
    except (PeersMissingError, ValueError, LookupError, OSError, MemoryError) as error:
        Console(stderr=True, soft_wrap=True).print(Text.assemble(("error ", "bold red"), str(error)))
        sys.exit(1)
