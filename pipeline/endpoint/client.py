"""The `openai` client as we use it: no attempts of its own, no key where there is none."""

import openai
from openai import AsyncOpenAI, Omit, OpenAI

from pipeline.endpoint.address import Endpoint


def async_client(endpoint: Endpoint) -> AsyncOpenAI:
    """Return a client for many calls at a time; close it before its event loop ends."""
    return AsyncOpenAI(
        base_url=endpoint.base_url, api_key=_some_key(endpoint), max_retries=0, timeout=endpoint.timeout
    )


def plain_client(endpoint: Endpoint) -> OpenAI:
    """Return a client for one call at a time; it is closed by a `with` block."""
    return OpenAI(
        base_url=endpoint.base_url, api_key=_some_key(endpoint), max_retries=0, timeout=endpoint.timeout
    )


def key_header(endpoint: Endpoint) -> dict[str, str | Omit]:
    """Return the header that goes with each call: none of our own with a key, an omitted one without."""
    return {} if endpoint.key() else {"Authorization": openai.omit}


def _some_key(endpoint: Endpoint) -> str:
    return endpoint.key() or "none"  # the client wants one; `key_header` sees that it is not sent
