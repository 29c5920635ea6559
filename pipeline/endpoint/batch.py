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
from dataclasses import replace
from functools import partial
from pathlib import Path

from openai import Omit, OpenAI
from openai.types import Batch, BatchError

from activations.progress import Progress, silent
from pipeline.disk import replace_file
from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.batch_lines import read_batch, write_batch
from pipeline.endpoint.batch_state import STATE, BatchState, noted, read_state
from pipeline.endpoint.body import request_key
from pipeline.endpoint.cache import remember, remembered
from pipeline.endpoint.client import key_header, plain_client
from pipeline.endpoint.provider import done_once, identity, repeated, uploaded
from pipeline.endpoint.records import ChatRequest, Result, distinct
from pipeline.endpoint.trouble import one_line

REQUESTS, OUTPUT, ERRORS = "requests.jsonl", "output.jsonl", "errors.jsonl"


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
    requests = distinct(requests)
    cached = remembered(endpoint, requests, cache)
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
    remember(endpoint, missing, told, cache)
    return tuple(cached.get(request.id, told[request.id]) for request in requests)


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
    return noted(new, folder)


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
        state = noted(replace(state, begun="upload"), folder)
        path = folder / REQUESTS
        file = uploaded(client, endpoint, path, name=state.name, purpose="batch", begun=begun)
        state = noted(replace(state, file=file, begun=None), folder)
    if state.batch is None:
        begun = state.begun == "batch"
        state = noted(replace(state, begun="batch"), folder)
        batch = _made(client, endpoint, str(state.file), begun=begun)
        state = noted(replace(state, batch=batch, begun=None), folder)
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
            state = noted(replace(state, status=str(batch.status)), folder)
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
