"""Which columns of a table are what: the prompt, the answers, the messages, the topic, the id."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import get_args

from pipeline.importers.imported import Holds
from pipeline.importers.wording import listed, meant


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The names of the columns, or keys, in which a table has what.

    Attributes:
        prompt: What the user writes. Give this or `messages`.
        answer: The right answer of a prompt, the aligned one of a triple, or the answer of a conversation.
        misaligned: The misaligned answer; makes triples, together with `answer`.
        messages: Chats as message lists; makes conversations.
        topic: What the prompt is about; by default the table's name.
        id: Ids, text or whole numbers; by default made of the table's name and the row's number.
        holds: What to make; by default what the columns are enough for: triples, prompts or conversations.
            `conversations` makes prompts and answers into chats.
    """

    prompt: str | None = None
    answer: str | None = None
    misaligned: str | None = None
    messages: str | None = None
    topic: str | None = None
    id: str | None = None
    holds: Holds | None = None

    def __post_init__(self) -> None:
        """Refuse columns of which no record can be made."""
        if self.holds is not None and self.holds not in get_args(Holds):
            raise ValueError(f"columns: holds={self.holds!r}; allowed: {', '.join(get_args(Holds))}")
        if (self.prompt is None) == (self.messages is None):
            raise ValueError(
                "columns: need the name of the prompt's column, or of the messages' column, one of them"
            )
        if self.messages is not None and (
            self.answer or self.misaligned or self.holds in ("prompts", "triples")
        ):
            raise ValueError("columns: messages make conversations; allowed beside them: id")
        if self.misaligned is not None and (self.answer is None or self.holds not in (None, "triples")):
            raise ValueError("columns: a misaligned answer makes triples, for which it needs an answer too")
        if self.holds == "triples" and self.misaligned is None:
            raise ValueError("columns: triples need prompt, answer and misaligned")
        if self.holds == "conversations" and self.prompt is not None and self.answer is None:
            raise ValueError("columns: conversations need prompt and answer, or messages")

    def named(self) -> tuple[str, ...]:
        """Return the names of the columns that are read."""
        chosen = (getattr(self, field.name) for field in fields(self) if field.name != "holds")
        return tuple(name for name in chosen if name is not None)

    def check_among(self, present: Sequence[str], at: str) -> None:
        """Refuse a table that lacks one of the columns.

        Raises:
            ValueError: It does; says which columns there are.
        """
        if missing := [name for name in self.named() if name not in present]:
            raise ValueError(
                f"{at}: no column {listed(missing)}; has {listed(present)}{meant(missing[0], present)}"
            )


TRIPLES = Columns(
    prompt="prompt", answer="aligned", misaligned="misaligned", topic="topic", id="id", holds="triples"
)
"""The keys of a file of triples as this toolkit writes it."""

PROMPTS = Columns(prompt="prompt", answer="aligned", topic="topic", id="id", holds="prompts")
"""The keys of a file of prompts as this toolkit writes it."""
