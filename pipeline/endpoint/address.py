"""Where a model is reached, how often and how long one tries, and where its key is found."""

import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind a server that speaks OpenAI's protocol. It holds the name of the key, never the key.

    Attributes:
        base_url: Up to and with the version, e.g. `http://127.0.0.1:8000/v1`.
        model: As the server calls it.
        key_variable: The environment variable that holds the key; without that variable none is sent.
        concurrency: How many calls may be under way at a time.
        max_attempts: How many calls one request may take.
        timeout: Seconds one call may take as a whole.
        first_wait: Seconds before the second attempt if the server does not say; doubles with each further one.
        limit_field: What the server calls the limit of an answer's length.
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    max_attempts: int = 6
    timeout: float = 120.0
    first_wait: float = 0.5
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def __post_init__(self) -> None:
        """Refuse what cannot work, and what would put a secret into a file."""
        parts = urlsplit(self.base_url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "base_url: holds a user, a query or a fragment; allowed: scheme, host, port and path"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url: {self.base_url!r} is no http address; allowed: http://HOST:PORT/v1")
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", self.key_variable):
            allowed = "its name: capital letters, digits and _ (the key itself must not stand here)"
            raise ValueError(f"key_variable: is no name of an environment variable; allowed: {allowed}")
        if not self.model.strip():
            raise ValueError("model: is blank; allowed: a name that the server knows")
        for name in ("concurrency", "max_attempts"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name}: is {value}; allowed: 1 or more")
        if not (self.timeout > 0 and self.first_wait >= 0):
            raise ValueError(
                f"timeout {self.timeout}, first_wait {self.first_wait}: allowed: positive seconds"
            )

    def key(self) -> str | None:
        """Return the key from the environment, or None where there is none, as for most local servers.

        Raises:
            ValueError: It holds characters that no key holds, such as a line break in the middle.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not all("!" <= letter <= "~" for letter in key):
            raise ValueError(f"{self.key_variable}: holds white space or letters that a key cannot have")
        return key or None

    def named(self) -> str:
        """Return how errors name it."""
        return f"{self.base_url}, model {self.model!r}"
