"""Turn chats into token rows that know their role spans, and rows into padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from activations.chat import Chat, Span, Template, render
from activations.subject import Subject

Side = Literal["left", "right"]


@dataclass(frozen=True)
class TokenRow:
    """One tokenized chat.

    Attributes:
        name: Names the row in errors and files.
        ids: Token ids, with the special tokens that the template wrote.
        offsets: For each token the characters of `text` it covers, `start` and `end`.
        text: The rendered chat.
        spans: The content of each message, in characters of `text`.
        n_prompt: Tokens before the answer; all of them where the chat has no answer yet.
    """

    name: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    text: str
    spans: tuple[Span, ...]
    n_prompt: int

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)

    def overlapping(self, start: int, end: int) -> list[bool]:
        """Say for each token whether it covers a character between `start` and `end`."""
        return [first < end and last > start for first, last in self.offsets]

    def answer_flags(self) -> list[bool]:
        """Say for each token whether it belongs to the answer's content (template tokens after it do not)."""
        if not self.spans or self.spans[-1].role != "assistant":
            return [False] * len(self)
        return self.overlapping(self.spans[-1].start, self.spans[-1].end)


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows padded to one length.

    Attributes:
        rows: The rows, in batch order.
        input_ids: Token ids; pads hold some valid id and are masked.
        attention_mask: 1 on tokens, 0 on pads.
        position_ids: Positions counted from each row's first token; 0 on pads.
        side: Where the pads are.
    """

    rows: tuple[TokenRow, ...]
    input_ids: Int[Tensor, "batch position"]
    attention_mask: Int[Tensor, "batch position"]
    position_ids: Int[Tensor, "batch position"]
    side: Side

    def spread(self, flags: Sequence[Sequence[bool]]) -> Bool[Tensor, "batch position"]:
        """Lay one list of flags per row onto the padded batch; pads are False."""
        mask = torch.zeros(self.input_ids.shape, dtype=torch.bool)
        for i, row in enumerate(flags):
            mask[i, self.start(i) : self.start(i) + len(row)] = torch.tensor(row, dtype=torch.bool)
        return mask.to(self.input_ids.device)

    def start(self, index: int) -> int:
        """Return the column of a row's first token."""
        return self.input_ids.shape[1] - len(self.rows[index]) if self.side == "left" else 0


def tokenize(subject: Subject, chat: Chat, *, name: str = "row", template: Template = "chat") -> TokenRow:
    """Tokenize one chat, or plain text, and find its role spans.

    Raises:
        ValueError: The chat is malformed, the tokenizer cannot give offsets, or the row is longer than the
            context.
    """
    try:
        rendered = render(subject.tokenizer, chat, template)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not subject.tokenizer.is_fast:
        kind = type(subject.tokenizer).__name__
        raise ValueError(f"{name}: {kind} gives no character offsets; use its fast version")
    wants_special = isinstance(chat, str) or template == "plain"  # chat templates write their own
    encoding = subject.tokenizer(
        rendered.text, add_special_tokens=wants_special, return_offsets_mapping=True, verbose=False
    )
    offsets = tuple((int(first), int(last)) for first, last in encoding["offset_mapping"])
    ids = tuple(encoding["input_ids"])
    limit = subject.context_length
    if limit is not None and len(ids) > limit:
        raise ValueError(f"{name}: {len(ids)} tokens, the model's context holds {limit}")
    if not ids:
        raise ValueError(f"{name}: the text holds no token")
    answer = rendered.answer
    n_prompt = len(ids)
    if answer is not None:
        n_prompt = next((i for i, (_, last) in enumerate(offsets) if last > answer.start), len(ids))
    return TokenRow(name, ids, offsets, rendered.text, rendered.spans, n_prompt)


def tokenize_all(
    subject: Subject,
    chats: Sequence[Chat],
    *,
    names: Sequence[str] | None = None,
    template: Template = "chat",
) -> tuple[TokenRow, ...]:
    """Tokenize many chats; rows without a name are called by their index.

    Raises:
        ValueError: There are no chats, names and chats differ in number, or a chat is bad.
    """
    if isinstance(chats, str):
        raise ValueError(f"chats: got one text {chats[:40]!r}, expected a list of chats")
    if not chats:
        raise ValueError("chats: got none, need at least one")
    names = [f"row {i}" for i in range(len(chats))] if names is None else names
    if len(names) != len(chats):
        raise ValueError(f"names: got {len(names)}, need one for each of {len(chats)} chats")
    return tuple(
        tokenize(subject, chat, name=name, template=template) for name, chat in zip(names, chats, strict=True)
    )


def pad(
    rows: Sequence[TokenRow],
    device: torch.device | str = "cpu",
    *,
    side: Side = "left",
    width: int | None = None,
) -> Batch:
    """Pad rows to the longest of them, or to `width` if that is more; the tokenizer's padding plays no part.

    Raises:
        ValueError: `side` is neither left nor right.
    """
    if side not in get_args(Side):
        raise ValueError(f"side {side!r}: expected one of {get_args(Side)}")
    width = max([len(row) for row in rows] + ([] if width is None else [width]))
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        columns = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, columns] = torch.tensor(row.ids)
        mask[i, columns] = 1
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0) * mask
    return Batch(tuple(rows), ids.to(device), mask.to(device), positions.to(device), side)
