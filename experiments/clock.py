"""Say what a study is doing, and keep how long each part took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class Clock:
    """Announces the stages of a study on a console and times them.

    Attributes:
        console: Where stages are announced.
        seconds: For each stage that has ended how long it took.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Announce a stage and time it."""
        self.console.print(f"[bold]{name}[/bold]  {escape(what)}")
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 3)

    def total(self) -> float:
        """Return the seconds since the clock was made."""
        return round(time.monotonic() - self._began, 3)
