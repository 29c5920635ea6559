"""Calls that keep house at a provider, one at a time: again where that is safe, and never twice where it is not."""

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from openai import OpenAI

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.client import key_header
from pipeline.endpoint.trouble import Trouble, trouble
from pipeline.endpoint.waits import backoff
from pipeline.json_text import shown

T = TypeVar("T")

logger = logging.getLogger(__name__)


def repeated(endpoint: Endpoint, what: str, call: Callable[[], T]) -> T:
    """Make a call that changes nothing, again until it works.

    Args:
        endpoint: Whose limits hold.
        what: What is done, for the error.
        call: Makes the call.

    Raises:
        PermissionError: The server refuses the key, or there is no credit left.
        LookupError: The server does not know what is asked for.
        ValueError: The server refuses the request.
        ConnectionError: All attempts failed.
    """
    return done_once(endpoint, what, look=lambda: None, act=call)


def done_once(
    endpoint: Endpoint, what: str, *, look: Callable[[], T | None], act: Callable[[], T], begun: bool = False
) -> T:
    """Do at the provider what must not happen twice.

    After an attempt that may have worked though no answer came, it is looked for before it is done again. That is
    as sure as the provider's list is up to date: one that shows new things late can still be made to do it twice.

    Args:
        endpoint: Whose limits hold.
        what: What is done, for the error.
        look: Finds what is there already; None if it is not.
        act: Does it.
        begun: An earlier session may have done it.

    Raises:
        PermissionError: The server refuses the key, or there is no credit left.
        LookupError: The server does not know what is asked for.
        ValueError: The server refuses the request.
        ConnectionError: All attempts failed.
    """
    draw = random.Random()
    for attempt in range(1, endpoint.max_attempts + 1):
        try:
            if begun and (found := look()) is not None:
                logger.info("%s: was done before, found at the provider", what)
                return found
            begun = True
            return act()
        except Exception as error:
            met = trouble(error, endpoint)
            _raise_hopeless(met, endpoint, what, error)
        if attempt < endpoint.max_attempts:
            time.sleep(backoff(attempt, endpoint.first_wait, draw) if met.wait is None else met.wait)
    raise ConnectionError(f"{endpoint.base_url}: {what}: {endpoint.max_attempts} attempts, {met.text}")


def uploaded(client: OpenAI, endpoint: Endpoint, path: Path, *, name: str, purpose: str, begun: bool) -> str:
    """Upload a file, unless it is there, and return its id at the provider.

    Args:
        client: Of the endpoint.
        endpoint: Where to.
        path: The file.
        name: Its name at the provider, which no other file has: by this an earlier upload is found.
        purpose: `batch` or `fine-tune`.
        begun: An earlier session may have uploaded it.
    """
    data, headers = path.read_bytes(), key_header(endpoint)

    def look() -> str | None:
        listed = client.files.list(purpose=purpose, extra_headers=headers)
        same = (file.id for file in listed if (file.filename, file.bytes) == (name, len(data)))
        return next(same, None)

    def act() -> str:
        made = client.files.create(file=(name, data), purpose=purpose, extra_headers=headers)  # type: ignore[arg-type]
        return identity(made, "file")

    return done_once(endpoint, f"uploading {name}", look=look, act=act, begun=begun)


def identity(made: object, what: str) -> str:
    """Return the id of something that a provider made.

    Raises:
        ValueError: The answer has none.
    """
    name = getattr(made, "id", None)
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the answer holds no id of a {what}: {shown(made)}")
    return name


def _raise_hopeless(met: Trouble, endpoint: Endpoint, what: str, error: Exception) -> None:
    if met.ends:
        raise met.ends from error
    if not met.again:
        raise ValueError(f"{endpoint.base_url}: {what}: {met.text}") from error
