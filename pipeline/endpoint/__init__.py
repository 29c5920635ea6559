"""Ask language models behind any OpenAI-compatible server: concurrent, retried, cached and resumable."""

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.ask import ask
from pipeline.endpoint.batch import batch_replies
from pipeline.endpoint.batch_lines import read_batch, write_batch
from pipeline.endpoint.estimate import Estimate, Prices, estimate
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
    "Estimate",
    "Failure",
    "FailureReason",
    "Prices",
    "Reply",
    "Result",
    "TokenOption",
    "ask",
    "batch_replies",
    "estimate",
    "read_batch",
    "write_batch",
]
