"""Rows of a source with their places, and the ledger of what was read and what was left out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from activations.progress import Progress, silent
from pipeline.importers.imported import FileFacts, Imported
from pipeline.importers.source_file import Lines, SourceFile
from pipeline.importers.wording import counted, listed, meant
from pipeline.json_text import Json, parse_json, shown
from pipeline.json_types import from_json
from pipeline.records import Conversation, Prompt, Triple

Plain = (str, int, float, bool, type(None), list, dict)
"""Types that JSON has; columns of tables may hold others, such as bytes and dates."""

_MOST_KEYS = 50
"""So many keys that nobody reads are counted one by one; a hostile file may have any number."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as it came.

    Attributes:
        at: Where it stands, for errors: `FILE:LINE`, or `FILE: row N` where there are no lines.
        number: Of the row, or of the line on which it begins; from 1.
        values: What stands under each key or column.
    """

    at: str
    number: int
    values: Mapping[str, Json]

    def text(self, key: str) -> str:
        """Return text that must be there and not blank.

        Raises:
            ValueError: It is missing, null, of another type, blank, or holds half a surrogate pair.
        """
        if key not in self.values:
            got = f"got {listed(self.values)}{meant(key, self.values)}"
            raise ValueError(f"{self.at}: key {key!r} is missing; {got}")
        return filled(self.values[key], f"{self.at}: {key}")


def filled(value: Json, at: str) -> str:
    """Return a value that is text, not blank, and can be written as UTF-8.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, Plain):
        raise ValueError(f"{at}: {shown(value)} is of type {type(value).__name__}; allowed: text")
    text: str = value if type(value) is str else from_json(value, str, at)  # the latter says what it is
    if not text.strip():
        raise ValueError(f"{at}: is blank; allowed: text that is more than white space")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"half a surrogate pair at character {error.start + 1}"
        raise ValueError(
            f"{at}: {half}, as when a text was cut inside an emoji; no model can read it"
        ) from error
    return text


class Ledger:
    """What was read of a source: how many rows, which ids they have, and what was left out."""

    def __init__(self, stem: str) -> None:
        """Start with nothing; `stem` begins the ids of rows that have none."""
        self.n_rows = 0
        self.ignored: Counter[str] = Counter()
        self.stem = stem
        self._seen: dict[str, str] = {}

    def id_of(self, row: Row, key: str | None = "id") -> str:
        """Return the row's own id, text or a whole number; where it has none, the file's name and its number.

        Args:
            row: The row.
            key: Where its own id would stand; None if it has none.

        Raises:
            ValueError: It is of another type, blank, or another row has it.
        """
        made = f"{self.stem}-{row.number}"
        value = made if key is None else row.values.get(key, made)
        if type(value) is int:
            value = str(value)
        elif not isinstance(value, str) or not value.strip():
            raise ValueError(
                f"{row.at}: {key}: {shown(value)}; allowed: text that is not blank, or a whole number"
            )
        found = filled(value, f"{row.at}: {key}")
        if (first := self._seen.setdefault(found, row.at)) != row.at:
            raise ValueError(f"{row.at}: id {found!r} is that of {first} already; ids must be unique")
        return found

    def ignore(self, what: str) -> None:
        """Count a row of which something, or everything, is left out."""
        many = len(self.ignored) >= _MOST_KEYS and what not in self.ignored
        self.ignored["further keys" if many else what] += 1

    def ignore_keys_but(self, row: Row, known: Iterable[str]) -> None:
        """Count every key of a row that is not read, unless there is null under it."""
        for key in row.values.keys() - set(known):
            if row.values[key] is not None:
                self.ignore(f"key {key!r}")

    def imported(
        self,
        kind: str,
        files: tuple[FileFacts, ...],
        *,
        prompts: tuple[Prompt, ...] = (),
        triples: tuple[Triple, ...] = (),
        conversations: tuple[Conversation, ...] = (),
    ) -> Imported:
        """Return the records with what this ledger knows.

        Raises:
            ValueError: There is no record.
        """
        names = ", ".join(file.name for file in files)
        if not self.n_rows:
            raise ValueError(f"{names}: is empty; need at least one row")
        ignored = dict(sorted(self.ignored.items(), key=lambda item: (-item[1], item[0])))
        if not (prompts or triples or conversations):
            why = ", ".join(f"{what} ({n})" for what, n in ignored.items())
            raise ValueError(f"{names}: of {counted(self.n_rows, 'row')} none can be used: {why}")
        return Imported(
            kind=kind,
            files=files,
            n_rows=self.n_rows,
            prompts=prompts,
            triples=triples,
            conversations=conversations,
            ignored=ignored,
        )


class JsonRows:
    """The JSON objects of a JSONL file, one per line, once; blank lines are left out and counted."""

    def __init__(self, source: SourceFile, ledger: Ledger, progress: Progress = silent) -> None:
        """Remember what to read; nothing is opened yet."""
        self._lines = Lines(source, progress)
        self._name = source.name
        self._ledger = ledger

    def __iter__(self) -> Iterator[Row]:
        """Yield each row.

        Raises:
            ValueError: A line is no JSON object.
        """
        for number, line in enumerate(self._lines, start=1):
            at = f"{self._name}:{number}"
            if not line.strip():
                self._ledger.ignore("blank line")
                continue
            value = _parsed(line, at)
            if not isinstance(value, dict):
                raise ValueError(f"{at}: {shown(value)} is not an object; {_ONE_A_LINE}")
            self._ledger.n_rows += 1
            yield Row(at=at, number=number, values=value)

    def facts(self) -> FileFacts:
        """Return the name and the hash of the file; call it when all rows are read."""
        return self._lines.facts()


_ONE_A_LINE = 'need JSONL: one object {"key": ...} on each line, no list around them'


def _parsed(line: str, at: str) -> Json:
    try:
        return parse_json(line, at)
    except ValueError as error:
        spread = line.strip() in ("{", "[", "[{") or line.lstrip().startswith(("[", "<"))
        raise ValueError(f"{error}; {_ONE_A_LINE}" if spread else str(error)) from error
