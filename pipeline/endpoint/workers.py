"""The event loop behind `ask`, in a thread of its own: workers that share one line to the server and one cache."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from openai import AsyncOpenAI

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.attempts import Line, call
from pipeline.endpoint.body import request_key
from pipeline.endpoint.cache import ReplyCache
from pipeline.endpoint.client import async_client
from pipeline.endpoint.records import ChatRequest, Failure, Reply
from pipeline.endpoint.streak import Streak

News: TypeAlias = Reply | Failure | BaseException | None
"""What a run tells: results, then None at its end, or the error that ended it."""

Waiting: TypeAlias = dict[str, list[ChatRequest]]
"""Under the key of each call to be made, the requests that it answers."""


class Workers:
    """One run: `run` in a thread, which tells its news; `stop` from any other."""

    def __init__(
        self,
        endpoint: Endpoint,
        requests: Sequence[ChatRequest],
        cache: Path | None,
        tell: Callable[[News], None],
    ) -> None:
        """Prepare a run; nothing is sent yet."""
        self._endpoint = endpoint
        self._requests = requests
        self._path = cache
        self._tell = tell
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Ask everything and tell what comes; returns when it is done, stopped or has failed."""
        try:
            asyncio.run(self._all())
        except BaseException as error:  # told, not raised: this is a thread, and its caller is another
            self._tell(error)
        else:
            self._tell(None)

    def stop(self) -> None:
        """Break off the calls that are under way, if there are any; harmless at any time."""
        self._stopped = True
        if (task := self._task) is not None:
            with suppress(RuntimeError):  # the loop has closed: the run is over
                task.get_loop().call_soon_threadsafe(task.cancel)

    async def _all(self) -> None:
        self._task = asyncio.current_task()
        if self._stopped:
            return
        with ExitStack() as files:
            cache = files.enter_context(closing(ReplyCache(self._path))) if self._path else None
            if waiting := self._not_cached(cache):
                async with async_client(self._endpoint) as client:
                    await self._share(client, waiting, cache)

    def _not_cached(self, cache: ReplyCache | None) -> Waiting:
        waiting: Waiting = {}
        for request in self._requests:
            key = request_key(self._endpoint, request)
            if cache and (reply := cache.get(key, request.id)):
                self._tell(reply)
            else:
                waiting.setdefault(key, []).append(request)
        return waiting

    async def _share(self, client: AsyncOpenAI, waiting: Waiting, cache: ReplyCache | None) -> None:
        line, streak = Line(client=client, endpoint=self._endpoint), Streak(self._endpoint)
        calls = iter(waiting.items())
        n_workers = min(self._endpoint.concurrency, len(waiting))
        workers = [asyncio.create_task(self._work(line, calls, cache, streak)) for _ in range(n_workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self,
        line: Line,
        calls: Iterator[tuple[str, list[ChatRequest]]],
        cache: ReplyCache | None,
        streak: Streak,
    ) -> None:
        for key, requests in calls:  # all workers draw from this one iterator
            result = await call(line, requests[0])
            if cache and isinstance(result, Reply):
                cache.put(key, result)
            self._tell(result)
            for request in requests[1:]:
                copy = replace(result, id=request.id, attempts=0)
                self._tell(replace(copy, cached=True) if isinstance(copy, Reply) else copy)
            if error := streak.add(result):
                raise error
