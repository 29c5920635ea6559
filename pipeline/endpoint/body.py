"""The body of a chat completion call, and the key under which its reply is remembered."""

import hashlib
import json

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.records import ChatRequest
from pipeline.json_text import Json, to_json


def chat_body(endpoint: Endpoint, request: ChatRequest) -> dict[str, Json]:
    """Return what is sent to `/v1/chat/completions`; settings that are None are left to the server."""
    settings = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "logprobs": None if request.top_logprobs is None else True,
        "top_logprobs": request.top_logprobs,
    }
    return {
        "model": endpoint.model,
        "messages": [{"role": turn.role, "content": sendable(turn.content)} for turn in request.messages],
        endpoint.limit_field: request.max_tokens,
        **{name: value for name, value in settings.items() if value is not None},
        **to_json(request.extra, f"request {request.id!r}: extra"),
    }


def request_key(endpoint: Endpoint, request: ChatRequest) -> str:
    """Return a hash of all that determines the reply: address, body and number of the draw, never the key."""
    facts = {
        "format": "misdirection.request/1",
        "base_url": endpoint.base_url.rstrip("/"),
        "body": chat_body(endpoint, request),
        "sample": request.sample,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sendable(text: str) -> str:
    """Return a text as UTF-8 can carry it: half surrogate pairs, as some models write them, become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
