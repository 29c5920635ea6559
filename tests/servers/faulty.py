"""A server on loopback that fails as it is told to, and keeps count of every call that reaches it.

What a call gets stands in its last message: `a name: 429 half ok` is answered first with 429, then with half a body,
then with a reply, and with replies from then on. The reply's text is `reply to a name`.
"""

import email.utils
import json
import os
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Faulty:
    """What the server has seen.

    Attributes:
        base_url: Where it is, up to `/v1`.
        received: The name of each call, in the order of arrival.
        answered: The name of each call that got a reply.
        bodies: The parsed body of each call.
        headers: The headers of each call.
        times: When each call arrived, by `time.monotonic`.
        busiest: The most calls that were under way at a time.
        delay: Seconds that each reply takes.
        kills: Numbers of replies, over all names, after which the process in `victim` gets SIGKILL.
        victim: A file with the id of that process.
    """

    base_url: str = ""
    received: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    bodies: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    busiest: int = 0
    delay: float = 0.0
    kills: frozenset[int] = frozenset()
    victim: Path | None = None
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    under_way: int = 0

    def calls(self) -> Counter:
        """Return how many calls arrived for each name."""
        return Counter(self.received)


@contextmanager
def faulty() -> Iterator[Faulty]:
    """Run the server for the block."""
    seen = Faulty()
    handler = type("Handler", (_Handler,), {"seen": seen})
    server = _Server(("127.0.0.1", 0), handler)
    seen.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield seen
    finally:
        seen.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: Faulty

    def log_message(self, *_):
        """Say nothing."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name, _, script = body["messages"][-1]["content"].partition(": ")
        with self.seen.lock:
            turn = self.seen.received.count(name)
            self.seen.received.append(name)
            self.seen.bodies.append(body)
            self.seen.headers.append({key.lower(): value for key, value in self.headers.items()})
            self.seen.times.append(time.monotonic())
            self.seen.under_way += 1
            self.seen.busiest = max(self.seen.busiest, self.seen.under_way)
        try:
            steps = script.split()
            self._act(steps[turn] if turn < len(steps) else "ok", name, body)
        finally:
            with self.seen.lock:
                self.seen.under_way -= 1

    def _act(self, step, name, body):
        kind, _, argument = step.partition("=")
        if kind.isdigit():
            self._refuse(int(kind), argument, body)
        elif kind == "hang":
            self.seen.released.wait(30)
            self.close_connection = True
        elif kind == "reset":  # with no time to linger, closing sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif kind == "half":
            whole = json.dumps(completion(name)).encode()
            self._send(200, whole[: len(whole) // 2], length=len(whole))
            self.close_connection = True
        elif kind == "drip":  # a byte now and then, for ever
            self._send(200, b"", length=1000)
            while not self.seen.released.wait(0.05):
                self.wfile.write(b" ")
        elif kind in BODIES:
            self._send(200, BODIES[kind])
        else:
            time.sleep(self.seen.delay)
            with self.seen.lock:
                self.seen.answered.append(name)
                killing = len(self.seen.answered) in self.seen.kills
            self._send(200, json.dumps(completion(name, **REPLIES.get(kind, {}))).encode())
            if killing:
                os.kill(int(self.seen.victim.read_text()), signal.SIGKILL)

    def _refuse(self, status, argument, body):
        headers, error = {}, {"message": f"you got\n a {status}", "type": "test", "code": None}
        if argument == "date":
            headers["Retry-After"] = email.utils.formatdate(time.time() + 1.5, usegmt=True)
        elif argument == "ms":
            headers |= {"retry-after-ms": "150", "Retry-After": "20"}
        elif argument == "echo":
            error["message"] = f"wrong key: {self.headers['authorization']}"
        elif argument == "filter":
            error["message"] = "blocked by our content filter"
        elif argument == "own":
            error["message"] = f"no good: {body['messages'][-1]['content']}"
        elif argument and not argument.replace(".", "").isdigit():
            error["code"] = argument
        elif argument:
            headers["Retry-After"] = argument
        self._send(status, json.dumps({"error": error}).encode(), **headers)

    def _send(self, status, data, *, length=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)


def completion(name, *, content=..., finish="stop", log_probs=None, **message):
    """Return a chat completion."""
    text = f"reply to {name}" if content is ... else content
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
        "logprobs": log_probs,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "as-served",
        "choices": [choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def entry(token, log_prob, **more):
    """Return a token with its log-prob, as servers write it."""
    return {"token": token, "logprob": log_prob, "bytes": None, **more}


REPLIES = {
    "length": {"content": "cut of", "finish": "length"},
    "filtered": {"content": None, "finish": "content_filter"},
    "refusal": {"content": None, "refusal": "I will not."},
    "unsaid": {"finish": None},
    "blank": {"content": None},
    "scored": {
        "content": "85",
        "log_probs": {
            "content": [
                entry("85", -0.5, top_logprobs=[entry("85", -0.5), entry("90", -1.5), entry("x", None)])
            ]
        },
    },
}
"""Replies of a special kind."""

BODIES = {
    "html": b"<html><body>Bad gateway</body></html>",
    "nothing": b"",
    "wrong": b'{"choices": [',
    "list": b"[]",
    "shape": b'{"choices": {"0": "a"}}',
    "empty": json.dumps({**completion("x"), "choices": []}).encode(),
    "speechless": json.dumps(
        {**completion("x"), "choices": [{"index": 0, "finish_reason": "stop"}]}
    ).encode(),
    "parts": json.dumps(completion("x", content=[{"type": "text", "text": "a"}])).encode(),
    "inside": b'{"error": {"message": "overloaded", "code": 529}}',
    "broken_off": json.dumps(completion("x", finish="error")).encode(),
    "not_a_number": json.dumps(completion("x", log_probs={"content": [entry("a", float("nan"))]})).encode(),
    "positive": json.dumps(completion("x", log_probs={"content": [entry("a", 0.5)]})).encode(),
    "huge": b'{"choices": ' + b"[" * 100_000,
    "latin": '{"choices": "é"}'.encode("latin-1"),
}
"""Answers with status 200 that are no chat completion."""
