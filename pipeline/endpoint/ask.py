"""Ask a model behind an endpoint many requests at a time; answers come as they finish, and none is paid twice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from activations.progress import Progress, silent
from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.records import ChatRequest, Failure, Reply


def ask(
    endpoint: Endpoint, requests: Sequence[ChatRequest], *, cache: Path | None, progress: Progress = silent
) -> Iterator[Reply | Failure]:
    """Yield what each request ends in, in the order in which they finish.

    A reply is in the cache before it is yielded, so whatever ends the run (a kill, Ctrl-C, an error, a caller
    that stops listening), the same call goes on where it stopped. Without a cache, equal requests of one run
    are still sent once.

    Args:
        endpoint: Where to ask, with which limits.
        requests: At least one, with ids of their own.
        cache: An sqlite file, made where it is missing; None keeps nothing.
        progress: Shows how many requests are done.

    Raises:
        ValueError: There is no request, or an id stands twice.
        PermissionError: The server refuses the key, or there is no credit left; nothing else is sent.
        LookupError: The server does not know the model or the path; nothing else is sent.
        ConnectionError: As many requests in a row as may be under way found no server.
    """
    raise NotImplementedError
