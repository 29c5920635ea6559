"""The Batch API: lines in the right form, results in the right place, one batch whatever happens."""

import json
import signal

import httpx2
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from pipeline.endpoint import ChatRequest, Endpoint, ask, batch_lines, batch_replies, read_batch, write_batch
from pipeline.endpoint.batch_state import read_state
from pipeline.endpoint.body import request_key
from pipeline.records import Message
from tests.forked import forked
from tests.servers.faulty import completion
from tests.servers.provider import provider, reply_row
from tests.servers.real import chat_server_fixture  # noqa: F401

KEY = "sk-a-key-of-nobody-4711"


@pytest.fixture
def there():
    with provider() as holds:
        yield holds


def endpoint(there, **settings):
    patience = {"first_wait": 0.01, "timeout": 10.0, "max_attempts": 4}
    return Endpoint(base_url=there.base_url, model="m", **{**patience, **settings})


def request(name, **settings):
    return ChatRequest(id=name, messages=(Message(role="user", content=f"say {name}"),), **settings)


def batched(there, names, folder, cache=None, **settings):
    requests = [request(name) for name in names]
    told = batch_replies(endpoint(there, **settings), requests, folder, cache=cache, every=0.01)
    assert [result.id for result in told] == names
    return told


# Lines


def test_lines_have_the_form_that_the_batch_api_and_vllm_read(tmp_path):
    full = request("a", seed=1, top_p=0.5, stop=("x",), top_logprobs=5, max_tokens=3, temperature=0.0)
    n = write_batch(
        Endpoint(base_url="http://127.0.0.1/v1", model="m"), [full, request("b")], tmp_path / "in.jsonl"
    )
    lines = [json.loads(line) for line in (tmp_path / "in.jsonl").read_bytes().splitlines()]
    assert n == len(lines) == 2
    for line in lines:
        assert line.keys() == {"custom_id", "method", "url", "body"}
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        assert 0 < len(line["custom_id"]) <= 64
        # The client's own types: required keys and types of values; and no key they do not know.
        TypeAdapter(CompletionCreateParamsNonStreaming).validate_python(line["body"])
        assert line["body"].keys() <= CompletionCreateParamsNonStreaming.__annotations__.keys()
    assert lines[0]["body"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "say a"}],
        "max_tokens": 3,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 1,
        "stop": ["x"],
        "logprobs": True,
        "top_logprobs": 5,
    }


def test_lines_are_calls_that_a_real_server_answers(tmp_path, chat_server):
    asked = Endpoint(base_url=chat_server.base_url, model=chat_server.model)
    rows = [request(name, max_tokens=4, temperature=0.0) for name in "ab"]
    write_batch(asked, rows, tmp_path / "in.jsonl")
    with open(tmp_path / "out.jsonl", "w") as output:
        for line in map(json.loads, (tmp_path / "in.jsonl").read_bytes().splitlines()):
            url = asked.base_url.removesuffix("/v1") + line["url"]
            answer = httpx2.request(line["method"], url, json=line["body"], timeout=60)
            response = {"status_code": answer.status_code, "body": answer.json()}
            print(
                json.dumps({"custom_id": line["custom_id"], "response": response, "error": None}), file=output
            )
    by_batch = read_batch(asked, rows, [tmp_path / "out.jsonl"])
    by_call = {reply.id: reply for reply in ask(asked, rows, cache=None)}
    assert by_batch == (by_call["a"], by_call["b"])


def test_equal_requests_are_one_line(tmp_path):
    same = [ChatRequest(id=str(i), messages=request("a").messages, sample=i // 2) for i in range(4)]
    there = Endpoint(base_url="http://127.0.0.1/v1", model="m")
    assert write_batch(there, same, tmp_path / "in.jsonl") == 2


def test_files_that_are_too_long_are_refused(tmp_path, monkeypatch):
    there = Endpoint(base_url="http://127.0.0.1/v1", model="m")
    rows = [request(name) for name in "abc"]
    monkeypatch.setattr(batch_lines, "MOST_LINES", 2)
    with pytest.raises(ValueError, match="3 lines and 0 MB; allowed: 2 lines and 200 MB. Ask in parts"):
        write_batch(there, rows, tmp_path / "in.jsonl")
    monkeypatch.setattr(batch_lines, "MOST_BYTES", 300)
    with pytest.raises(ValueError, match="2 lines and 0 MB"):
        write_batch(there, rows[:2], tmp_path / "in.jsonl")
    with pytest.raises(ValueError, match="got no requests"):
        write_batch(there, [], tmp_path / "in.jsonl")
    assert not list(tmp_path.iterdir())


# Results


def test_every_request_gets_its_own_result_also_from_broken_files(tmp_path, caplog):
    there = Endpoint(base_url="http://127.0.0.1/v1", model="m")
    rows = [request(name) for name in ("good", "late", "shape", "status", "vllm", "gone", "both", "expired")]
    key = {row.id: request_key(there, row) for row in rows}

    def line(name, body=None, status=200, error=None):
        response = {"status_code": status, "body": body} if body is not None else None
        return json.dumps({"custom_id": key[name], "response": response, "error": error}) + "\n"

    output = [
        line("both", {"error": {"message": "busy"}}, status=500),
        line("good", completion("good")),
        line("shape", {"choices": []}),
        line("both", completion("both")),
        line("both", {"error": {"message": "late failure"}}, status=500),
        "{torn\n",
        json.dumps({"custom_id": 3}) + "\n",
    ]
    errors = [
        line("status", {"error": {"message": "too\nlong"}}, status=400),
        line("vllm", {"object": "error", "message": "no room"}, status=400, error={"code": "x"}),
        line("expired", error={"code": "batch_expired", "message": "it took too long"}),
        line("late", {"error": {"message": "slow down"}}, status=429),
    ]
    (tmp_path / "out").write_text("".join(output))
    (tmp_path / "err").write_text("".join(errors))
    told = {result.id: result for result in read_batch(there, rows, [tmp_path / "out", tmp_path / "err"])}
    assert list(told) == [row.id for row in rows]
    assert (told["good"].text, told["both"].text) == ("reply to good", "reply to both")
    assert {
        name: (told[name].reason, told[name].status, told[name].text) for name in told if name[0] not in "bg"
    } == {
        "late": ("rate_limited", 429, "HTTP 429, slow down"),
        "shape": ("bad_reply", 200, "reply: choices is []; needed: a list with at least one"),
        "status": ("refused_request", 400, "HTTP 400, too long"),
        "vllm": ("refused_request", 400, "HTTP 400, {'code': 'x'}"),
        "expired": ("timeout", None, "it took too long"),
    }
    assert told["gone"].text == "no readable line of the output or error file speaks of it"
    assert caplog.text.count("left out: ") == 2


def test_a_file_of_another_batch_is_refused(tmp_path):
    there = Endpoint(base_url="http://127.0.0.1/v1", model="m")
    (tmp_path / "out").write_text(
        json.dumps(reply_row({"custom_id": "x", "body": {"messages": [{"content": ""}]}}))
    )
    with pytest.raises(ValueError, match="out:1: custom_id 'x' was not asked for"):
        read_batch(there, [request("a")], [tmp_path / "out"])


# From end to end


def test_a_batch_asks_what_the_cache_does_not_hold_and_fills_it(there, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    cache = tmp_path / "cache"
    first = batched(there, ["b", "c"], tmp_path / "one", cache)
    assert [reply.text for reply in first] == ["reply to say b", "reply to say c"]
    assert not any(reply.cached for reply in first)
    second = batched(there, ["b", "d", "c"], tmp_path / "two", cache)
    assert [reply.cached for reply in second] == [True, False, True]
    assert [
        len(file["content"].splitlines()) for file in there.files.values() if file["purpose"] == "batch"
    ] == [2, 1]
    third = batched(there, ["d", "b"], tmp_path / "three", cache)
    assert all(reply.cached for reply in third)
    assert not (tmp_path / "three").exists()
    assert there.calls["POST /v1/batches"] == 2
    assert {headers["authorization"] for headers in there.headers} == {f"Bearer {KEY}"}
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_failures_of_lines_are_told_and_not_remembered(there, tmp_path):
    def answer(line):
        if "say b" in str(line):
            return {"custom_id": line["custom_id"], "response": None, "error": {"code": "x", "message": "no"}}
        return None if "say c" in str(line) else reply_row(line)

    there.answer = answer
    told = batched(there, ["a", "b", "c"], tmp_path / "one", tmp_path / "cache")
    assert [getattr(result, "reason", "reply") for result in told] == ["reply", "server_error", "bad_reply"]
    there.answer = reply_row
    again = batched(there, ["a", "b", "c"], tmp_path / "two", tmp_path / "cache")
    assert [result.cached for result in again] == [True, False, False]


@pytest.mark.parametrize("ending", ["expired", "cancelled"])
def test_a_batch_that_ends_early_gives_what_it_has(there, tmp_path, ending):
    there.ending = ending
    there.answer = lambda line: reply_row(line) if "say a" in str(line) else None
    told = batched(there, ["a", "b"], tmp_path / "one")
    assert (told[0].text, told[1].reason) == ("reply to say a", "bad_reply")


def test_a_batch_that_the_provider_refuses_says_why(there, tmp_path):
    there.ending = "failed"
    with pytest.raises(ValueError, match="batch batch-1 failed: line 2: no such model"):
        batched(there, ["a", "b"], tmp_path / "one")
    assert read_state(tmp_path / "one").status == "failed"


def test_a_folder_keeps_to_its_requests(there, tmp_path):
    batched(there, ["a", "b"], tmp_path / "one")
    with pytest.raises(ValueError, match="holds a batch of 2 other calls .* choose a new folder"):
        batched(there, ["a", "c"], tmp_path / "one")
    again = batched(there, ["b", "a"], tmp_path / "one")
    assert [reply.text for reply in again] == ["reply to say b", "reply to say a"]
    assert there.calls["POST /v1/batches"] == 1


@pytest.mark.parametrize("route", ["POST /v1/files", "POST /v1/batches"])
@pytest.mark.parametrize("faults", [["429"], ["500", "503"], ["lost"], ["half"], ["lost", "500", "lost"]])
def test_no_fault_makes_a_second_batch(there, tmp_path, route, faults):
    there.faults[route] = [*faults]
    told = batched(there, ["a", "b"], tmp_path / "one")
    assert [reply.text for reply in told] == ["reply to say a", "reply to say b"]
    assert len(there.batches) == 1
    assert sum(file["purpose"] == "batch" for file in there.files.values()) == 1


@pytest.mark.parametrize("route", ["GET /v1/batches/ID", "GET /v1/files/ID/content"])
def test_looks_and_downloads_are_repeated_until_they_are_whole(there, tmp_path, route):
    there.faults[route] = ["half", "500", "lost"]
    told = batched(there, ["a", "b"], tmp_path / "one")
    assert [reply.text for reply in told] == ["reply to say a", "reply to say b"]


def test_faults_that_stay_end_in_a_sentence_and_the_same_call_goes_on(there, tmp_path):
    there.faults["POST /v1/batches"] = ["500"] * 4
    with pytest.raises(ConnectionError, match="making the batch: 4 attempts, HTTP 500, a 500"):
        batched(there, ["a"], tmp_path / "one")
    there.faults["POST /v1/batches"] = ["401"]
    with pytest.raises(PermissionError, match="HTTP 401"):
        batched(there, ["a"], tmp_path / "one")
    there.faults["POST /v1/batches"] = ["400"]
    with pytest.raises(ValueError, match="making the batch: HTTP 400, a 400"):
        batched(there, ["a"], tmp_path / "one")
    (reply,) = batched(there, ["a"], tmp_path / "one")
    assert reply.text == "reply to say a"
    assert sum(file["purpose"] == "batch" for file in there.files.values()) == 1


PROGRAM = """
import os, sys
from pathlib import Path
from pipeline.endpoint import ChatRequest, Endpoint, batch_replies
from pipeline.records import Message

folder = Path(sys.argv[2])
(folder / "victim").write_text(str(os.getpid()))
requests = [ChatRequest(id=name, messages=(Message(role="user", content=f"say {name}"),)) for name in "abc"]
endpoint = Endpoint(base_url=sys.argv[1], model="m", first_wait=0.01)
for reply in batch_replies(endpoint, requests, folder / "one", cache=folder / "cache", every=0.01):
    print(reply.text)
"""


def test_a_kill_after_each_step_makes_no_second_upload_and_no_second_batch(there, tmp_path):
    there.victim = tmp_path / "victim"
    for route in ("POST /v1/files", "POST /v1/batches", "GET /v1/batches/ID", "GET /v1/files/ID/content"):
        there.faults[route] = ["kill"]
    told = [forked(PROGRAM, there.base_url, tmp_path) for _ in range(5)]
    assert [run.code for run in told] == [-signal.SIGKILL] * 4 + [0], told[-1].errors
    assert told[-1].lines == [f"reply to say {name}" for name in "abc"]
    assert (there.calls["POST /v1/files"], there.calls["POST /v1/batches"]) == (1, 1)


def test_a_provider_that_lists_nothing_is_the_limit_of_the_promise(there, tmp_path):
    there.lists = False
    there.faults["POST /v1/batches"] = ["lost"]
    batched(there, ["a"], tmp_path / "one")
    assert len(there.batches) == 2
