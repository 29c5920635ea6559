"""The cache of replies: what is promised about kills, several processes, and foreign files."""

import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.ask import ask
from pipeline.endpoint.cache import ReplyCache
from pipeline.endpoint.records import AnswerToken, ChatRequest, Reply, TokenOption
from pipeline.records import Message
from tests.forked import forked
from tests.servers.faulty import faulty

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


# Processes

PROGRAM = """
import os, signal, sys
from pathlib import Path
from pipeline.endpoint import ChatRequest, Endpoint, ask
from pipeline.records import Message

def run(names, last=None):
    endpoint = Endpoint(base_url=sys.argv[1], model="m", concurrency=4, first_wait=0.01)
    requests = [ChatRequest(id=name, messages=(Message(role="user", content=name),)) for name in names]
    for number, reply in enumerate(ask(endpoint, requests, cache=Path(sys.argv[2])), start=1):
        os.write(1, f"{reply.id} {reply.text}\\n".encode())
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)
"""

NAMED = """
Path(sys.argv[3]).write_text(str(os.getpid()))
run([f"row{i}" for i in range(60)])
"""

TOGETHER = """
for round in range(4):
    children = []
    for _ in range(3):
        if (child := os.fork()) == 0:
            run([f"{round}-{i}" for i in range(10)])
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.write(1, f"{codes}\\n".encode())
    if round % 2:
        os.rename(sys.argv[2], f"{sys.argv[2]}.{round}")
"""


def test_a_run_killed_at_random_moments_repeats_no_call_but_those_under_way(tmp_path):
    with faulty() as server:
        server.delay, server.victim = 0.01, tmp_path / "victim"
        # further apart than the 4 calls under way, so that none falls on a process that is dying already
        server.kills = frozenset(2 + 7 * i + random.Random(i).randrange(3) for i in range(8))
        told = [forked(PROGRAM + NAMED, server.base_url, tmp_path / "cache", server.victim) for _ in range(9)]
    assert [run.code for run in told] == [-signal.SIGKILL] * 8 + [0]
    assert sorted(told[-1].lines) == sorted(f"row{i} reply to row{i}" for i in range(60))
    yielded = {line for run in told[:-1] for line in run.lines}
    assert yielded <= {*told[-1].lines}
    calls = server.calls()
    assert set(calls) == {f"row{i}" for i in range(60)}
    # A kill breaks off at most the 4 calls that are under way; nothing else is ever sent twice.
    assert sum(n - 1 for n in calls.values()) <= 4 * 8


def test_a_reply_that_was_yielded_before_a_kill_is_never_asked_for_again(tmp_path):
    with faulty() as server:
        server.delay = 0.01
        program = PROGRAM + "run([f'row{i}' for i in range(500)], last=25)"
        told = forked(program, server.base_url, tmp_path / "cache")
        assert (told.code, len(told.lines)) == (-signal.SIGKILL, 25)
        names = [line.split()[0] for line in told.lines]
        time.sleep(0.1)  # until the calls that were under way have ended too
        before = Counter(server.received)
        requests = [ChatRequest(id=name, messages=(Message(role="user", content=name),)) for name in names]
        again = ask(Endpoint(base_url=server.base_url, model="m"), requests, cache=tmp_path / "cache")
        assert all(reply.cached for reply in again)
        assert server.calls() == before


def test_several_processes_share_one_cache_from_the_moment_it_is_made(tmp_path):
    with faulty() as server:
        told = forked(PROGRAM + TOGETHER, server.base_url, tmp_path / "cache")
    assert (told.code, told.errors) == (0, "")
    assert [line for line in told.lines if line.startswith("[")] == ["[0, 0, 0]"] * 4
    assert Counter(line for line in told.lines if line.startswith("0-3 ")) == {"0-3 reply to 0-3": 3}
    assert sum(line.startswith(("0-", "3-")) for line in told.lines) == 2 * 3 * 10
