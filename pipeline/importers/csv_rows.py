"""Rows of a CSV file with a heading: quotes, commas and line breaks inside cells, places by line."""

import csv
from collections.abc import Iterator, Sequence
from itertools import count

from activations.progress import Progress, silent
from pipeline.importers.imported import FileFacts
from pipeline.importers.rows import Ledger, Row
from pipeline.importers.source_file import Lines, SourceFile
from pipeline.importers.wording import listed, meant


class CsvRows:
    """The rows of a CSV file, once; empty lines are left out and counted."""

    def __init__(
        self, source: SourceFile, needed: Sequence[str], ledger: Ledger, progress: Progress = silent
    ) -> None:
        """Remember what to read and which columns must be there; nothing is opened yet."""
        self._lines = Lines(source, progress)
        self._name = source.name
        self._needed = needed
        self._ledger = ledger

    def __iter__(self) -> Iterator[Row]:
        """Yield each row; its place is the line on which it begins.

        Raises:
            ValueError: A column is missing or stands twice, or a row has too few or too many cells.
        """
        rows = self._cells()
        columns = next(rows, (1, []))[1]
        self._check_heading(columns)
        for line, cells in rows:
            at = f"{self._name}:{line}"
            if not cells:
                self._ledger.ignore("blank line")
                continue
            if len(cells) != len(columns):
                told = f"the row that begins here has {len(cells)} cells under {len(columns)} columns"
                raise ValueError(
                    f"{at}: {told}; a cell with a comma or a line break in it needs quotes around it"
                )
            self._ledger.n_rows += 1
            yield Row(at=at, number=self._ledger.n_rows, values=dict(zip(columns, cells, strict=True)))

    def facts(self) -> FileFacts:
        """Return the name and the hash of the file; call it when all rows are read."""
        return self._lines.facts()

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line on which each row begins, and its cells."""
        reader = csv.reader(iter(self._lines), strict=True)
        for _ in count():
            begins = reader.line_num + 1
            try:
                yield begins, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                told = f"{self._name}:{begins}: not CSV, {error}, in the row that begins here"
                raise ValueError(f"{told}; is a quotation mark not closed or not doubled?") from error

    def _check_heading(self, columns: Sequence[str]) -> None:
        at = f"{self._name}:1"
        if not any(map(str.strip, columns)):
            raise ValueError(f"{at}: is empty; need a heading with {listed(self._needed)}")
        if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
            raise ValueError(f"{at}: column {listed(twice)} stands twice in the heading")
        if missing := [name for name in self._needed if name not in columns]:
            got = f"got {listed(columns)}{meant(missing[0], columns)}"
            one = "; cells must be parted by commas" if len(columns) == 1 else ""
            raise ValueError(f"{at}: column {listed(missing)} is missing; {got}{one}")
