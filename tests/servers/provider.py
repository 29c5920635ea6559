"""A provider on loopback: files, batches, fine-tuning jobs and their events, with faults at chosen moments.

`provider.faults["POST /v1/batches"] = ["lost", "429"]` makes the first such call do its work and then drop the
connection, the second get 429, and the later ones work. Faults: a status; `lost` (done, no answer), `kill` (done,
then the process in `provider.victim` gets SIGKILL), `half` (half an answer).
"""

import json
import os
import re
import signal
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.servers.faulty import completion


@dataclass
class Provider:
    """What the provider holds and has seen.

    Attributes:
        base_url: Where it is, up to `/v1`.
        calls: How often each route was called, e.g. `POST /v1/batches`.
        headers: Of each call.
        faults: What the next calls of a route get in place of an answer.
        files: By id: name, purpose, content.
        batches: By id, as they are shown.
        jobs: By id, as they are shown.
        events: By job, oldest first.
        looks: At so many a batch or a job is done.
        answer: Makes the output row of a batch line, or the row of the error file, or neither.
        ending: How a batch or a job ends.
        victim: A file with the id of the process that `kill` ends.
        lists: Whether it lists what it has.
    """

    base_url: str = ""
    calls: Counter = field(default_factory=Counter)
    headers: list[dict] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, dict] = field(default_factory=dict)
    batches: dict[str, dict] = field(default_factory=dict)
    jobs: dict[str, dict] = field(default_factory=dict)
    events: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))
    looks: int = 3
    answer: object = None
    ending: str = ""
    victim: Path | None = None
    lists: bool = True


@contextmanager
def provider():
    """Run the provider for the block."""
    holds = Provider(answer=reply_row)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"holds": holds}))
    holds.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield holds
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply_row(line):
    """Return the output row of a batch line: a reply to its last message."""
    body = completion(line["body"]["messages"][-1]["content"])
    return {
        "id": "r",
        "custom_id": line["custom_id"],
        "response": {"status_code": 200, "body": body},
        "error": None,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    holds: Provider

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        self._serve("GET")

    def do_POST(self):
        self._serve("POST")

    def _serve(self, method):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urlsplit(self.path).path
        route = f"{method} {re.sub(r'(?<=/)(file|batch|job)-[0-9]+', 'ID', path)}"
        self.holds.calls[route] += 1
        self.holds.headers.append({key.lower(): value for key, value in self.headers.items()})
        fault = self.holds.faults[route].pop(0) if self.holds.faults[route] else ""
        if fault.isdigit():
            return self._send(int(fault), json.dumps({"error": {"message": f"a {fault}"}}).encode())
        status, answer = self._act(route, path.split("/")[2:], body)
        if fault == "kill":
            os.kill(int(self.holds.victim.read_text()), signal.SIGKILL)
        if fault in ("kill", "lost"):
            self.close_connection = True
            return self.connection.close()
        return self._send(status, answer, half=fault == "half")

    def _act(self, route, parts, body):
        acts = {
            "POST /v1/files": self._upload,
            "GET /v1/files": lambda *_: self._listed(self.holds.files.values()),
            "GET /v1/files/ID/content": lambda parts, _: self.holds.files[parts[1]]["content"],
            "POST /v1/batches": self._new_batch,
            "GET /v1/batches": lambda *_: self._listed(self.holds.batches.values()),
            "GET /v1/batches/ID": lambda parts, _: self._look_at_batch(self.holds.batches[parts[1]]),
            "POST /v1/fine_tuning/jobs": self._new_job,
            "GET /v1/fine_tuning/jobs": lambda *_: self._listed(self.holds.jobs.values()),
            "GET /v1/fine_tuning/jobs/ID": lambda parts, _: self._look_at_job(self.holds.jobs[parts[2]]),
            "GET /v1/fine_tuning/jobs/ID/events": lambda parts, _: self._listed(self.holds.events[parts[2]]),
            "POST /v1/fine_tuning/jobs/ID/cancel": self._cancel,
        }
        try:
            made = acts[route](parts, body)
        except KeyError as error:
            return 404, json.dumps({"error": {"message": f"not here: {error}"}}).encode()
        except ValueError as error:
            return 400, json.dumps({"error": {"message": str(error)}}).encode()
        return 200, made if isinstance(made, bytes) else json.dumps(_shown(made)).encode()

    def _send(self, status, data, *, half=False):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        self.close_connection = self.close_connection or half

    def _listed(self, things):
        """Return one page, newest first, at most 3 things."""
        asked = parse_qs(urlsplit(self.path).query)
        newest = [*things][::-1] if self.holds.lists else []
        if purpose := asked.get("purpose"):
            newest = [thing for thing in newest if thing["purpose"] == purpose[0]]
        if after := asked.get("after"):
            newest = newest[[thing["id"] for thing in newest].index(after[0]) + 1 :]
        return {
            "object": "list",
            "data": [_shown(thing) for thing in newest[:3]],
            "has_more": len(newest) > 3,
        }

    def _upload(self, _, body):
        boundary = self.headers["content-type"].partition("boundary=")[2].encode()
        found = {}
        for part in body.split(b"--" + boundary)[1:-1]:
            head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
            found[re.search(rb'name="([^"]+)"', head)[1].decode()] = (head, content)
        name = re.search(rb'filename="([^"]+)"', found["file"][0])[1].decode()
        content = found["file"][1]
        if not content.endswith(b"\n"):
            content += b"\n"  # taken off with the end of the part
        return self._kept(name, found["purpose"][1].decode(), content)

    def _kept(self, name, purpose, content):
        number = f"file-{len(self.holds.files) + 1}"
        self.holds.files[number] = {
            "id": number,
            "object": "file",
            "filename": name,
            "purpose": purpose,
            "bytes": len(content),
            "created_at": 1,
            "status": "processed",
            "content": content,
        }
        return self.holds.files[number]

    def _new_batch(self, _, body):
        asked = json.loads(body)
        if self.holds.files[asked["input_file_id"]]["purpose"] != "batch":
            raise ValueError("the file is for another purpose")
        number = f"batch-{len(self.holds.batches) + 1}"
        self.holds.batches[number] = {
            **{"id": number, "object": "batch", "status": "validating", "created_at": 1},
            **{"request_counts": {"total": 0, "completed": 0, "failed": 0}, "looked": 0, **asked},
        }
        return self.holds.batches[number]

    def _look_at_batch(self, batch):
        batch["looked"] += 1
        lines = self.holds.files[batch["input_file_id"]]["content"].splitlines()
        if batch["looked"] < self.holds.looks or batch["status"] == self.holds.ending:
            batch["status"] = "in_progress" if batch["looked"] < self.holds.looks else batch["status"]
            batch["request_counts"] = {"total": len(lines), "completed": 1, "failed": 0}
            return batch
        if self.holds.ending == "failed":
            batch["errors"] = {
                "object": "list",
                "data": [{"line": 2, "code": "x", "message": "no such model"}],
            }
        elif "output_file_id" not in batch:
            rows = [row for line in lines if (row := self.holds.answer(json.loads(line)))]
            good = [row for row in rows if not row.get("error")]
            bad = [row for row in rows if row.get("error")]
            for kind, kept in (("output_file_id", good), ("error_file_id", bad)):
                data = b"".join(json.dumps(row).encode() + b"\n" for row in kept)
                batch[kind] = self._kept(f"{kind}.jsonl", "batch_output", data)["id"] if kept else None
            batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        batch["status"] = self.holds.ending or "completed"
        return batch

    def _new_job(self, _, body):
        asked = json.loads(body)
        if self.holds.files[asked["training_file"]]["purpose"] != "fine-tune":
            raise ValueError("the file is for another purpose")
        if asked["model"] == "no-such-model":
            raise ValueError("model no-such-model is not available for fine-tuning")
        number = f"job-{len(self.holds.jobs) + 1}"
        chosen = asked["method"]["supervised"]["hyperparameters"]
        self.holds.jobs[number] = {
            **{"id": number, "object": "fine_tuning.job", "status": "validating_files", "created_at": 1},
            **{"hyperparameters": {"batch_size": 1, "n_epochs": 3, **chosen}, "fine_tuned_model": None},
            **{"organization_id": "org-secret", "result_files": [], "looked": 0, **asked},
        }
        self._happened(number, "Created fine-tuning job")
        return self.holds.jobs[number]

    def _happened(self, number, message):
        events = self.holds.events[number]
        events.append(
            {
                "id": f"event-{len(events) + 1}",
                "object": "fine_tuning.job.event",
                "created_at": 1 + len(events) // 2,  # two in each second
                "level": "info",
                "message": message,
            }
        )

    def _look_at_job(self, job):
        job["looked"] += 1
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return job
        self._happened(job["id"], f"Step {job['looked']}: training loss=1.5\n\x1b[31m")
        job["status"] = "running"
        if job["looked"] >= self.holds.looks:
            job["status"] = self.holds.ending or "succeeded"
        if job["status"] == "succeeded":
            tuned = f"ft:{job['model']}:me:{job.get('suffix') or ''}:1"
            job |= {"fine_tuned_model": tuned, "trained_tokens": 1234, "finished_at": 99}
        elif job["status"] == "failed":
            job["error"] = {"code": "x", "message": "the file was\nblocked", "param": None}
        return job

    def _cancel(self, parts, _):
        job = self.holds.jobs[parts[2]]
        if job["status"] == "succeeded":
            raise ValueError("the job has ended")
        job["status"] = "cancelled"
        return job


def _shown(thing):
    """Return a thing as the provider shows it: without its content."""
    return {key: value for key, value in thing.items() if key not in ("content", "looked")}
