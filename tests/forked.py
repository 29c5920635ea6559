"""Programs in processes of their own that may be killed, without waiting for torch to be imported each time.

One process imports what the programs need and then forks: `forked(program, "argument")` runs the program in a child
of it, with `sys.argv[1:]` as given, and returns how it ended and what it printed.
"""

import atexit
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]

_PARENT = """
import json, os, sys, traceback
import pipeline.endpoint, pipeline.hosted

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        for number in (1, 2):
            os.dup2(os.open(job["printed"][number - 1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv, code = ["program", *job["arguments"]], 1
        try:
            exec(job["program"], {"__name__": "__main__"})
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended: its exit code (minus the signal that killed it), and what it printed."""

    code: int
    lines: list[str]
    errors: str


def forked(program: str, *arguments: object) -> Ended:
    """Run a program to its end, or until something kills it."""
    parent, room = _parent()
    printed = [str(room / "out"), str(room / "err")]
    job = {"program": program, "arguments": [str(argument) for argument in arguments], "printed": printed}
    parent.stdin.write(json.dumps(job) + "\n")
    parent.stdin.flush()
    code = int(parent.stdout.readline())
    out, errors = (Path(path).read_text() for path in printed)
    return Ended(code=code, lines=out.splitlines(), errors=errors)


@cache
def _parent():
    room = TemporaryDirectory(prefix="forked-")
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(_end, parent, room)
    return parent, Path(room.name)


def _end(parent, room):
    parent.stdin.close()  # ends its loop
    parent.wait()
    parent.stdout.close()
    room.cleanup()
