"""The command line: one verb for each thing a researcher does, each a thin call of public functions.

Misuse ends in one line that says where, what came and what is allowed; `--debug` shows the traceback.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import transformers
import tyro
from rich.console import Console
from rich.text import Text

from activations.progress import bar, no_bars, silent
from experiments.verbs.answer import AnswerQuestions
from experiments.verbs.capture import Capture
from experiments.verbs.data import Data
from experiments.verbs.demo import Demo
from experiments.verbs.doctor import Doctor
from experiments.verbs.extract import Extract
from experiments.verbs.finetune import Finetune
from experiments.verbs.steer import Steer
from experiments.verbs.sweep import Sweep

VERBS: dict[str, Any] = {
    "demo": Demo,
    "data": Data,
    "finetune": Finetune,
    "answer": AnswerQuestions,
    "capture": Capture,
    "extract": Extract,
    "sweep": Sweep,
    "steer": Steer,
    "doctor": Doctor,
}

DESCRIPTION = """Find, inject and compare misalignment directions in language models.

Every verb also takes --quiet (prints nothing but errors) and --debug (shows tracebacks and more of what is done)."""

EXPECTED = (ValueError, LookupError, OSError, RuntimeError, MemoryError)
"""Errors that say what is wrong with the input or the machine."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits 0 on success, 1 on an error, 2 on bad flags, 130 when interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug, quiet = "--debug" in words, "--quiet" in words
    words = [word for word in words if word not in ("--debug", "--quiet")]
    choices = tuple(
        Annotated[verb, tyro.conf.subcommand(name, prefix_name=False)] for name, verb in VERBS.items()
    )
    verb = tyro.cli(_union(choices), prog="misdirection", description=DESCRIPTION, args=words)
    level = logging.INFO if debug else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    transformers.logging.set_verbosity_error()
    try:
        with no_bars():
            verb.run(Console(quiet=quiet), silent if quiet else bar)
    except EXPECTED as error:
        if debug:
            raise
        told = Text.assemble(("error", "bold red"), " ", _text(error))
        Console(stderr=True, soft_wrap=True).print(told)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; what was finished is kept")
        sys.exit(130)


def _union(choices: tuple[Any, ...]) -> Any:
    union = choices[0]
    for choice in choices[1:]:
        union = union | choice
    return union


def _text(error: BaseException) -> str:
    """Return an error's own words on one line; a bare KeyError's are only the key, the system's lack the file."""
    text = str(error)
    if isinstance(error, KeyError):
        text = f"missing key {error}"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror
    return " ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__
