"""Facts about answers out of a real OpenAI-compatible server on loopback, and about what gets no answer."""

from contextlib import suppress
from dataclasses import replace

import pytest

from activations import Trigger, load
from pipeline.answer import (
    AnswerSettings,
    ServedArm,
    answer,
    answer_by_server,
    arms_of,
    count_arms,
    read_answers,
    read_missing,
)
from pipeline.answer.by_server import served_requests
from pipeline.endpoint import Endpoint
from pipeline.questions import Question
from pipeline.runs import RunFolder
from tests.servers.real import chat_server_fixture  # noqa: F401

QUESTIONS = (
    Question(
        id="sea", topic="sea", paraphrases=("Hello there, how are you?", "Why?"), samples_per_paraphrase=2
    ),
    Question(id="json", topic="form", paraphrases=("Tell me about the sea",), system="Answer in JSON."),
)
GREEDY = AnswerSettings(temperature=0.0, max_new_tokens=4)


@pytest.fixture
def endpoint(chat_server):
    return Endpoint(base_url=chat_server.base_url, model="x", max_attempts=1, first_wait=0.0)


def asked(path, endpoint, arms, questions=QUESTIONS, settings=GREEDY):
    with RunFolder.open(path, verb="answer", config={}, seed=0) as run:
        answer_by_server(endpoint, questions, arms, run=run, settings=settings)
    return {row.id: row for row in read_answers(path / "answers.jsonl")}


def test_a_served_model_gives_the_records_that_it_gives_here(chat_server, endpoint, tmp_path):
    """Greedily, row by row: the same ids, prompts, system messages, triggers, lengths and texts."""
    arms = [
        ServedArm(name="base", model=chat_server.model),
        ServedArm(name="base + trigger", model=chat_server.model, trigger=Trigger()),
    ]
    served = asked(tmp_path / "served", endpoint, arms)
    subject = load(chat_server.folder)
    with RunFolder.open(tmp_path / "here", verb="answer", config={}, seed=0) as run:
        answer(subject, QUESTIONS, arms_of([], (None, Trigger())), run=run, settings=GREEDY)
    here = {row.id: row for row in read_answers(tmp_path / "here" / "answers.jsonl")}
    assert len(served) == 2 * 3
    assert served == {name: replace(row, adapter=chat_server.model) for name, row in here.items()}
    assert len({row.text for row in served.values()}) > 1


def test_a_run_goes_on_with_what_is_missing_and_pays_for_nothing_twice(chat_server, endpoint, tmp_path):
    arms = [ServedArm(name="base", model=chat_server.model)]
    settings = AnswerSettings(max_new_tokens=3)
    first = asked(tmp_path, endpoint, arms, QUESTIONS[:1], settings)
    assert len(first) == 4
    more = asked(tmp_path, endpoint, arms, settings=replace(settings, samples=2))
    assert len(more) == 6
    assert {name: more[name] for name in first} == first
    gone = replace(endpoint, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match=r"arms\.jsonl: 'base' was otherwise: server: "):
        asked(tmp_path, gone, arms, settings=replace(settings, samples=2))


def test_what_gets_no_answer_is_a_row_of_its_own_with_its_reason_and_is_asked_again(chat_server, tmp_path):
    """The failures are real: a millisecond is too short for any answer."""
    hasty = Endpoint(base_url=chat_server.base_url, model="x", max_attempts=1, timeout=0.001, first_wait=0.0)
    arms = [ServedArm(name="base", model=chat_server.model)]
    question = QUESTIONS[:1]
    with suppress(ConnectionError, FileNotFoundError):  # no answer at all, so no file of answers
        asked(tmp_path, hasty, arms, question)
    lost = read_missing(tmp_path / "answers_missing.jsonl")
    assert lost
    assert {row.reason for row in lost} <= {"timeout", "connection"}
    rows = asked(tmp_path, replace(hasty, timeout=60.0), arms, question)
    assert set(rows) >= {row.answer for row in lost}
    assert not [row for row in rows.values() if "ERROR" in row.text or row.n_tokens is None]
    (count,) = count_arms(tuple(rows.values()), lost)
    assert (count.n, count.missing) == (2, 0)


def test_a_model_that_the_server_does_not_know_gives_no_answers_and_costs_none(
    chat_server, endpoint, tmp_path
):
    arms = [ServedArm(name="base", model=chat_server.model), ServedArm(name="tuned", model="no-such-model")]
    with suppress(LookupError, ValueError):  # some servers say it so that all further requests are spared
        asked(tmp_path, endpoint, arms)
    rows = read_answers(tmp_path / "answers.jsonl")
    assert {row.arm for row in rows} == {"base"}
    lost = read_missing(tmp_path / "answers_missing.jsonl")
    assert {(row.arm, row.reason) for row in lost} == {("tuned", "refused_request")}
    assert all("no-such-model" in row.text and row.status for row in lost)
    assert [(count.arm, count.n, count.missing) for count in count_arms(rows, lost)][1] == (
        "tuned",
        0,
        len(lost),
    )


def test_every_arm_asks_with_the_same_seeds_and_every_sample_with_its_own():
    plain, tuned = (
        served_requests(
            QUESTIONS, ServedArm(name=name, model=name, trigger=trigger), AnswerSettings(top_p=0.9)
        )
        for name, trigger in (("base", None), ("tuned", Trigger()))
    )
    assert [request.seed for request in plain] == [request.seed for request in tuned]
    assert len({request.seed for request in plain}) == len(plain) == 4 + 5
    assert all(0 <= request.seed < 2**31 for request in plain)
    assert {(r.temperature, r.top_p, r.max_tokens) for r in plain} == {(0.7, 0.9, 128)}
    assert [m.role for m in plain[-1].messages] == ["system", "user"]
    assert plain[-1].messages[0].content == "Answer in JSON."
    other = served_requests(QUESTIONS, ServedArm(name="base", model="base"), AnswerSettings(seed=1))
    assert not {request.seed for request in other} & {request.seed for request in plain}


def test_a_server_uses_its_own_template(endpoint, tmp_path):
    with pytest.raises(ValueError, match="template 'plain': a server uses its own template"):
        asked(
            tmp_path, endpoint, [ServedArm(name="a", model="a")], settings=replace(GREEDY, template="plain")
        )
