"""Bring one request to its end: attempts, waits, and the pause that a busy server asks of everybody."""

import asyncio
import random
import time
from dataclasses import dataclass, field, replace

from openai import AsyncOpenAI

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.body import chat_body
from pipeline.endpoint.client import key_header
from pipeline.endpoint.parse import parse_completion
from pipeline.endpoint.records import ChatRequest, Failure, Reply
from pipeline.endpoint.trouble import Trouble, trouble
from pipeline.endpoint.waits import backoff


@dataclass(kw_only=True)
class Line:
    """What the calls of one run share.

    Attributes:
        client: It makes the calls.
        endpoint: Where to, with which limits.
        draw: The source of jitter.
        answered: How many replies the server has given in this run.
        opens: Clock time before which no call is made: the server asked for a pause.
    """

    client: AsyncOpenAI
    endpoint: Endpoint
    draw: random.Random = field(default_factory=random.Random)
    answered: int = 0
    opens: float = 0.0

    async def until_open(self) -> None:
        """Return when the server may be called again."""
        while (wait := self.opens - time.monotonic()) > 0:
            await asyncio.sleep(wait)


async def call(line: Line, request: ChatRequest) -> Reply | Failure:
    """Make calls until there is a reply, no hope, or no attempt left.

    Raises:
        PermissionError: The server refuses the key, or there is no credit left.
        LookupError: The server does not know the model or the path.
    """
    attempt = 1
    while isinstance(outcome := await _attempt(line, request), Trouble):
        # A 403 after replies is about this request's text: some gateways refuse so what their filter dislikes.
        if outcome.ends and not (outcome.status == 403 and line.answered):
            raise outcome.ends
        if not outcome.again or attempt == line.endpoint.max_attempts:
            return Failure(
                id=request.id,
                reason=outcome.reason,
                text=outcome.text,
                attempts=attempt,
                status=outcome.status,
            )
        await _pause(line, outcome, attempt)
        attempt += 1
    line.answered += 1
    return replace(outcome, attempts=attempt)


async def _attempt(line: Line, request: ChatRequest) -> Reply | Trouble:
    await line.until_open()
    body = chat_body(line.endpoint, request)
    try:
        async with asyncio.timeout(line.endpoint.timeout):
            answer = await line.client.chat.completions.with_raw_response.create(
                model=line.endpoint.model,
                messages=body["messages"],
                extra_body=body,
                extra_headers=key_header(line.endpoint),
            )
        return parse_completion(answer.content, request.id)
    except Exception as error:  # what it means, or the error itself if it is none of a call
        return trouble(error, line.endpoint)


async def _pause(line: Line, outcome: Trouble, attempt: int) -> None:
    wait = backoff(attempt, line.endpoint.first_wait, line.draw)
    if outcome.wait is None:
        await asyncio.sleep(wait)
        return
    if outcome.status == 429:  # the limit counts everybody's calls, so everybody waits
        line.opens = max(line.opens, time.monotonic() + outcome.wait)
    await asyncio.sleep(outcome.wait + line.draw.uniform(0, line.endpoint.first_wait / 4))
