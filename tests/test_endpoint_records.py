"""What may be asked, where, and how records travel through JSON."""

import pytest

from pipeline.endpoint import AnswerToken, ChatRequest, Endpoint, Failure, Reply, TokenOption
from pipeline.endpoint.body import chat_body, request_key
from pipeline.json_text import to_json
from pipeline.json_types import from_object
from pipeline.records import Message, read_jsonl, write_jsonl

HELLO = (Message(role="system", content="Be brief."), Message(role="user", content="Hello"))
LOCAL = Endpoint(base_url="http://127.0.0.1:8000/v1", model="m")


@pytest.mark.parametrize(
    "records",
    [
        [ChatRequest(id="a", messages=HELLO, stop=("x",), extra={"guide": [1, {"x": None}]})],
        [
            Failure(id="a", reason="timeout", text="", attempts=2),
            Failure(id="b", reason="bad_reply", text="x", attempts=1),
        ],
        [
            Reply(
                id="a",
                text=" ",
                finish_reason="stop",
                model="",
                tokens=(
                    AnswerToken(token="", log_prob=-1.0, options=(TokenOption(token="x", log_prob=-2.0),)),
                ),
            )
        ],
    ],
    ids=["request", "failure", "reply"],
)
def test_records_come_back_from_a_file_as_they_went(records, tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", records)
    assert list(read_jsonl(tmp_path / "rows.jsonl", type(records[0]))) == records


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"messages": ()}, "has no messages"),
        ({"max_tokens": 0}, "max_tokens is 0; allowed: 1 or more"),
        ({"temperature": 2.5}, "temperature is 2.5; allowed: 0 to 2"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_logprobs": -1}, "top_logprobs is -1"),
        ({"extra": {"seed": 3}}, "extra holds seed, which has its own place"),
        ({"extra": {"stream": True}}, "extra holds stream"),
        ({"extra": {"max_completion_tokens": 3}}, "extra holds max_completion_tokens"),
    ],
)
def test_requests_that_no_server_can_answer_are_refused(settings, message):
    with pytest.raises(ValueError, match=rf"request 'a': {message}"):
        ChatRequest(**{"id": "a", "messages": HELLO, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "127.0.0.1:8000/v1"}, "is no http address"),
        ({"base_url": "ftp://127.0.0.1/v1"}, "is no http address"),
        ({"base_url": "http://"}, "is no http address"),
        ({"base_url": "http://me:secret@127.0.0.1/v1"}, "base_url: holds a user"),
        ({"base_url": "http://127.0.0.1/v1?api-key=secret"}, "base_url: holds a user, a query"),
        ({"key_variable": "sk-secret"}, "key_variable: is no name of an environment variable"),
        ({"key_variable": "hf_secret"}, "key_variable: is no name of an environment variable"),
        ({"model": " "}, "model: is blank"),
        ({"concurrency": 0}, "concurrency: is 0"),
        ({"max_attempts": 0}, "max_attempts: is 0"),
        ({"timeout": 0.0}, "timeout"),
        ({"first_wait": float("nan")}, "first_wait"),
    ],
)
def test_endpoints_that_cannot_work_or_hold_a_secret_are_refused_without_showing_it(settings, message):
    with pytest.raises(ValueError, match=message) as raised:
        Endpoint(**{"base_url": "http://127.0.0.1/v1", "model": "m", **settings})
    assert "secret" not in str(raised.value)


def test_an_endpoint_can_stand_in_a_run_file():
    assert from_object(to_json(LOCAL, "endpoint"), Endpoint, "run.json") == LOCAL


def test_what_is_none_is_left_to_the_server():
    request = ChatRequest(id="a", messages=HELLO, temperature=None, max_tokens=3)
    assert chat_body(LOCAL, request) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
        ],
        "max_tokens": 3,
    }


def test_the_id_and_a_slash_at_the_end_do_not_make_another_request():
    key = request_key(LOCAL, ChatRequest(id="a", messages=HELLO))
    slash = Endpoint(base_url="http://127.0.0.1:8000/v1/", model="m", concurrency=1, key_variable="OTHER")
    assert request_key(slash, ChatRequest(id="b", messages=HELLO)) == key
    other = Endpoint(base_url="http://127.0.0.1:8001/v1", model="m")
    assert request_key(other, ChatRequest(id="a", messages=HELLO)) != key
