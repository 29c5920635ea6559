"""Tell apart what goes wrong with a call: worth another attempt, wrong with this request, wrong with all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import openai

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.records import FailureReason
from pipeline.endpoint.waits import LONGEST_WAIT, asked_wait
from pipeline.json_text import Json

NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""Codes that come with 429, but that no waiting heals."""

NO_MODEL = ("model_not_found", "model_not_available")
"""Codes that say with any status that the model is not there."""

_AGAIN = {408: "timeout", 409: "server_error", 425: "server_error", 429: "rate_limited"}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What came of one call in place of a reply.

    Attributes:
        reason: As in a `Failure`.
        text: What came, on one line.
        again: Another attempt may help.
        status: The HTTP status; None if no answer came.
        wait: Seconds that the server asks to wait; None if it does not say.
        ends: What is wrong with every request; None if it may be this one only.
    """

    reason: FailureReason
    text: str
    again: bool = True
    status: int | None = None
    wait: float | None = None
    ends: PermissionError | LookupError | None = None


def trouble(error: Exception, endpoint: Endpoint) -> Trouble:
    """Return what an error of a call means.

    Raises:
        Exception: The error itself, if it is none of a call.
    """
    if isinstance(error, openai.APIStatusError):
        return status_trouble(
            error.status_code, error.body or error.response.text, error.response.headers, endpoint
        )
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        return Trouble(reason="timeout", text=f"no whole answer within {endpoint.timeout:g} s")
    if isinstance(error, openai.APIConnectionError):
        return Trouble(reason="connection", text=one_line(_root(error), endpoint))
    if isinstance(error, ValueError):
        return Trouble(reason="bad_reply", text=one_line(str(error), endpoint), status=200)
    raise error


def status_trouble(status: int, body: Json, headers: Mapping[str, str], endpoint: Endpoint) -> Trouble:
    """Return what an answer with a status other than 200 means.

    Args:
        status: The HTTP status.
        body: What came: JSON or text.
        headers: Of the answer.
        endpoint: Who was asked; its key is taken out of what the server says.
    """
    text = f"HTTP {status}, {one_line(message_of(body), endpoint)}"
    if ends := _end(status, code_of(body), text, endpoint):
        return Trouble(reason="refused_request", text=text, again=False, status=status, ends=ends)
    if status not in _AGAIN and status < 500:
        return Trouble(reason="refused_request", text=text, again=False, status=status)
    wait = asked_wait(headers, datetime.now(UTC))
    if patient := wait is not None and wait > LONGEST_WAIT:
        text = f"{text}; it asks to wait {wait:.0f} s, longer than {LONGEST_WAIT:.0f} s"
    reason: FailureReason = (
        "rate_limited" if status == 429 else "timeout" if status == 408 else "server_error"
    )
    return Trouble(reason=reason, text=text, again=not patient, status=status, wait=wait)


def message_of(body: Json) -> str:
    """Return what a server says went wrong, wherever it puts it."""
    said = body
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    return said if isinstance(said, str) else repr(said)


def code_of(body: Json) -> str | None:
    """Return the code that a server gives its error, if it gives one."""
    said = body.get("error", body) if isinstance(body, dict) else None
    code = said.get("code") if isinstance(said, dict) else None
    return code if isinstance(code, str) else None


def one_line(text: str, endpoint: Endpoint) -> str:
    """Return what a server said as an error can show it: one line, at most 200 characters, without the key."""
    if key := endpoint.key():
        text = text.replace(key, "[key]")
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


def _root(error: BaseException) -> str:
    """Return the words of the innermost error that has some; the client's own are always the same."""
    words, inner = str(error), error.__cause__ or error.__context__
    while inner is not None:
        words = str(inner) or words
        inner = inner.__cause__ or inner.__context__
    return words


def _end(
    status: int, code: str | None, text: str, endpoint: Endpoint
) -> PermissionError | LookupError | None:
    said = f"{endpoint.named()}: {text}"
    if status in (401, 403):
        state = "is set" if endpoint.key() else "is not set, so no key was sent"
        return PermissionError(f"{said}; the environment variable {endpoint.key_variable} {state}")
    if status == 402 or code in NO_CREDIT:
        return PermissionError(f"{said}; there is no credit left, what was answered is kept")
    if status == 404 or code in NO_MODEL:
        return LookupError(
            f"{said}; see that the model's name is the server's and that base_url ends as it should"
        )
    return None
