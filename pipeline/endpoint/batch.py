"""Ask by the Batch API: write, submit, wait, collect; each step is noted in the folder before the next begins.

What is guaranteed, and what is not:
- A kill at any moment loses nothing that was noted; `batch_replies` with the same arguments goes on from there.
- A file that was uploaded, or a batch that was made, just before a kill (so that its id was not noted) is looked for
  at the provider by a name that only this folder uses, and taken over. It is done a second time only if the provider
  does not list what it has: one that lists late, or has no list.
- Two processes must not use one folder at the same time.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from openai import Omit, OpenAI
from openai.types import Batch, BatchError

from activations.progress import Progress, silent
from pipeline.disk import replace_file
from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.batch_lines import read_batch, write_batch
from pipeline.endpoint.body import request_key
from pipeline.endpoint.cache import ReplyCache
from pipeline.endpoint.client import key_header, plain_client
from pipeline.endpoint.provider import done_once, identity, repeated, uploaded
from pipeline.endpoint.records import ChatRequest, Reply, Result
from pipeline.endpoint.trouble import one_line
from pipeline.json_text import json_bytes, parse_json
from pipeline.json_types import from_object

STATE = "batch.json"
REQUESTS, OUTPUT, ERRORS = "requests.jsonl", "output.jsonl", "errors.jsonl"


@dataclass(frozen=True, kw_only=True)
class BatchState:
    """How far a batch is: what `batch.json` holds.

    Attributes:
        format: Always `misdirection.batch/1`.
        base_url: Where it was sent.
        model: Who is asked.
        asked: A hash over all requests, cached ones too.
        name: The file's name at the provider; no other folder uses it.
        n_lines: How many calls it holds.
        begun: The step whose result may exist though it is not noted.
        file: The id of the uploaded file.
        batch: The id of the batch.
        status: What the provider last said of it, e.g. `in_progress`.
    """

    format: Literal["misdirection.batch/1"] = "misdirection.batch/1"
    base_url: str
    model: str
    asked: str
    name: str
    n_lines: int
    begun: Literal["upload", "batch"] | None = None
    file: str | None = None
    batch: str | None = None
    status: str | None = None


def batch_replies(
    endpoint: Endpoint,
    requests: Sequence[ChatRequest],
    folder: Path,
    *,
    cache: Path | None,
    every: float = 30.0,
    progress: Progress = silent,
) -> tuple[Result, ...]:
    """Return what each request ends in, in their order, asking by one batch what the cache does not hold.

    Args:
        endpoint: Where to ask.
        requests: At least one, with ids of their own.
        folder: Where the files and the state of this batch are kept; made if it is not there.
        cache: Takes the replies, and answers what it holds; None keeps them in the folder only.
        every: Seconds between two looks at a batch that is not done.
        progress: Shows how many calls are done.

    Raises:
        ValueError: The folder holds a batch of other requests, or the provider refuses the file.
        PermissionError: The server refuses the key, or there is no credit left.
        LookupError: The server does not know the batch, the model or the path.
        ConnectionError: The server did not answer; nothing is lost, and the same call goes on.
    """
    cached = _cached(endpoint, requests, cache)
    missing = [request for request in requests if request.id not in cached]
    if not missing:
        return tuple(cached[request.id] for request in requests)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = _begun(endpoint, requests, missing, folder)
    with plain_client(endpoint) as client:
        state = submit(client, endpoint, state, folder)
        ended = _ended(client, endpoint, state, folder, every, progress)
        files = _downloaded(client, endpoint, ended, folder)
    told = {result.id: result for result in read_batch(endpoint, requests, files)}
    _remember(endpoint, missing, told, cache)
    return tuple(cached.get(request.id, told[request.id]) for request in requests)


def read_state(folder: Path) -> BatchState:
    """Return how far the batch of a folder is.

    Raises:
        FileNotFoundError: The folder holds no batch.
        ValueError: Its state is damaged or of another format.
    """
    path = Path(folder) / STATE
    return from_object(parse_json(path.read_bytes(), str(path)), BatchState, str(path))


def _begun(
    endpoint: Endpoint, requests: Sequence[ChatRequest], missing: Sequence[ChatRequest], folder: Path
) -> BatchState:
    keys = sorted({request_key(endpoint, request) for request in requests})
    asked = hashlib.sha256("".join(keys).encode()).hexdigest()
    if (folder / STATE).exists():
        state = read_state(folder)
        if state.asked != asked:
            told = f"{folder}: holds a batch of {state.n_lines} other calls ({state.base_url}, {state.model})"
            raise ValueError(f"{told}; choose a new folder")
        return state
    n_lines = write_batch(endpoint, missing, folder / REQUESTS)
    name = f"misdirection-{secrets.token_hex(8)}.jsonl"
    new = BatchState(
        base_url=endpoint.base_url, model=endpoint.model, asked=asked, name=name, n_lines=n_lines
    )
    return _noted(new, folder)


def submit(client: OpenAI, endpoint: Endpoint, state: BatchState, folder: Path) -> BatchState:
    """Upload the requests and make the batch, as far as that is not done, and return the state noted.

    Args:
        client: Of the endpoint.
        endpoint: Where to.
        state: How far the batch is.
        folder: Where its files and its state are.
    """
    if state.file is None:
        begun = state.begun == "upload"
        state = _noted(replace(state, begun="upload"), folder)
        path = folder / REQUESTS
        file = uploaded(client, endpoint, path, name=state.name, purpose="batch", begun=begun)
        state = _noted(replace(state, file=file, begun=None), folder)
    if state.batch is None:
        begun = state.begun == "batch"
        state = _noted(replace(state, begun="batch"), folder)
        batch = _made(client, endpoint, str(state.file), begun=begun)
        state = _noted(replace(state, batch=batch, begun=None), folder)
    return state


def _made(client: OpenAI, endpoint: Endpoint, file: str, *, begun: bool) -> str:
    headers = key_header(endpoint)

    def look() -> str | None:
        listed = client.batches.list(extra_headers=headers)
        return next((batch.id for batch in listed if batch.input_file_id == file), None)

    def act() -> str:
        made = client.batches.create(
            input_file_id=file,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            extra_headers=headers,
        )
        return identity(made, "batch")

    return done_once(endpoint, "making the batch", look=look, act=act, begun=begun)


def _ended(
    client: OpenAI, endpoint: Endpoint, state: BatchState, folder: Path, every: float, progress: Progress
) -> Batch:
    number, headers, done = str(state.batch), key_header(endpoint), 0
    with progress(f"batch of {endpoint.model}", state.n_lines) as advance:
        while True:
            batch = repeated(
                endpoint,
                f"asking for batch {number}",
                lambda: client.batches.retrieve(number, extra_headers=headers),
            )
            state = _noted(replace(state, status=str(batch.status)), folder)
            counts = batch.request_counts
            now = counts.completed + counts.failed if counts else done
            advance(max(0, now - done))
            done = max(done, now)
            if batch.status in ("completed", "expired", "cancelled"):
                return batch
            if batch.status == "failed":
                told = "; ".join(f"line {fault.line}: {fault.message}" for fault in _faults(batch))
                raise ValueError(f"{endpoint.base_url}: batch {number} failed: {one_line(told, endpoint)}")
            time.sleep(every)


def _faults(batch: Batch) -> Sequence[BatchError]:
    return (batch.errors.data if batch.errors else None) or ()


def _downloaded(client: OpenAI, endpoint: Endpoint, batch: Batch, folder: Path) -> list[Path]:
    headers, found = key_header(endpoint), []
    for file, name in ((batch.output_file_id, OUTPUT), (batch.error_file_id, ERRORS)):
        if file:
            path = folder / name
            replace_file(
                path, repeated(endpoint, f"fetching {name}", partial(_content, client, file, headers))
            )
            found.append(path)
    return found


def _content(client: OpenAI, file: str, headers: Mapping[str, str | Omit]) -> bytes:
    return client.files.content(file, extra_headers=headers).content


def _cached(endpoint: Endpoint, requests: Sequence[ChatRequest], cache: Path | None) -> dict[str, Reply]:
    if cache is None:
        return {}
    with closing(ReplyCache(cache)) as replies:
        found = ((r.id, replies.get(request_key(endpoint, r), r.id)) for r in requests)
        return {row: reply for row, reply in found if reply}


def _remember(
    endpoint: Endpoint, asked: Sequence[ChatRequest], told: Mapping[str, Result], cache: Path | None
) -> None:
    if cache is None:
        return
    with closing(ReplyCache(cache)) as replies:
        for request in asked:
            if isinstance(reply := told[request.id], Reply):
                replies.put(request_key(endpoint, request), reply)


def _noted(state: BatchState, folder: Path) -> BatchState:
    replace_file(folder / STATE, json_bytes(state, STATE, indent=2))
    return state
