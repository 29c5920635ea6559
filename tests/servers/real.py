"""Real OpenAI-compatible servers on loopback, as processes of their own: `transformers serve` and llama.cpp's.

    from tests.servers.real import chat_server_fixture  # noqa: F401

    def test_something(chat_server):
        endpoint = Endpoint(base_url=chat_server.base_url, model=chat_server.model)

- `chat_server` (import `chat_server_fixture`): transformers with a tiny random Llama; it gives no log-probs.
- `embedded_server` (import `embedded_server_fixture`): llama.cpp with the embedded SmolLM2; it gives log-probs.
- `serving(folder)`: transformers with any other model.

Servers are shared by all tests of a process, and end with it, also when it is killed: they watch the pipe that is
their input.
"""

import atexit
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from activations.embedded import EMBEDDED
from tests.saved import model_folder

PATIENCE_SECONDS = 180.0

_WATCH = """
import os, sys, threading

def watch():
    sys.stdin.buffer.read()  # ends when the process that started this one does, however it ends
    os._exit(0)

threading.Thread(target=watch, daemon=True).start()
"""

_TRANSFORMERS = """
from transformers.cli.transformers import main
main()
"""

_LLAMA_CPP = """
import importlib.util, pathlib, xllamacpp

package, file, name = sys.argv[1:]
parameters = xllamacpp.CommonParams()
parameters.model.path = str(pathlib.Path(importlib.util.find_spec(package).origin).parent / file)
parameters.model_alias = {name}
parameters.n_ctx, parameters.n_parallel, parameters.port, parameters.offline = 2048, 2, 0, True
parameters.cpuparams.n_threads = 1
server = xllamacpp.Server(parameters)
print("running on", server.listening_address, flush=True)
threading.Event().wait()
"""


@dataclass(frozen=True, kw_only=True)
class RealServer:
    """A server that runs: its address up to `/v1`, the name of its model, and the folder of that model."""

    base_url: str
    model: str
    folder: Path


@pytest.fixture(scope="session", name="chat_server")
def chat_server_fixture():
    """A server of a tiny random model; the same weights each time."""
    return _tiny_server()


@pytest.fixture(scope="session", name="embedded_server")
def embedded_server_fixture():
    """A server of the embedded model."""
    return _embedded_server()


@cache
def serving(folder: Path) -> RealServer:
    """Start a server of the model in a folder, wait until it answers, and return where it is.

    Raises:
        RuntimeError: It did not start; the text is what it printed.
    """
    folder = Path(folder).resolve()
    told = ["serve", folder.name, "--host", "127.0.0.1", "--port", "0", "--device", "cpu"]
    return RealServer(base_url=_started(_TRANSFORMERS, told, folder), model=folder.name, folder=folder)


@cache
def _tiny_server() -> RealServer:
    return serving(model_folder(Path(_room()) / "tiny-llama"))


@cache
def _embedded_server() -> RealServer:
    ((name, (package, file)),) = EMBEDDED.items()
    folder = Path(_room()) / name
    return RealServer(base_url=_started(_LLAMA_CPP, [package, file, name], folder), model=name, folder=folder)


@cache
def _room() -> str:
    room = TemporaryDirectory(prefix="served-")
    atexit.register(room.cleanup)  # registered before the servers' ends, so called after them
    return room.name


def _started(program: str, arguments: list[str], folder: Path) -> str:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["HF_HOME"] = str(Path(_room()) / "hub")  # never what this machine's user has loaded before
    log = Path(_room()) / f"{folder.name}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _WATCH + program, *arguments],
            cwd=folder.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    atexit.register(_stop, process)
    return f"{_address(process, log)}/v1"


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"the server of {log.stem} did not start:\n{log.read_text(errors='replace')}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    if process.stdin:
        process.stdin.close()
