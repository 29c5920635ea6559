"""Files of the Batch API: requests as lines, and lines of results back into replies and failures.

The same lines feed `vllm run-batch -i requests.jsonl -o output.jsonl`.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.disk import replace_file
from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.body import chat_body, request_key
from pipeline.endpoint.parse import completion
from pipeline.endpoint.records import ChatRequest, Failure, Reply, Result
from pipeline.endpoint.trouble import code_of, message_of, one_line, status_trouble
from pipeline.json_text import Json, json_bytes, parse_json

MOST_LINES = 50_000
MOST_BYTES = 200_000_000
"""What OpenAI takes in one file."""

logger = logging.getLogger(__name__)


def write_batch(endpoint: Endpoint, requests: Sequence[ChatRequest], path: Path) -> int:
    """Write a line for each request, equal ones once, and return how many there are.

    A line's `custom_id` is the hash under which the cache remembers the reply, not the request's id.

    Raises:
        ValueError: There is no request, or there are more than one file may hold.
        OSError: The file cannot be written; an older one is as it was.
    """
    lines = {request_key(endpoint, request): chat_body(endpoint, request) for request in requests}
    data = b"".join(
        json_bytes(
            {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}, str(path)
        )
        for key, body in lines.items()
    )
    if not lines:
        raise ValueError(f"{path}: got no requests, need at least 1")
    if len(lines) > MOST_LINES or len(data) > MOST_BYTES:
        got = f"{len(lines):,} lines and {len(data) / 1e6:.0f} MB"
        raise ValueError(
            f"{path}: {got}; allowed: {MOST_LINES:,} lines and {MOST_BYTES / 1e6:.0f} MB. Ask in parts"
        )
    replace_file(path, data)
    return len(lines)


def read_batch(
    endpoint: Endpoint, requests: Sequence[ChatRequest], files: Iterable[Path]
) -> tuple[Result, ...]:
    """Return what each request ended in, in their order; every request gets a result.

    A line that cannot be read, and a request that no line speaks of, end in a `Failure` with the reason
    `bad_reply`. If several lines speak of one request, a reply goes before a failure.

    Args:
        endpoint: The one that the lines were written for.
        requests: Those that the lines were written for.
        files: The output file and the error file, as far as there are any.

    Raises:
        ValueError: A line is about a request that was not asked: the file belongs to another batch.
    """
    keys = {request.id: request_key(endpoint, request) for request in requests}
    known, found = set(keys.values()), dict[str, Result]()
    for path in files:
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if line.strip() and (result := _result(line, f"{path}:{number}", endpoint)) is not None:
                if result.id not in known:
                    raise ValueError(f"{path}:{number}: custom_id {result.id!r} was not asked for")
                if isinstance(result, Reply) or result.id not in found:
                    found[result.id] = result
    return tuple(_named(found.get(key), request) for request, key in keys.items())


def _named(result: Result | None, request: str) -> Result:
    if result is None:
        told = "no readable line of the output or error file speaks of it"
        return Failure(id=request, reason="bad_reply", text=told, attempts=1)
    return replace(result, id=request)


def _result(line: bytes, at: str, endpoint: Endpoint) -> Result | None:
    try:
        row = parse_json(line, at)
        if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
            raise ValueError(f"{at}: has no custom_id")
    except ValueError as error:
        logger.warning("left out: %s", error)
        return None
    response = row.get("response")
    if isinstance(response, dict) and response.get("status_code") == 200 and not row.get("error"):
        return _reply(response.get("body"), row["custom_id"], endpoint)
    return _failure(row, response if isinstance(response, dict) else {}, endpoint)


def _reply(body: Json, key: str, endpoint: Endpoint) -> Result:
    try:
        return completion(body, key)
    except ValueError as error:
        text = one_line(str(error), endpoint)
        return Failure(id=key, reason="bad_reply", text=text, attempts=1, status=200)


def _failure(row: dict[str, Json], response: dict[str, Json], endpoint: Endpoint) -> Failure:
    status, said = response.get("status_code"), row.get("error") or response.get("body")
    if type(status) is int and status != 200:
        met = status_trouble(status, said, {}, endpoint)
        return Failure(id=row["custom_id"], reason=met.reason, text=met.text, attempts=1, status=status)
    expired = code_of({"error": said}) == "batch_expired"
    text = one_line(message_of({"error": said}), endpoint)
    return Failure(
        id=row["custom_id"], reason="timeout" if expired else "server_error", text=text, attempts=1
    )
