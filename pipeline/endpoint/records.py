"""What is asked of a language model behind an endpoint, and what comes back: a reply, or why there is none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias

from pipeline.json_text import Json
from pipeline.json_types import MaybeBlank
from pipeline.records import Message

_TAKEN = {"model", "logprobs", "max_completion_tokens", "n", "stream"}


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """One call of `/v1/chat/completions`.

    Attributes:
        id: Unique among the requests that are asked together; it comes back with the answer.
        messages: The conversation so far.
        max_tokens: How long the answer may be.
        temperature: 0 for the most likely answer; None leaves the choice to the server, as models that fix
            their temperature want it.
        top_p: Draw from the most likely tokens that make up this probability; None: the server's default.
        seed: For servers that can repeat a draw; None sends none.
        stop: Texts that end the answer.
        top_logprobs: How many alternatives to report with each token of the answer; None asks for no log-probs.
        sample: Which draw this is. It is not sent, but requests that differ in it are different requests:
            five samples of one question are five calls, not one call and four cached copies.
        extra: Fields of one server only, sent as they are, e.g. `{"response_format": {"type": "json_object"}}`.
    """

    id: str
    messages: tuple[Message, ...]
    max_tokens: int = 512
    temperature: float | None = 1.0
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    sample: int = 0
    extra: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a request that no server can answer."""
        if not self.messages:
            raise ValueError(f"request {self.id!r}: has no messages, need at least 1")
        if self.max_tokens < 1:
            raise ValueError(f"request {self.id!r}: max_tokens is {self.max_tokens}; allowed: 1 or more")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ValueError(f"request {self.id!r}: temperature is {self.temperature}; allowed: 0 to 2")
        if self.top_logprobs is not None and self.top_logprobs < 0:
            raise ValueError(f"request {self.id!r}: top_logprobs is {self.top_logprobs}; allowed: 0 or more")
        own = {known.name for known in fields(self)} | _TAKEN
        if taken := sorted(own & self.extra.keys()):
            raise ValueError(f"request {self.id!r}: extra holds {', '.join(taken)}, which has its own place")


@dataclass(frozen=True, kw_only=True)
class TokenOption:
    """A token that could have stood there.

    Attributes:
        token: Its text, as the server writes it.
        log_prob: Natural logarithm of its probability; -9999.0 stands for probability 0.
    """

    token: MaybeBlank
    log_prob: float


@dataclass(frozen=True, kw_only=True)
class AnswerToken:
    """One token of an answer, with the alternatives that the server reports.

    Some servers (llama.cpp's) report tokens that are parts of one letter as one, with the options of the first.

    Attributes:
        token: Its text, as the server writes it.
        log_prob: Natural logarithm of its probability; -9999.0 stands for probability 0.
        options: The most likely tokens of this place, as many as were asked for; mostly with `token` among them.
    """

    token: MaybeBlank
    log_prob: float
    options: tuple[TokenOption, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer.

    Attributes:
        id: Of the request.
        text: What the model wrote; untrusted, and blank where it wrote nothing.
        finish_reason: Why it ended, in the server's words: `stop`, `length`, `content_filter`, ...
        model: Which model answered, in the server's words.
        refusal: What the server puts into its `refusal` field in place of a text; None for an answer.
        prompt_tokens: How many the server counted; None if it did not say.
        completion_tokens: How many the server counted; None if it did not say.
        tokens: Log-probs by token of the answer; empty if not asked for, or if the server gave none.
        cached: No call was made for it: it was in the cache, or an equal request of the same run was asked.
        attempts: How many calls it took, 0 for a cached one.
    """

    id: str
    text: MaybeBlank
    finish_reason: str
    model: MaybeBlank
    refusal: MaybeBlank | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens: tuple[AnswerToken, ...] = ()
    cached: bool = False
    attempts: int = 1


FailureReason = Literal[
    "rate_limited", "server_error", "timeout", "connection", "bad_reply", "refused_request"
]
"""Why there is no answer: 429 each time, 5xx each time, no answer in time, no or a broken connection, an answer
that is no chat completion, or a request that the server does not take (400, 413, 422, ...; it is not repeated)."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a request has no answer. It is never cached: the next run asks again.

    Attributes:
        id: Of the request.
        reason: What kept failing, by the last attempt.
        text: What came at the last attempt, on one line.
        attempts: How many calls were made.
        status: The HTTP status of the last attempt; None if no answer came.
    """

    id: str
    reason: FailureReason
    text: MaybeBlank
    attempts: int
    status: int | None = None


Result: TypeAlias = Reply | Failure
"""What each request ends in."""


def distinct(requests: Sequence[ChatRequest]) -> tuple[ChatRequest, ...]:
    """Return requests that can be asked together.

    Raises:
        ValueError: There is none, or an id stands twice.
    """
    if not requests:
        raise ValueError("requests: got none, need at least 1")
    if twice := [row for row, n in Counter(request.id for request in requests).items() if n > 1]:
        raise ValueError(f"requests: id {twice[0]!r} stands twice; ids must be unique")
    return tuple(requests)
