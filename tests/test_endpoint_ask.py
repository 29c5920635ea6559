"""Asking an endpoint that fails in every way: nothing lost, nothing counted wrongly, nothing asked twice."""

import itertools
import re
import signal
import socket
import threading
import time

import pytest

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.ask import ask
from pipeline.endpoint.records import ChatRequest, Failure, Reply
from pipeline.records import Message
from tests.servers.faulty import BODIES, faulty

KEY = "sk-a-key-of-nobody-4711"


@pytest.fixture
def server():
    with faulty() as seen:
        yield seen


def request(text, **settings):
    """Return a request whose id is the name in its text (see `tests.servers.faulty`)."""
    message = Message(role="user", content=text)
    return ChatRequest(id=text.partition(":")[0], messages=(message,), **settings)


def endpoint(server, **settings):
    patience = {"first_wait": 0.02, "timeout": 5.0, "max_attempts": 4}
    return Endpoint(base_url=server.base_url, model="m", **{**patience, **settings})


def asked(server, texts, cache=None, **settings):
    """Return results by id."""
    results = list(ask(endpoint(server, **settings), [request(text) for text in texts], cache=cache))
    assert len({result.id for result in results}) == len(results) == len(texts)
    return {result.id: result for result in results}


def test_replies_carry_what_the_server_said(server):
    told = asked(server, ["a", "b: length", "c: filtered", "d: refusal", "e: unsaid", "f: blank"])
    assert told["a"] == Reply(
        id="a",
        text="reply to a",
        finish_reason="stop",
        model="as-served",
        prompt_tokens=7,
        completion_tokens=3,
    )
    assert (told["b"].text, told["b"].finish_reason) == ("cut of", "length")
    assert (told["c"].text, told["c"].finish_reason) == ("", "content_filter")
    assert (told["d"].text, told["d"].refusal) == ("", "I will not.")
    assert told["e"].finish_reason == "unknown"
    assert (told["f"].text, told["f"].refusal) == ("", None)


def test_log_probs_come_back_and_a_server_that_gives_none_is_no_failure(server):
    wanted = [request("a: scored", top_logprobs=3), request("b", top_logprobs=3)]
    told = {reply.id: reply for reply in ask(endpoint(server), wanted, cache=None)}
    (first,) = told["a"].tokens
    assert (first.token, first.log_prob) == ("85", -0.5)
    assert [(option.token, option.log_prob) for option in first.options] == [
        ("85", -0.5),
        ("90", -1.5),
        ("x", -9999.0),
    ]
    assert told["b"].tokens == ()
    assert all(body["logprobs"] is True and body["top_logprobs"] == 3 for body in server.bodies)


@pytest.mark.parametrize("fault", ["429", "500", "502", "503", "529", "408", "half", "reset", *BODIES])
def test_a_fault_that_passes_costs_one_more_call_and_no_reply(server, fault, tmp_path):
    told = asked(server, [f"a: {fault}", "b"], tmp_path / "cache")
    assert told["a"].text == "reply to a"
    assert told["a"].attempts == 2
    assert server.calls() == {"a": 2, "b": 1}
    again = asked(server, [f"a: {fault}", "b"], tmp_path / "cache")
    assert {(reply.text, reply.cached, reply.attempts) for reply in again.values()} == {
        ("reply to a", True, 0),
        ("reply to b", True, 0),
    }
    assert server.calls() == {"a": 2, "b": 1}


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_an_answer_that_never_ends_is_broken_off_after_the_timeout(server, fault):
    told = asked(server, [f"a: {fault}", f"b: {fault} {fault}"], timeout=1.5, max_attempts=2)
    assert told["a"].text == "reply to a"
    assert told["b"] == Failure(id="b", reason="timeout", text="no whole answer within 1.5 s", attempts=2)


@pytest.mark.parametrize(
    ("fault", "reason", "status", "text"),
    [
        ("429", "rate_limited", 429, "HTTP 429, you got a 429"),
        ("500", "server_error", 500, "HTTP 500, you got a 500"),
        ("half", "connection", None, "peer closed connection without sending complete message body"),
        ("reset", "connection", None, "reset"),
        ("html", "bad_reply", 200, "not JSON"),
        ("empty", "bad_reply", 200, r"choices is \[\]; needed: a list with at least one"),
        ("inside", "bad_reply", 200, "holds an error: .*overloaded"),
        ("broken_off", "bad_reply", 200, "the server broke off"),
    ],
)
def test_a_fault_that_stays_ends_in_a_failure_that_says_so(server, fault, reason, status, text):
    told = asked(server, [f"a: {' '.join([fault] * 4)}", "b"])
    failure = told["a"]
    assert (failure.reason, failure.status, failure.attempts) == (reason, status, 4)
    assert re.search(text, failure.text)
    assert server.calls() == {"a": 4, "b": 1}
    assert server.answered == ["b"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_not_repeated_and_does_not_stop_the_others(server, status):
    told = asked(server, [f"a: {status}", "b"])
    assert told["a"] == Failure(
        id="a",
        reason="refused_request",
        text=f"HTTP {status}, you got a {status}",
        attempts=1,
        status=status,
    )
    assert told["b"].text == "reply to b"
    assert server.calls() == {"a": 1, "b": 1}


# Retry-After


@pytest.mark.parametrize(
    ("asks", "least", "most"),
    [("429=0.4", 0.4, 1), ("503=0.4", 0.4, 1), ("429=date", 0.4, 3), ("429=ms", 0.15, 1)],
)
def test_retry_after_is_waited_for_in_seconds_milliseconds_or_until_a_date(server, asks, least, most):
    texts = [f"a: {asks}", *(f"b{i}" for i in range(6))]
    told = asked(server, texts, concurrency=1)
    assert told["a"].attempts == 2
    assert server.received[:2] == ["a", "a"]
    assert least <= server.times[1] - server.times[0] <= most


def test_a_pause_that_one_call_is_told_of_holds_for_all(server):
    server.delay = 0.02
    asked(server, ["a: 429=0.5", *(f"b{i}" for i in range(40))], concurrency=2)
    first = server.times[0]
    in_the_pause = [time for time in server.times if first + 0.1 < time < first + 0.5]
    assert not in_the_pause


def test_a_server_that_wants_an_hour_is_not_waited_for(server):
    told = asked(server, ["a: 429=3600", "b: 503=3600"])
    assert told["a"].text == "HTTP 429, you got a 429; it asks to wait 3600 s, longer than 300 s"
    assert (told["a"].reason, told["b"].reason) == ("rate_limited", "server_error")
    assert server.calls() == {"a": 1, "b": 1}


# What is wrong with every request


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (
            "401",
            PermissionError,
            "HTTP 401, you got a 401; the environment variable OPENAI_API_KEY is not set",
        ),
        ("403", PermissionError, "HTTP 403"),
        ("402", PermissionError, "no credit left"),
        ("429=insufficient_quota", PermissionError, "no credit left"),
        ("404", LookupError, "HTTP 404, you got a 404; see that the model's name"),
        ("400=model_not_found", LookupError, "HTTP 400, you got a 400; see that"),
    ],
)
def test_what_is_wrong_with_every_request_ends_the_run_at_once(server, fault, kind, text, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rows = [request(f"a{i}: {fault}") for i in range(1000)]
    with pytest.raises(kind, match=text) as raised:
        list(ask(endpoint(server, concurrency=4), rows, cache=None))
    assert str(raised.value).startswith(f"{server.base_url}, model 'm': HTTP ")
    assert len(server.received) <= 4


def test_a_403_after_replies_is_about_that_request(server):
    told = asked(server, ["a", "b: 403", "c"], concurrency=1)
    assert (told["b"].reason, told["b"].status) == ("refused_request", 403)
    assert told["c"].text == "reply to c"


def test_replies_before_the_end_of_a_run_are_yielded_and_kept(server, tmp_path):
    rows = [request(text) for text in ["a", "b", "c: 401", "d"]]
    got = []
    with pytest.raises(PermissionError):
        got.extend(ask(endpoint(server, concurrency=1), rows, cache=tmp_path / "cache"))
    told = asked(server, ["a", "b", "c", "d"], tmp_path / "cache")
    assert [told[row].cached for row in "abcd"] == [True, True, False, False]


def test_a_server_that_is_not_there_ends_the_run(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        nobody = Endpoint(
            base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1",
            model="m",
            first_wait=0.0,
            max_attempts=2,
        )
        with pytest.raises(ConnectionError, match=r"8 requests in a row went unanswered, the last with: .*"):
            list(ask(nobody, [request(f"a{i}") for i in range(1000)], cache=None))


def test_failures_one_after_the_other_end_a_run_and_a_reply_in_between_begins_anew(server):
    never = "500 500"
    few = [f"a{i}: {never}" for i in range(7)]
    told = asked(
        server, [*few, "b", *(text.replace("a", "c") for text in few)], concurrency=1, max_attempts=2
    )
    assert sum(isinstance(result, Failure) for result in told.values()) == 14
    with pytest.raises(ConnectionError, match="went unanswered"):
        asked(server, [f"d{i}: {never}" for i in range(9)], concurrency=1, max_attempts=2)


def test_settings_that_the_server_refuses_end_a_run_and_filtered_texts_do_not(server):
    with pytest.raises(ValueError, match="refused the first 20 requests alike: HTTP 400, you got a 400"):
        asked(server, [f"a{i}: 400" for i in range(1000)])
    assert len(server.received) < 40
    told = asked(server, [f"b{i}: 400=own" for i in range(30)])  # each in its own words
    assert len(told) == 30
    told = asked(server, [f"c{i}: 400=filter" for i in range(30)])
    assert {result.text for result in told.values()} == {"HTTP 400, blocked by our content filter"}


# Once only


def test_equal_requests_are_sent_once_and_draws_are_not_equal(server, tmp_path):
    same = [ChatRequest(id=f"same{i}", messages=request("a").messages) for i in range(5)]
    draws = [ChatRequest(id=f"draw{i}", messages=request("b").messages, sample=i) for i in range(5)]
    told = {r.id: r for r in ask(endpoint(server), [*same, *draws], cache=tmp_path / "cache")}
    assert server.calls() == {"a": 1, "b": 5}
    assert sorted(told[f"same{i}"].cached for i in range(5)) == [False, True, True, True, True]
    assert not any(told[f"draw{i}"].cached for i in range(5))
    assert sum(result.attempts for result in told.values()) == 6


def test_equal_requests_fail_together(server):
    same = [ChatRequest(id=f"same{i}", messages=request("a: 500 500").messages) for i in range(3)]
    told = list(ask(endpoint(server, max_attempts=2), same, cache=None))
    assert [result.reason for result in told] == ["server_error"] * 3
    assert sum(result.attempts for result in told) == 2 == len(server.received)


def test_failures_are_not_remembered(server, tmp_path):
    first = asked(server, ["a: 500 500"], tmp_path / "cache", max_attempts=2)
    assert first["a"].reason == "server_error"
    assert asked(server, ["a: 500 500"], tmp_path / "cache", max_attempts=2)["a"].text == "reply to a"


def test_another_setting_is_another_request(server, tmp_path):
    settings = [
        {},
        {"temperature": 0.0},
        {"temperature": None},
        {"max_tokens": 9},
        {"seed": 1},
        {"top_p": 0.5},
        {"stop": ("x",)},
        {"top_logprobs": 0},
        {"extra": {"min_p": 0.1}},
        {"sample": 1},
    ]
    for setting in itertools.chain(settings, settings):
        list(ask(endpoint(server), [request("a", **setting)], cache=tmp_path / "cache"))
    assert len(server.received) == len(settings)
    list(ask(endpoint(server, limit_field="max_completion_tokens"), [request("a")], cache=tmp_path / "cache"))
    assert server.bodies[-1] == {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "max_completion_tokens": 512,
        "temperature": 1.0,
    }


def test_no_more_calls_are_under_way_than_allowed(server):
    server.delay = 0.03
    asked(server, [f"a{i}" for i in range(30)], concurrency=3)
    assert server.busiest == 3


# Ends


def test_a_caller_that_stops_listening_stops_the_calls(server, tmp_path):
    server.delay = 0.05
    results = ask(
        endpoint(server, concurrency=2), [request(f"a{i}") for i in range(200)], cache=tmp_path / "cache"
    )
    got = [next(results), next(results)]
    results.close()
    assert threading.active_count() < 20
    n_calls = len(server.received)
    time.sleep(0.2)
    assert len(server.received) == n_calls < 10
    told = asked(server, [f"a{i}" for i in range(200)][:8], tmp_path / "cache")
    assert all(told[reply.id].cached for reply in got)


def test_ctrl_c_keeps_what_was_finished(server, tmp_path):
    server.delay = 0.03
    texts = [f"a{i}" for i in range(200)]
    timer = threading.Timer(0.6, signal.raise_signal, [signal.SIGINT])
    got = []

    def ask_all():
        for reply in ask(endpoint(server, concurrency=1), [*map(request, texts)], cache=tmp_path / "cache"):
            got.append(reply.id)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ask_all()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert 0 < len(got) < 200
    server.delay = 0
    told = asked(server, texts, tmp_path / "cache")
    assert all(told[row].cached for row in got)
    assert sum(n - 1 for n in server.calls().values()) <= 1  # the call that was under way


def test_progress_counts_every_request(server):
    shown = []

    class Shown:
        def __call__(self, task, total):
            shown.append((task, total))
            return self

        def __enter__(self):
            return shown.append

        def __exit__(self, *_):
            shown.append("end")

    list(ask(endpoint(server), [request("a"), request("b: 400")], cache=None, progress=Shown()))
    assert shown == [("asking m", 2), 1, 1, "end"]


# The key


def test_the_key_goes_to_the_server_and_nowhere_else(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level("DEBUG")
    there = endpoint(server, key_variable="MY_KEY")
    told = list(ask(there, [request("a"), request("b: 500 400=echo")], cache=tmp_path / "cache"))
    with pytest.raises(PermissionError, match=r"wrong key: Bearer \[key\].*MY_KEY is set") as raised:
        list(ask(there, [request("c: 401=echo")], cache=tmp_path / "cache"))
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert written
    assert KEY.encode() not in written
    for text in (repr(there), repr(told), str(raised.value), caplog.text):
        assert KEY not in text
        assert "4711" not in text


def test_without_a_key_none_is_sent(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    asked(server, ["a"])
    assert "authorization" not in server.headers[0]


def test_a_key_that_is_none_is_refused_without_showing_it(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-4711\nX-More: header")
    with pytest.raises(ValueError, match="OPENAI_API_KEY: holds white space") as raised:
        asked(server, ["a"])
    assert "4711" not in str(raised.value)
    assert not server.received


# Misuse


def test_misuse_is_refused_before_anything_is_sent(server, tmp_path):
    with pytest.raises(ValueError, match="got none, need at least 1"):
        ask(endpoint(server), [], cache=None)
    with pytest.raises(ValueError, match="id 'a' stands twice"):
        ask(endpoint(server), [request("a"), request("a")], cache=None)
    (tmp_path / "notes.txt").write_text("no cache" * 200)
    with pytest.raises(ValueError, match=r"notes\.txt: is no cache of replies"):
        list(ask(endpoint(server), [request("a")], cache=tmp_path / "notes.txt"))
    with pytest.raises(OSError, match="cannot be opened as a cache"):
        list(ask(endpoint(server), [request("a")], cache=tmp_path / "no folder" / "cache"))
    assert not server.received


def test_half_a_surrogate_pair_is_sent_as_a_replacement_character(server):
    (reply,) = ask(endpoint(server), [request("a \ud83d b \ud83c\udf0a")], cache=None)
    assert server.bodies[0]["messages"][0]["content"] == "a \N{REPLACEMENT CHARACTER} b \N{WATER WAVE}"
    assert reply.id == "a \ud83d b \ud83c\udf0a"
