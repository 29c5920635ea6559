"""Ask a model behind an endpoint many requests at a time; answers come as they finish, and none is paid twice."""

import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from activations.progress import Progress, silent
from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.records import ChatRequest, Failure, Reply, distinct
from pipeline.endpoint.workers import News, Workers


def ask(
    endpoint: Endpoint, requests: Sequence[ChatRequest], *, cache: Path | None, progress: Progress = silent
) -> Iterator[Reply | Failure]:
    """Yield what each request ends in, in the order in which they finish.

    A reply is in the cache before it is yielded, so whatever ends the run (a kill, Ctrl-C, an error, a caller
    that stops listening), the same call goes on where it stopped; calls that were under way are made again.
    Equal requests of one run (see `ChatRequest.sample`) are sent once, also without a cache.

    Args:
        endpoint: Where to ask, with which limits.
        requests: At least one, with ids of their own.
        cache: An sqlite file, made where it is missing; None keeps nothing.
        progress: Shows how many requests are done.

    Raises:
        ValueError: There is no request, an id stands twice, the cache is a foreign file, or the server refuses
            one request after the other for the same reason and has answered none.
        PermissionError: The server refuses the key, or there is no credit left; nothing else is sent.
        LookupError: The server does not know the model or the path; nothing else is sent.
        ConnectionError: Many requests in a row went unanswered, whatever was tried.
        OSError: The cache cannot be written.
    """
    requests = distinct(requests)
    endpoint.key()  # raises here, in the caller's own thread, if it is none
    return _results(endpoint, requests, cache, progress)


def _results(
    endpoint: Endpoint, requests: tuple[ChatRequest, ...], cache: Path | None, progress: Progress
) -> Iterator[Reply | Failure]:
    told: queue.SimpleQueue[News] = queue.SimpleQueue()
    workers = Workers(endpoint, requests, cache, told.put)
    thread = threading.Thread(target=workers.run, name=f"ask {endpoint.model}", daemon=True)
    thread.start()
    try:
        with progress(f"asking {endpoint.model}", len(requests)) as advance:
            while (news := told.get()) is not None:
                if isinstance(news, BaseException):
                    raise news
                advance(1)
                yield news
    finally:
        workers.stop()
        thread.join()
