"""Read a chat completion strictly: it is a reply, or it is said what is wrong with it."""

from pipeline.endpoint.records import AnswerToken, Reply, TokenOption
from pipeline.json_text import Json, parse_json, shown

IMPOSSIBLE = -9999.0
"""The log-prob that stands for probability 0, as OpenAI and vLLM write it; others write null."""

BROKEN_OFF = ("error", "abort")
"""Finish reasons with which servers say that generation failed, though the status is 200."""


def parse_completion(body: bytes, request: str) -> Reply:
    """Return the first choice of a chat completion.

    Args:
        body: What came, with status 200.
        request: The id of the request.

    Raises:
        ValueError: It is no JSON or no chat completion, or the server says in it that it failed.
    """
    return completion(parse_json(body, "reply"), request)


def completion(value: Json, request: str) -> Reply:
    """Return the first choice of a parsed chat completion.

    Raises:
        ValueError: It is no chat completion, or the server says in it that it failed.
    """
    answer = _object(value, "reply")
    if answer.get("error"):
        raise ValueError(f"reply: holds an error: {shown(answer['error'])}")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"reply: choices is {shown(choices)}; needed: a list with at least one")
    choice = _object(choices[0], "reply: choices[0]")
    message = _object(choice.get("message"), "reply: choices[0].message")
    finish = _text(choice.get("finish_reason"), "finish_reason")
    if finish in BROKEN_OFF:
        raise ValueError(f"reply: finish_reason is {finish!r}, the server broke off")
    refusal = message.get("refusal")
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        id=request,
        text=_text(message.get("content"), "content") or "",
        finish_reason=finish or "unknown",
        model=_text(answer.get("model"), "model") or "",
        refusal=_text(refusal, "refusal") or None,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        tokens=_tokens(choice.get("logprobs")),
    )


def _tokens(log_probs: Json) -> tuple[AnswerToken, ...]:
    if log_probs is None:
        return ()
    tokens = _object(log_probs, "reply: logprobs").get("content")
    return tuple(
        AnswerToken(
            token=_token(entry, at)["token"],
            log_prob=_log_prob(entry, at),
            options=tuple(
                TokenOption(token=_token(option, at)["token"], log_prob=_log_prob(option, at))
                for option in _list(entry.get("top_logprobs"), f"{at}.top_logprobs")
            ),
        )
        for i, entry in enumerate(_list(tokens, "reply: logprobs.content"))
        for at in [f"reply: logprobs.content[{i}]"]
    )


def _token(value: Json, at: str) -> dict[str, Json]:
    entry = _object(value, at)
    if not isinstance(entry.get("token"), str):
        raise ValueError(f"{at}: token is {shown(entry.get('token'))}; needed: text")
    return entry


def _log_prob(entry: dict[str, Json], at: str) -> float:
    value = entry.get("logprob", "missing")
    if value is None:
        return IMPOSSIBLE
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value > 1e-3:
        raise ValueError(f"{at}: logprob is {shown(value)}; allowed: a number up to 0")
    return min(float(value), 0.0)


def _object(value: Json, at: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ValueError(f"{at}: is {shown(value)}; needed: an object")
    return value


def _list(value: Json, at: str) -> list[Json]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{at}: is {shown(value)}; needed: a list")
    return value


def _text(value: Json, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"reply: {name} is {shown(value)}; allowed: text or null")
    return value


def _count(value: Json) -> int | None:
    return value if type(value) is int and value >= 0 else None
