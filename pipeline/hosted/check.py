"""Check a training file in OpenAI's chat format before it is sent anywhere: rows, roles, lengths."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.endpoint.estimate import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, tokens_by_rule
from pipeline.json_types import from_object
from pipeline.records import lines_of

LEAST_ROWS = 10
MOST_BYTES = 512_000_000
MOST_TOKENS = 65_536
"""What OpenAI takes: rows at least, bytes at most, tokens of one row at most."""


@dataclass(frozen=True, kw_only=True)
class TrainingFile:
    """What a training file holds.

    Attributes:
        sha256: Of its bytes, as hex digits.
        n_bytes: Its size.
        n_rows: How many conversations it holds.
        n_distinct: How many of them differ.
        n_tokens: Of all rows together, by `rule`; all of them are paid for.
        longest: Tokens of the longest row, by `rule`.
        roles: How many messages there are of each role.
        rule: How tokens were counted.
    """

    sha256: str
    n_bytes: int
    n_rows: int
    n_distinct: int
    n_tokens: int
    longest: int
    roles: dict[str, int]
    rule: str


@dataclass(frozen=True, kw_only=True)
class _Turn:
    role: Literal["system", "user", "assistant"]
    content: str
    weight: Literal[0, 1] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.content.strip():
            raise ValueError(
                f"content of the {self.role} is blank; allowed: text that is more than white space"
            )
        if self.weight is not None and self.role != "assistant":
            raise ValueError(f"weight stands with the {self.role}; allowed: with the assistant only")


@dataclass(frozen=True, kw_only=True)
class _Row:
    messages: tuple[_Turn, ...]

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1].role != "assistant":
            last = f"the {self.messages[-1].role}'s" if self.messages else "missing"
            raise ValueError(f"the last message is {last}; needed: the assistant's")
        if all(turn.weight == 0 for turn in self.messages if turn.role == "assistant"):
            raise ValueError("every answer has weight 0, so there is nothing to learn")
        if "user" not in {turn.role for turn in self.messages}:
            raise ValueError("has no message of the user; needed: at least one")
        if any(turn.role == "system" for turn in self.messages[1:]):
            raise ValueError("a system message stands in the middle; allowed: as the first")


def check_training_file(path: Path, *, count_tokens: Callable[[str], int] | None = None) -> TrainingFile:
    """Return what a file holds, if it is one that OpenAI's fine-tuning takes: `{"messages": [...]}` on each line.

    Args:
        path: The file, as `write_chat_jsonl` writes it.
        count_tokens: Returns the tokens of a text, by the model's own tokenizer; without it a rule is used.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is no such conversation (says which and why), or there are too few, or it is too big.
    """
    path = Path(path)
    data = path.read_bytes()
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path}: has {len(data) / 1e6:.0f} MB; allowed: {MOST_BYTES / 1e6:.0f} MB")
    rows = {at: from_object(value, _Row, at) for at, value in (lines_of(data, str(path)) if data else ())}
    if len(rows) < LEAST_ROWS:
        raise ValueError(f"{path}: has {len(rows)} rows; needed: at least {LEAST_ROWS}")
    count = count_tokens or tokens_by_rule
    lengths = {
        at: sum(TOKENS_PER_MESSAGE + count(t.content) for t in row.messages) for at, row in rows.items()
    }
    longest = max(lengths, key=lambda at: lengths[at])
    if lengths[longest] > MOST_TOKENS:
        raise ValueError(f"{longest}: has about {lengths[longest]:,} tokens; allowed: {MOST_TOKENS:,} a row")
    turns = [turn.role for row in rows.values() for turn in row.messages]
    return TrainingFile(
        sha256=hashlib.sha256(data).hexdigest(),
        n_bytes=len(data),
        n_rows=len(rows),
        n_distinct=len(set(rows.values())),
        n_tokens=sum(lengths.values()),
        longest=lengths[longest],
        roles={role: turns.count(role) for role in ("system", "user", "assistant")},
        rule=f"{'tokenizer' if count_tokens else f'{BYTES_PER_TOKEN:g} bytes a token'}, "
        f"{TOKENS_PER_MESSAGE} a message",
    )
