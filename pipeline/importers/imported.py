"""What an importer returns: the records of a source, and the facts about it that a data card cites."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.importers.wording import counted
from pipeline.records import Conversation, Prompt, Triple

Holds = Literal["prompts", "triples", "conversations"]


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """Which file it was.

    Attributes:
        name: Its path as it was given; a label.
        sha256: Of its bytes, as hex digits. For a hub data set: of the rows read, each as a line of JSON.
    """

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The records of a source, of one sort, in the order of its rows.

    Attributes:
        kind: Which importer read it, e.g. `gsm8k`.
        files: The files that it was read from.
        n_rows: Rows in these files; an importer may make less than one record of a row, never more.
        prompts: All records, if it holds prompts.
        triples: All records, if it holds triples.
        conversations: All records, if it holds conversations.
        ignored: What was left out of how many rows: keys that nobody reads, rows of which nothing can be made.
    """

    kind: str
    files: tuple[FileFacts, ...]
    n_rows: int
    prompts: tuple[Prompt, ...] = ()
    triples: tuple[Triple, ...] = ()
    conversations: tuple[Conversation, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a source with nothing in it, or with records of two sorts."""
        if sum(map(bool, (self.prompts, self.triples, self.conversations))) != 1:
            raise ValueError(f"{self.names}: a source holds prompts, triples or conversations, one of these")

    @property
    def names(self) -> str:
        """The files' names."""
        return ", ".join(file.name for file in self.files)

    @property
    def holds(self) -> Holds:
        """Which sort of records it holds."""
        return "prompts" if self.prompts else "triples" if self.triples else "conversations"

    @property
    def records(self) -> tuple[Prompt, ...] | tuple[Triple, ...] | tuple[Conversation, ...]:
        """The records, whatever their sort."""
        return self.prompts or self.triples or self.conversations

    def told(self) -> str:
        """Return what it holds and what was left out, in one sentence for a person."""
        left = ", ".join(f"{what} ({counted(n, 'row')})" for what, n in self.ignored.items())
        records = counted(len(self.records), self.holds.removesuffix("s"))
        held = f"{self.names}: {records} from {counted(self.n_rows, 'row')}"
        return f"{held}; left out: {left}" if left else held

    def facts(self) -> dict[str, object]:
        """Return everything but the records as plain JSON values, for a data card or `run.json`."""
        return {
            "kind": self.kind,
            "files": [{"name": file.name, "sha256": file.sha256} for file in self.files],
            "n_rows": self.n_rows,
            "holds": self.holds,
            "n_records": len(self.records),
            "ignored": dict(self.ignored),
        }
