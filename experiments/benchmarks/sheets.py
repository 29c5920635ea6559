"""A table of results, the same in the terminal, in the JSON file and on the summary page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from experiments.benchmarks.interleaved import Timing


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table of texts.

    Attributes:
        title: What it shows, with the sizes it was measured at.
        columns: The names of the columns.
        rows: The cells; as many in each row as there are columns.
        notes: Sentences that stand below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """Return it for the terminal."""
        table = Table(
            *map(escape, self.columns), title=escape(self.title), caption=escape("\n".join(self.notes))
        )
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table

    def markdown(self) -> str:
        """Return it as Markdown with a heading."""
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.rows]
        if self.notes:
            lines += ["", *(f"{note}  " for note in self.notes)]
        return "\n".join(lines) + "\n"

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Sheet":
        """Return what `asdict` of a sheet, written as JSON, held."""
        return cls(
            title=str(content["title"]),
            columns=tuple(map(str, content["columns"])),
            rows=tuple(tuple(map(str, row)) for row in content["rows"]),
            notes=tuple(map(str, content["notes"])),
        )


def ratio_sheet(
    title: str,
    timings: Iterable[Timing],
    *,
    notes: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
) -> Sheet:
    """Return a table of ways with time and ratio; `extra` adds a last column `remarks` by name of the way."""
    columns = ("way", "seconds", "ratio", "95 %")
    rows = [(t.name, seconds_text(t.seconds), f"{t.ratio:.2f}", t.interval) for t in timings]
    if extra is not None:
        return Sheet(
            title=title,
            columns=(*columns, "remarks"),
            rows=tuple((*row, extra.get(row[0], "")) for row in rows),
            notes=tuple(notes),
        )
    return Sheet(title=title, columns=columns, rows=tuple(rows), notes=tuple(notes))


def seconds_text(seconds: float) -> str:
    """Return a time with three significant digits or so."""
    return f"{seconds:.3f}" if seconds < 1 else f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"


def absent_notes(absent: Mapping[str, str]) -> list[str]:
    """Return a sentence for each way that was not timed."""
    return [f"{name} was not timed: {reason}." for name, reason in absent.items()]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
