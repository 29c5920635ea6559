"""The cache of replies: what is promised about kills, several processes, and foreign files."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.ask import ask
from pipeline.endpoint.cache import ReplyCache
from pipeline.endpoint.records import AnswerToken, ChatRequest, Reply, TokenOption
from pipeline.records import Message
from tests.servers.faulty import faulty

ROOT = Path(__file__).parents[1]

WHOLE = Reply(
    id="first",
    text="half a pair \ud83d, a line\u2028and \x00",
    finish_reason="stop",
    model="",
    refusal="no",
    prompt_tokens=0,
    tokens=(AnswerToken(token=" 85", log_prob=-0.25, options=(TokenOption(token="", log_prob=-9999.0),)),),
    attempts=3,
)


def opened(path):
    return closing(ReplyCache(path))


def test_what_is_put_comes_back_under_the_id_of_who_asks(tmp_path):
    with opened(tmp_path / "cache") as cache:
        assert cache.get("k", "second") is None
        cache.put("k", WHOLE)
    with opened(tmp_path / "cache") as cache:
        found = cache.get("k", "second")
    assert (found.id, found.cached, found.attempts) == ("second", True, 0)
    assert (found.text, found.tokens, found.refusal) == (WHOLE.text, WHOLE.tokens, "no")
    assert (found.prompt_tokens, found.completion_tokens) == (0, None)


def test_the_first_reply_to_a_request_stays(tmp_path):
    with opened(tmp_path / "cache") as cache, opened(tmp_path / "cache") as other:
        cache.put("k", WHOLE)
        other.put("k", Reply(id="later", text="other", finish_reason="stop", model="m"))
        assert other.get("k", "x").text == WHOLE.text


def test_files_of_another_kind_are_refused_and_left_as_they_were(tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.db")) as base, base:
        base.execute("CREATE TABLE replies (key TEXT, reply BLOB)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(ValueError, match="an sqlite file of another kind"):
        ReplyCache(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_damaged_reply_is_an_error_and_no_answer(tmp_path):
    with opened(tmp_path / "cache") as cache:
        cache.put("k" * 64, WHOLE)
    with closing(sqlite3.connect(tmp_path / "cache")) as base, base:
        base.execute("UPDATE replies SET reply = ?", (b'{"id": "a"}',))
    with (
        opened(tmp_path / "cache") as cache,
        pytest.raises(ValueError, match="reply kkkkkkkkkkkk: key 'text'"),
    ):
        cache.get("k" * 64, "a")


def test_a_full_disk_is_told_and_loses_nothing_that_was_there(tmp_path):
    with opened(tmp_path / "cache") as cache:
        cache.put("a", WHOLE)
        cache._base.execute("PRAGMA max_page_count = 8")
        big = Reply(id="b", text="b" * 100_000, finish_reason="stop", model="m")
        with pytest.raises(OSError, match="disk is full; the replies before are safe"):
            cache.put("b", big)
        assert cache.get("a", "a") is not None
        assert cache.get("b", "b") is None


# Processes. Children are forked from one that has imported everything, so that many kills take little time.

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.ask import ask
from pipeline.endpoint.records import ChatRequest
from pipeline.records import Message

def run(names):
    endpoint = Endpoint(base_url=sys.argv[1], model="m", concurrency=4, first_wait=0.01)
    requests = [ChatRequest(id=name, messages=(Message(role="user", content=name),)) for name in names]
    for reply in ask(endpoint, requests, cache=Path(sys.argv[2])):
        os.write(1, f"{reply.id} {reply.text}\\n".encode())

def forked(names):
    child = os.fork()
    if child == 0:
        try:
            run(names)
        except BaseException as error:
            os.write(2, f"{error!r}\\n".encode())
            os._exit(1)
        os._exit(0)
    return child
"""

KILLED = """
names = [f"row{i}" for i in range(60)]
for seconds in map(float, sys.argv[3:]):
    child = forked(names)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.write(1, b"killed\\n")
run(names)
"""

TOGETHER = """
for round in range(6):
    names = [f"{round}-{i}" for i in range(10)]
    children = [forked(names) for _ in range(4)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.write(1, f"{codes}\\n".encode())
    if round % 2:
        os.rename(sys.argv[2], f"{sys.argv[2]}.{round}")
"""


def processes(server, tmp_path, program, *arguments):
    told = [sys.executable, "-c", PROGRAM + program, server.base_url, str(tmp_path / "cache"), *arguments]
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_run_killed_at_random_moments_repeats_no_call_that_was_answered(tmp_path):
    draw = random.Random(7)
    with faulty() as server:
        server.delay = 0.05
        lines = processes(server, tmp_path, KILLED, *(str(draw.uniform(0.05, 0.4)) for _ in range(8)))
    last = len(lines) - lines[::-1].index("killed")
    assert sorted(lines[last:]) == sorted(f"row{i} reply to row{i}" for i in range(60))
    yielded_before = {line.split()[0] for line in lines[:last] if line != "killed"}
    assert yielded_before, "no child got as far as one reply"
    calls = server.calls()
    assert set(calls) == {f"row{i}" for i in range(60)}
    # A kill breaks off at most the 4 calls that are under way; nothing else is ever sent twice.
    assert sum(n - 1 for n in calls.values()) <= 4 * 8
    for name, n in calls.items():
        repeats = [line.split()[0] for line in lines].count(name)
        assert n <= 9
        assert repeats >= 1


def test_a_reply_that_was_yielded_before_a_kill_is_never_asked_for_again(tmp_path):
    with faulty() as server:
        server.delay = 0.02
        told = [sys.executable, "-c", PROGRAM + "run([f'row{i}' for i in range(500)])"]
        told += [server.base_url, str(tmp_path / "cache")]
        child = subprocess.Popen(told, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        yielded = [child.stdout.readline().split()[0] for _ in range(25)]
        child.send_signal(signal.SIGKILL)
        yielded += [line.split()[0] for line in child.stdout.read().splitlines()]
        child.wait()
        child.stdout.close()
        time.sleep(0.1)
        before = Counter(server.received)
        requests = [ChatRequest(id=name, messages=(Message(role="user", content=name),)) for name in yielded]
        again = ask(Endpoint(base_url=server.base_url, model="m"), requests, cache=tmp_path / "cache")
        assert all(reply.cached for reply in again)
        assert server.calls() == before


def test_several_processes_share_one_cache_from_the_moment_it_is_made(tmp_path):
    with faulty() as server:
        lines = processes(server, tmp_path, TOGETHER)
    assert [line for line in lines if line.startswith("[")] == ["[0, 0, 0, 0]"] * 6
    assert Counter(line for line in lines if line.startswith("0-3 ")) == {"0-3 reply to 0-3": 4}
    assert sum(line.startswith(("0-", "5-")) for line in lines) == 2 * 4 * 10
