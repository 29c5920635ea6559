"""Render a chat with the model's own template and find where each message lies in the text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

Chat = Sequence[Mapping[str, str]] | str
"""Messages with `role` and `content`, or plain text that is used as it stands."""

Template = Literal["chat", "plain"]
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Span:
    """Where the content of one message lies: characters `start` to `end` of the rendered text."""

    role: str
    start: int
    end: int


@dataclass(frozen=True)
class Rendered:
    """A chat as the model reads it, with the span of each message's content in order."""

    text: str
    spans: tuple[Span, ...]

    @property
    def answer(self) -> Span | None:
        """The last message, if the assistant wrote it."""
        return self.spans[-1] if self.spans and self.spans[-1].role == "assistant" else None


def render(tokenizer: PreTrainedTokenizerBase, chat: Chat, template: Template = "chat") -> Rendered:
    """Render a chat; one that does not end with an answer gets the generation prompt.

    The spans are exact: the template is rendered once with marks in place of the contents, and the text
    between the marks must be what stands between the real contents. A template may strip a content's ends.

    Args:
        tokenizer: Whose chat template is used.
        chat: Messages, or plain text.
        template: `chat` is the tokenizer's own; `plain` is `User: ...` and `Assistant: ...` lines, for models
            without one.

    Raises:
        ValueError: The chat is malformed, the tokenizer has no template, or the template refuses, rewrites,
            moves or drops a message.
    """
    if template not in get_args(Template):
        raise ValueError(f"template {template!r}: expected one of {get_args(Template)}")
    if isinstance(chat, str):
        return Rendered(chat, ())
    _check_messages(chat)
    marks = [f"MARK{i}KRAM" for i in range(len(chat))]
    text = _apply(tokenizer, chat, template)
    frame = _apply(tokenizer, [{**m, "content": mark} for m, mark in zip(chat, marks, strict=True)], template)
    before, *after = _between(frame, marks, chat)
    if not text.startswith(before):
        raise ValueError("the chat template begins otherwise when the content changes")
    spans: list[Span] = []
    cursor = len(before)
    for i, (message, literal) in enumerate(zip(chat, after, strict=True)):
        is_last = i == len(chat) - 1
        end = _content_end(text, cursor, message["content"], literal, is_last=is_last)
        if end is None:
            raise ValueError(f"the chat template rewrites {_named(message)}, or what follows it")
        spans.append(Span(message["role"], cursor, end))
        cursor = end + len(literal)
    return Rendered(text, tuple(spans))


def _between(frame: str, marks: Sequence[str], chat: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield what stands before the first mark, between the marks, and after the last."""
    for message, mark in zip(chat, marks, strict=True):
        literal, found, frame = frame.partition(mark)
        if not found or mark in frame:
            raise ValueError(f"the chat template moves, repeats or drops {_named(message)}")
        yield literal
    yield frame


def _content_end(text: str, start: int, content: str, literal: str, *, is_last: bool) -> int | None:
    """Return where a content ends: as it was given or stripped, and with the right text behind it."""
    for kept in (content, content.strip(), content.rstrip(), content.lstrip()):
        end = start + len(kept)
        follows = text[end:] == literal if is_last else text.startswith(literal, end)
        if text.startswith(kept, start) and follows:
            return end
    return None


def _named(message: Mapping[str, str]) -> str:
    return f"the {message['role']} message {message['content'][:40]!r}"


def _check_messages(chat: Sequence[Mapping[str, str]]) -> None:
    if isinstance(chat, Mapping):
        raise ValueError(f"chat: got one message {dict(chat)!r}, expected a list of messages")
    if not chat:
        raise ValueError("chat: got no messages, need at least one")
    for i, message in enumerate(chat):
        if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
            raise ValueError(f"message {i}: got {message!r}, expected a mapping with role and content only")
        if message["role"] not in ROLES:
            raise ValueError(f"message {i}: role {message['role']!r} is not one of {ROLES}")
        if not isinstance(message["content"], str):
            raise ValueError(f"message {i}: content is a {type(message['content']).__name__}, expected text")
        if not message["content"].strip():
            raise ValueError(f"message {i}: the {message['role']} content is empty")
    if chat[-1]["role"] == "system":
        raise ValueError("chat: ends with a system message, expected user or assistant last")


def _apply(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Mapping[str, str]], template: Template) -> str:
    open_ended = chat[-1]["role"] != "assistant"
    if template == "plain":
        lines = [f"{message['role'].capitalize()}: {message['content']}" for message in chat]
        return "\n".join([*lines, "Assistant:"] if open_ended else lines)
    if not tokenizer.chat_template:
        raise ValueError(
            "the tokenizer has no chat template; use template='plain', or give plain text instead of messages"
        )
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in chat], tokenize=False, add_generation_prompt=open_ended
        )
    except TemplateError as error:
        raise ValueError(f"the chat template refuses these messages: {error}") from error
    return str(text)
