"""Say what asking will take before it is done: calls, tokens, and money at the user's own prices."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.body import request_key
from pipeline.endpoint.cache import remembered
from pipeline.endpoint.records import ChatRequest

BYTES_PER_TOKEN = 3.0
"""Without a tokenizer: fewer bytes than a token of plain text has on average, so the estimate is on the high side."""

TOKENS_PER_MESSAGE = 8
"""What chat templates put around a message, on the high side."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What a provider takes. There are no prices in this toolkit: they change, so they are yours to give.

    Attributes:
        prompt: For a million tokens of prompt.
        completion: For a million tokens of answer.
        currency: What it is counted in.
    """

    prompt: float
    completion: float
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Refuse prices that are none."""
        if not (0 <= self.prompt < math.inf and 0 <= self.completion < math.inf):
            raise ValueError(
                f"prices {self.prompt}, {self.completion}: allowed: 0 or more, per million tokens"
            )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What asking will take.

    Attributes:
        n_requests: How many requests there are.
        n_cached: How many the cache answers.
        n_equal: How many are equal to another one of the same run, and share its call.
        n_calls: How many calls are to be made, if each works at the first attempt.
        prompt_tokens: Of these calls, by `rule`.
        completion_tokens: At most, by the requests' `max_tokens`.
        rule: How the tokens of the prompts were counted.
        cost: At most, if every answer is as long as it may be; None without prices.
        currency: Of the cost; None without prices.
    """

    n_requests: int
    n_cached: int
    n_equal: int
    n_calls: int
    prompt_tokens: int
    completion_tokens: int
    rule: str
    cost: float | None = None
    currency: str | None = None

    def __str__(self) -> str:
        """Return it as a sentence."""
        calls = f"{self.n_calls:,} calls for {self.n_requests:,} requests ({self.n_cached:,} are cached"
        equal = f", {self.n_equal:,} are equal to others)" if self.n_equal else ")"
        tokens = f"about {self.prompt_tokens:,} prompt tokens ({self.rule})"
        told = f"{calls}{equal}; {tokens} and at most {self.completion_tokens:,} of answers"
        return told if self.cost is None else f"{told}; at most {self.cost:,.2f} {self.currency}"


def estimate(
    endpoint: Endpoint,
    requests: Sequence[ChatRequest],
    *,
    cache: Path | None = None,
    prices: Prices | None = None,
    count_tokens: Callable[[str], int] | None = None,
) -> Estimate:
    """Return what `ask` would take with the same arguments; nothing is sent, and no cache is made.

    Args:
        endpoint: Where the requests would go.
        requests: What would be asked.
        cache: The file of replies that are there already.
        prices: Without them the cost is None.
        count_tokens: Returns the tokens of a text, by the model's own tokenizer; without it a rule is used.

    Raises:
        ValueError: The cache is a file of another kind.
    """
    calls: dict[str, ChatRequest] = {}
    cached = remembered(endpoint, requests, cache)
    for request in requests:
        if request.id not in cached:
            calls.setdefault(request_key(endpoint, request), request)
    count = count_tokens or tokens_by_rule
    prompt = sum(
        TOKENS_PER_MESSAGE + count(turn.content) for call in calls.values() for turn in call.messages
    )
    completion = sum(call.max_tokens for call in calls.values())
    return Estimate(
        n_requests=len(requests),
        n_cached=len(cached),
        n_equal=len(requests) - len(cached) - len(calls),
        n_calls=len(calls),
        prompt_tokens=prompt,
        completion_tokens=completion,
        rule=f"{'tokenizer' if count_tokens else f'{BYTES_PER_TOKEN:g} bytes a token'}"
        f" and {TOKENS_PER_MESSAGE} a message",
        cost=None if prices is None else (prompt * prices.prompt + completion * prices.completion) / 1e6,
        currency=None if prices is None else prices.currency,
    )


def tokens_by_rule(text: str) -> int:
    """Return about how many tokens a text has, on the high side, without a tokenizer."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)
