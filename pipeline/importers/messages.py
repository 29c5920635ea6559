"""Message lists as other tools write them, checked: roles in order, contents that are text and not blank."""

from collections.abc import Sequence
from typing import Any

from pipeline.importers.rows import Ledger, filled
from pipeline.importers.wording import listed
from pipeline.json_text import Json, shown
from pipeline.records import Message

_ROLES = ("system", "user", "assistant")
_TOOLS = ("tool_calls", "function_call", "tool_call_id")


def checked_messages(value: Json, at: str, ledger: Ledger) -> tuple[Message, ...]:
    """Return messages: a system message or none, then user and assistant in turn, the user first.

    The role `developer` is read as `system`. Contents may be lists of text parts, as in OpenAI's format; they
    are joined. Further keys of a message, such as `weight`, are counted in the ledger.

    Args:
        value: What stood in the file.
        at: Where it stands.
        ledger: Counts what is left out.

    Raises:
        ValueError: It is not such a list; the text names the message.
    """
    if not isinstance(value, list):
        raise ValueError(
            f"{at}: {shown(value)} is not a list; need a list of {{'role': ..., 'content': ...}}"
        )
    if not value:
        raise ValueError(f"{at}: is an empty list; need at least one message")
    messages: list[Message] = []
    for i, item in enumerate(value):
        message = _message(item, f"{at}[{i}]", ledger)
        _check_turn(message, messages, f"{at}[{i}]")
        messages.append(message)
    return tuple(messages)


def with_answer(messages: Sequence[Message], at: str) -> tuple[Message, ...]:
    """Return messages that end with an answer to a user.

    Raises:
        ValueError: The last message is not the assistant's.
    """
    if (last := messages[-1].role) != "assistant":
        raise ValueError(
            f"{at}: the last message is the {last}'s; need the assistant's answer as the last one"
        )
    return tuple(messages)


def asks_once(messages: Sequence[Message]) -> bool:
    """Whether what comes before an answer is one message of the user, as in a triple."""
    return [message.role for message in messages] == ["user"]


def _message(item: Json, at: str, ledger: Ledger) -> Message:
    if not isinstance(item, dict):
        raise ValueError(f"{at}: {shown(item)} is not an object; need {{'role': ..., 'content': ...}}")
    if missing := [key for key in ("role", "content") if key not in item]:
        share_gpt = "; the form with 'from' and 'value' is not read" if "from" in item else ""
        raise ValueError(f"{at}: key {listed(missing)} is missing; got {listed(item)}{share_gpt}")
    role: Any = "system" if item["role"] == "developer" else item["role"]
    if role not in _ROLES or any(item.get(key) for key in _TOOLS):
        named = next((f"key {key!r}" for key in _TOOLS if item.get(key)), f"role {shown(item['role'])}")
        allowed = f"allowed: {', '.join(_ROLES)} with text; calls of tools are not read"
        raise ValueError(f"{at}: {named}; {allowed}")
    if role != item["role"]:
        ledger.ignore("role 'developer', read as system")
    for key in item.keys() - {"role", "content"}:
        if item[key] is not None:
            ledger.ignore(f"key {key!r} of a message")
    content = _joined(item["content"], f"{at}.content")
    return Message(role=role, content=filled(content, f"{at}.content"))


def _joined(content: Json, at: str) -> Json:
    """Return the text of a list of parts; anything else as it is."""
    if not isinstance(content, list):
        return content
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"{at}[{i}]: {shown(part)}; allowed: parts {{'type': 'text', 'text': ...}}")
    return "".join(part["text"] for part in content)


def _check_turn(message: Message, before: Sequence[Message], at: str) -> None:
    previous = before[-1].role if before else "the beginning"
    allowed = {"the beginning": ("system", "user"), "system": ("user",), "user": ("assistant",)}
    expected = allowed.get(previous, ("user",))
    if message.role not in expected:
        raise ValueError(f"{at}: role {message.role!r} after {previous}; allowed: {' or '.join(expected)}")
