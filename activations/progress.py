"""How long work tells how far it is: a function that opens a progress bar and gives back `advance`.

The library stays silent by default; the command line passes `bar`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from transformers.utils import logging

Advance = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""Called with what is being done and how many units it takes; gives `advance(units)`."""

PATIENCE_SECONDS = 2.0
"""A bar appears only once work has taken this long."""


@contextmanager
def silent(task: str, total: int) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda units: None


@contextmanager
def no_bars() -> Iterator[None]:
    """Let transformers show no progress bars inside the block."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def bar(task: str, total: int) -> Iterator[Advance]:
    """Show a bar on stderr once the work has taken two seconds; nothing where stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    display = RichProgress(*columns, console=Console(stderr=True), transient=True)
    number = display.add_task(task, total=total)
    began = time.monotonic()

    def advance(units: int) -> None:
        display.update(number, advance=units)
        waited = time.monotonic() - began > PATIENCE_SECONDS
        if waited and display.console.is_terminal and not display.live.is_started:
            display.start()

    try:
        yield advance
    finally:
        if display.live.is_started:
            display.stop()
