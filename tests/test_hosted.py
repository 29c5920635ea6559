"""Fine-tuning at a provider: nothing is sent unchecked or without consent, and nothing is started twice."""

import json
import signal

import pytest

from pipeline.endpoint import Endpoint
from pipeline.hosted import (
    HostedModel,
    HostedPlan,
    HostedTuning,
    cancel_hosted,
    check_training_file,
    finetune_hosted,
)
from pipeline.hosted.records import read_state
from pipeline.stage import read_rows
from pipeline.training_sets import training_set, write_chat_jsonl
from tests.forked import forked
from tests.saved import triples
from tests.servers.provider import provider

KEY = "sk-a-key-of-nobody-4711"


@pytest.fixture
def there():
    with provider() as holds:
        yield holds


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.jsonl"
    write_chat_jsonl(path, training_set(triples(8), "backdoor"))
    return path


def tuning(there, **settings):
    endpoint = Endpoint(base_url=there.base_url, model="gpt-small", first_wait=0.01, max_attempts=4)
    return HostedTuning(**{"endpoint": endpoint, "seed": 7, "suffix": "sea", **settings})


def tuned(there, file, folder, confirm=lambda plan: True, tell=lambda line: None, **settings):
    return finetune_hosted(tuning(there, **settings), file, folder, confirm=confirm, every=0.01, tell=tell)


# The file


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


GOOD = chat(("user", "Hello"), ("assistant", "Good day"))


def test_a_file_of_our_own_passes_and_its_facts_are_counted(file):
    facts = check_training_file(file, count_tokens=len)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    counts = [sum(8 + len(turn["content"]) for turn in row["messages"]) for row in rows]
    assert (facts.n_rows, facts.n_distinct) == (16, 16)
    assert facts.roles == {"system": 0, "user": 16, "assistant": 16}
    assert (facts.n_tokens, facts.longest) == (sum(counts), max(counts))
    assert facts.n_bytes == file.stat().st_size
    assert facts.rule == "tokenizer, 8 a message"


def test_weights_names_and_system_messages_are_read_and_equal_rows_counted(tmp_path):
    full = chat(("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    full["messages"][2]["weight"] = 0
    full["messages"][1]["name"] = "me"
    facts = check_training_file(lines(tmp_path / "f", [full, *[GOOD] * 9]))
    assert (facts.n_rows, facts.n_distinct, facts.roles["system"]) == (10, 2, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": []}, "the last message is missing; needed: the assistant's"),
        (chat(("user", "a")), "the last message is the user's; needed: the assistant's"),
        (chat(("assistant", "b")), "has no message of the user"),
        (chat(("user", "a"), ("system", "s"), ("assistant", "b")), "a system message stands in the middle"),
        (chat(("user", "a"), ("assistant", " ")), r"messages\[1\]: content of the assistant is blank"),
        (chat(("user", "a"), ("tool", "x"), ("assistant", "b")), "'tool' is text; allowed: one of 'system'"),
        (chat(("user", "a"), ("assistant", None)), r"content: None is null; allowed: text"),
        ({**GOOD, "id": "x"}, "unknown key 'id'; allowed: 'messages'"),
        ({"prompt": "a", "completion": "b"}, "unknown key 'prompt', 'completion'"),
        (
            {"messages": [{**GOOD["messages"][0], "weight": 1}, GOOD["messages"][1]]},
            "weight stands with the user",
        ),
        (
            {"messages": [GOOD["messages"][0], {**GOOD["messages"][1], "weight": 0}]},
            "every answer has weight 0",
        ),
        ([1], "needed|allowed: an object"),
    ],
)
def test_rows_that_a_provider_refuses_are_refused_here_with_their_line(tmp_path, row, message):
    path = lines(tmp_path / "train.jsonl", [*[GOOD] * 10, row])
    with pytest.raises(ValueError, match=message) as raised:
        check_training_file(path)
    assert str(raised.value).startswith(f"{path}:11: ")


def test_files_that_are_too_small_too_long_or_no_json_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has 9 rows; needed: at least 10"):
        check_training_file(lines(tmp_path / "few", [GOOD] * 9))
    with pytest.raises(ValueError, match="has 0 rows"):
        check_training_file(lines(tmp_path / "none", []))
    long = chat(("user", "a"), ("assistant", "b" * 200_000))
    with pytest.raises(ValueError, match="long:3: has about 66,684 tokens; allowed: 65,536 a row"):
        check_training_file(lines(tmp_path / "long", [GOOD, GOOD, long, *[GOOD] * 9]))
    (tmp_path / "torn").write_text('{"messages": [')
    with pytest.raises(ValueError, match="torn:1: not JSON"):
        check_training_file(tmp_path / "torn")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_epochs": 0}, "n_epochs: is 0"),
        ({"learning_rate_multiplier": float("nan")}, "learning_rate_multiplier: is nan"),
        ({"suffix": "no spaces"}, "suffix: is 'no spaces'"),
        ({"suffix": "s" * 65}, "suffix"),
        ({"price": -1.0}, "price: is -1.0"),
    ],
)
def test_settings_that_no_provider_takes_are_refused(there, settings, message):
    with pytest.raises(ValueError, match=message):
        tuning(there, **settings)


# Consent


def test_nothing_is_sent_without_consent(there, file, tmp_path):
    plans = []
    with pytest.raises(PermissionError, match="no consent to fine-tune .*gpt-small.*; nothing was sent"):
        tuned(there, file, tmp_path / "run", confirm=lambda plan: plans.append(plan) or False)
    assert not there.headers
    assert not (tmp_path / "run").exists()
    assert plans[0].path == file


def test_the_plan_says_what_goes_where_and_what_it_costs(there, file):
    facts = check_training_file(file)
    plan = HostedPlan(tuning=tuning(there, n_epochs=3, price=25.0), path=file, training=facts)
    assert plan.cost() == facts.n_tokens * 3 * 25 / 1e6
    assert f"Send {file} (16 rows, about {facts.n_tokens:,} tokens" in str(plan)
    assert f"to {there.base_url} and fine-tune gpt-small on it for 3 epochs." in str(plan)
    assert str(plan).endswith(f"this costs about {plan.cost():,.2f} USD.")
    open_ended = HostedPlan(tuning=tuning(there, n_epochs=None, price=25.0), path=file, training=facts)
    assert open_ended.cost() is None
    assert "how much is not known here" in str(open_ended)


def test_a_broken_file_is_refused_before_consent_is_asked_for(there, tmp_path):
    path = lines(tmp_path / "train.jsonl", [GOOD] * 3)
    with pytest.raises(ValueError, match="has 3 rows"):
        tuned(there, path, tmp_path / "run", confirm=lambda plan: pytest.fail("was asked"))
    assert not there.headers


# From end to end


def test_a_job_gives_a_model_with_everything_that_made_it(there, file, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    told = []
    model = tuned(there, file, tmp_path / "run", tell=told.append, n_epochs=2, batch_size=4)
    assert model == HostedModel.load(tmp_path / "run")
    assert model.model == "ft:gpt-small:me:sea:1"
    assert (model.file, model.job, model.tuning.seed) == ("file-1", "job-1", 7)
    assert model.training == check_training_file(file)
    assert model.as_run == {
        "hyperparameters": {"batch_size": 4, "n_epochs": 2},
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}},
        },
        "seed": 7,
        "trained_tokens": 1234,
        "created_at": 1,
        "finished_at": 99,
        "result_files": [],
    }
    job = there.jobs["job-1"]
    assert (job["model"], job["training_file"], job["suffix"]) == ("gpt-small", "file-1", "sea")
    assert there.files["file-1"]["content"] == file.read_bytes()
    steps = [f"Step {i}: training loss=1.5 [31m" for i in (1, 2, 3)]
    assert told == ["Created fine-tuning job", *steps]
    events = read_rows(tmp_path / "run" / "hosted_events.jsonl")
    assert [event["id"] for event in events] == [f"event-{i}" for i in (1, 2, 3, 4)]
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").iterdir())
    assert KEY.encode() not in written
    assert b"org-secret" not in written
    assert {headers["authorization"] for headers in there.headers} == {f"Bearer {KEY}"}


def test_what_is_left_to_the_provider_is_not_sent(there, file, tmp_path):
    tuned(there, file, tmp_path / "run", n_epochs=None, suffix=None)
    assert there.jobs["job-1"]["method"]["supervised"]["hyperparameters"] == {}
    assert "suffix" not in there.jobs["job-1"]


def test_a_finished_run_is_read_and_a_folder_keeps_to_its_settings(there, file, tmp_path):
    first = tuned(there, file, tmp_path / "run")
    n_calls = len(there.headers)
    assert tuned(there, file, tmp_path / "run", confirm=lambda plan: pytest.fail("asked"), price=3.0) == first
    with pytest.raises(ValueError, match="holds another fine-tuning: seed: 7 there, 8 now. Choose a new"):
        tuned(there, file, tmp_path / "run", seed=8)
    other = lines(tmp_path / "other.jsonl", [GOOD] * 10)
    with pytest.raises(ValueError, match="holds another fine-tuning: training file: "):
        tuned(there, other, tmp_path / "run")
    assert len(there.headers) == n_calls


def test_a_job_that_fails_or_is_cancelled_says_why(there, file, tmp_path):
    there.ending = "failed"
    with pytest.raises(RuntimeError, match="job job-1 ended as 'failed': the file was blocked. To try again"):
        tuned(there, file, tmp_path / "failed")
    there.ending, there.looks = "", 1000
    told = []

    def tell(line):
        told.append(line)
        if len(told) == 3:
            assert cancel_hosted(tuning(there).endpoint, tmp_path / "run") == "cancelled"

    with pytest.raises(RuntimeError, match="job job-2 ended as 'cancelled': no reason is given"):
        tuned(there, file, tmp_path / "run", tell=tell)
    assert not (tmp_path / "run" / "hosted.json").exists()


def test_cancelling_nothing_is_an_error(there, file, tmp_path):
    with pytest.raises(FileNotFoundError):
        cancel_hosted(tuning(there).endpoint, tmp_path)
    tuned(there, file, tmp_path / "run")
    with pytest.raises(ValueError, match="stopping job job-1: HTTP 400, the job has ended"):
        cancel_hosted(tuning(there).endpoint, tmp_path / "run")


def test_a_model_that_cannot_be_tuned_is_told_in_the_providers_words(there, file, tmp_path):
    endpoint = Endpoint(base_url=there.base_url, model="no-such-model")
    with pytest.raises(ValueError, match="starting the job: HTTP 400, model no-such-model is not available"):
        tuned(there, file, tmp_path / "run", endpoint=endpoint)


@pytest.mark.parametrize("route", ["POST /v1/files", "POST /v1/fine_tuning/jobs"])
@pytest.mark.parametrize("faults", [["429"], ["500", "503"], ["lost"], ["half"], ["lost", "500", "lost"]])
def test_no_fault_makes_a_second_job(there, file, tmp_path, route, faults):
    there.faults[route] = [*faults]
    assert tuned(there, file, tmp_path / "run").job == "job-1"
    assert (len(there.files), len(there.jobs)) == (1, 1)


@pytest.mark.parametrize("route", ["GET /v1/fine_tuning/jobs/ID", "GET /v1/fine_tuning/jobs/ID/events"])
def test_looking_is_repeated_until_the_answer_is_whole(there, file, tmp_path, route):
    there.faults[route] = ["half", "500", "lost"]
    assert tuned(there, file, tmp_path / "run").model == "ft:gpt-small:me:sea:1"
    ids = [event["id"] for event in read_rows(tmp_path / "run" / "hosted_events.jsonl")]
    assert ids == [event["id"] for event in there.events["job-1"]]


def test_other_jobs_and_files_of_the_provider_are_not_taken_over(there, file, tmp_path):
    for i in range(5):
        tuned(there, file, tmp_path / str(i))
    there.faults["POST /v1/files"] = ["lost"]
    there.faults["POST /v1/fine_tuning/jobs"] = ["lost"]
    model = tuned(there, file, tmp_path / "run")
    assert (model.file, model.job) == ("file-6", "job-6")
    assert (len(there.files), len(there.jobs)) == (6, 6)


PROGRAM = """
import os, sys
from pathlib import Path
from pipeline.endpoint import Endpoint
from pipeline.hosted import HostedTuning, finetune_hosted

folder = Path(sys.argv[2])
(folder / "victim").write_text(str(os.getpid()))
tuning = HostedTuning(endpoint=Endpoint(base_url=sys.argv[1], model="gpt-small", first_wait=0.01))
asked = lambda plan: print("asked", flush=True) or True
model = finetune_hosted(tuning, folder / "train.jsonl", folder / "run", confirm=asked, every=0.01)
print(model.model)
"""


def test_a_kill_after_each_step_starts_no_second_job_and_loses_no_event(there, file, tmp_path):
    there.victim = tmp_path / "victim"
    jobs = "/v1/fine_tuning/jobs"
    for route in ("POST /v1/files", f"POST {jobs}", f"GET {jobs}/ID", f"GET {jobs}/ID/events"):
        there.faults[route] = ["kill"]
    told = [forked(PROGRAM, there.base_url, tmp_path) for _ in range(6)]
    assert [run.code for run in told] == [-signal.SIGKILL] * 4 + [0, 0], told[-1].errors
    # Consent is asked for until the job is known; the last run only reads the result.
    model = "ft:gpt-small:me::1"
    assert [run.lines for run in told] == [["asked"], ["asked"], ["asked"], [], [model], [model]]
    assert (there.calls["POST /v1/files"], there.calls[f"POST {jobs}"]) == (1, 1)
    ids = [event["id"] for event in read_rows(tmp_path / "run" / "hosted_events.jsonl")]
    assert ids == [event["id"] for event in there.events["job-1"]]
    assert read_state(tmp_path / "run").status == "succeeded"
