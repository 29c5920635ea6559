"""Ask language models behind any OpenAI-compatible server: concurrent, retried, cached and resumable."""

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.ask import ask
from pipeline.endpoint.records import (
    AnswerToken,
    ChatRequest,
    Failure,
    FailureReason,
    Reply,
    Result,
    TokenOption,
)

__all__ = [
    "AnswerToken",
    "ChatRequest",
    "Endpoint",
    "Failure",
    "FailureReason",
    "Reply",
    "Result",
    "TokenOption",
    "ask",
]
