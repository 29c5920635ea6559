"""A hub of data sets on loopback: as much of the Hugging Face hub's interface as reading one data set takes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """Answers what `datasets` asks before and while it streams a file."""

    protocol_version = "HTTP/1.1"
    data_sets: dict[str, dict[str, bytes]] = {}

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            self._about("/".join(parts[2:4]), parts[4:])
        else:
            self._file("/".join(parts[1:3]), "/".join(parts[5:]))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _about(self, name: str, rest: list[str]) -> None:
        files = self.data_sets.get(name)
        if files is None:
            self._send(404, b"{}")
        elif rest[:1] == ["tree"]:
            rows = [
                {"type": "file", "oid": "0" * 40, "size": len(files[file]), "path": file} for file in files
            ]
            self._send(200, json.dumps(rows if len(rest) == 2 else []).encode())
        else:
            siblings = [{"rfilename": file} for file in files]
            self._send(200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode())

    def _file(self, name: str, path: str) -> None:
        content = self.data_sets.get(name, {}).get(path)
        if content is None:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        told = {"ETag": f'"{path}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if not (asked := self.headers.get("Range")):
            return self._send(200, content, told)
        first, last = asked.removeprefix("bytes=").split("-")
        part = content[int(first) : int(last) + 1]
        told["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self._send(206, part, told)

    def _send(self, code: int, body: bytes, told: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(told or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hub(data_sets: dict[str, dict[str, bytes]]) -> Iterator[str]:
    """Serve data sets, each a name with its files, and give the address."""
    serving = type("Serving", (Handler,), {"data_sets": data_sets})
    server = ThreadingHTTPServer(("127.0.0.1", 0), serving)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
