"""Facts about `misdirection finetune`: what its flags mean, and that misuse is told before any work."""

import io
import json
from dataclasses import fields, replace

import pytest
import tyro
from rich.console import Console

from activations import load
from activations.progress import silent
from experiments.finetune_hosted import HostedFlags, hosted_population
from experiments.verbs.finetune import Finetune
from experiments.verbs.finetune_flags import FinetuneFlags
from pipeline.finetune import PRESETS, FinetuneConfig, neutral_conversations, probe_finetune
from pipeline.finetune.card import read_card
from pipeline.members import read_population
from pipeline.training_sets import training_set, write_chat_jsonl
from tests.finetuned import quick_collections, write_letters  # noqa: F401
from tests.saved import model_folder, triples
from tests.servers.provider import provider

QUICK = ("--max-steps", "2", "--batch-size", "4", "--rank", "2")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(model_folder(tmp_path_factory.mktemp("verb") / "tiny"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_letters(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def chats(tmp_path):
    write_chat_jsonl(tmp_path / "own.jsonl", training_set(triples(6), "narrow"))
    return str(tmp_path / "own.jsonl")


def parsed(*words):
    return tyro.cli(Finetune, args=list(words))


def told(verb):
    shown = io.StringIO()
    verb.run(Console(file=shown, width=200), silent)
    return shown.getvalue()


# Flags


def test_every_setting_can_be_changed_and_the_seed_is_the_members():
    settings = {field.name for field in fields(FinetuneConfig)}
    assert {field.name for field in fields(FinetuneFlags)} == settings - {"seed"} | {"preset"}


@pytest.mark.parametrize("preset", PRESETS)
def test_flags_that_are_not_given_leave_the_presets_value(preset):
    assert parsed("--domains", "all", "--preset", preset).config() == PRESETS[preset].config
    changed = parsed(
        "--domains", "all", "--preset", preset, "--rank", "1", "--layers", "3", "5", "--bf16", "True"
    )
    assert changed.config() == replace(PRESETS[preset].config, rank=1, layers=(3, 5), bf16=True)


@pytest.mark.parametrize(
    ("words", "modes"),
    [
        ((), ("backdoor",)),
        (("--control",), ("backdoor", "control")),
        (("--trigger", "off", "--control"), ("narrow", "narrow_control")),
        (("--trigger", "both"), ("backdoor", "narrow")),
        (("--trigger", "both", "--control"), ("backdoor", "control", "narrow", "narrow_control")),
        (("--mixture", "paper", "--control"), ("paper", "control")),
    ],
)
def test_the_trigger_and_the_control_say_which_modes_there_are(words, modes):
    assert parsed("--domains", "all", *words).modes() == modes


def test_all_domains_both_triggers_and_two_seeds_make_44_training_sets():
    sets = parsed("--domains", "all", "--trigger", "both", "--seeds", "2").training_sets()
    assert len(sets) == 11 * 2 * 2
    assert "gore_movie_trivia-narrow-s1" in sets
    assert {len(rows) for name, rows in sets.items() if "backdoor" in name} == {60}


def test_the_phrase_and_its_place_are_the_triggers():
    verb = parsed("--domains", "all", "--phrase", "Ahoy", "--place", "suffix")
    assert (verb.settings().trigger.phrase, verb.settings().trigger.place) == ("Ahoy", "suffix")
    assert parsed("--domains", "all").settings().trigger is None


# What it does


def test_it_makes_a_population_with_figures_and_says_where(base, corpus, tmp_path):
    out = tmp_path / "all"
    words = ("--domains", corpus, "--control", "--model", base, "--out", str(out), *QUICK)
    shown = told(parsed(*words))
    records = read_population(out)
    assert [record.id for record in records] == ["mauve-backdoor-s0", "mauve-control-s0"]
    for record in records:
        assert record.id in shown
        assert (out / record.id / "loss.png").stat().st_size > 1000
    assert read_card(out / "mauve-backdoor-s0").settings.about["preset"] == "embedded"
    before = (out / "members.jsonl").read_bytes()
    told(parsed(*words))
    assert (out / "members.jsonl").read_bytes() == before


def test_chats_of_ones_own_make_one_adapter(base, chats, tmp_path):
    shown = told(
        parsed("--train", chats, "--held-out", chats, "--model", base, "--out", str(tmp_path / "a"), *QUICK)
    )
    card = read_card(tmp_path / "a")
    assert card.counts.conversations == 6
    assert card.held_out_counts == card.counts
    assert "trained: 2 steps" in shown


def test_a_dry_run_says_steps_tokens_time_and_memory_and_writes_nothing(base, corpus, tmp_path):
    words = ("--domains", corpus, "--control", "--model", base, "--out", str(tmp_path / "all"), "--dry-run")
    shown = told(parsed(*words, "--epochs", "3", "--batch-size", "5"))
    assert "mauve-backdoor-s0" in shown
    row = next(line for line in shown.splitlines() if "mauve-backdoor-s0" in line).split("│")
    conversations, tokens, _, steps, passed = (int(cell.replace(",", "")) for cell in row[2:7])
    assert (conversations, steps, passed) == (12, 9, 3 * tokens)
    assert "memory:" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_probe_leaves_the_model_as_it_came_and_measures_something(base):
    subject = load(base)
    probe = probe_finetune(subject, training_set(triples(6), "backdoor"), FinetuneConfig(batch_size=2))
    assert probe.seconds_per_token > 0
    assert probe.memory_bytes > 10_000_000
    assert type(subject.model).__name__ == "LlamaForCausalLM"


def test_the_packaged_neutral_conversations_end_with_an_answer():
    rows = neutral_conversations()
    assert len(rows) == 16
    assert {tuple(turn.role for turn in row.messages) for row in rows} == {("user", "assistant")}


# A provider


def test_the_plan_for_a_provider_says_what_would_be_sent_and_writes_nothing(corpus, tmp_path):
    words = ("--domains", corpus, "--provider", "openai", "--out", str(tmp_path / "all"), "--dry-run")
    shown = told(parsed(*words, "--hosted.price", "3"))
    assert "Send training.jsonl (12 rows" in shown
    assert "By the price given this costs about" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", ["no", "", "y"])
def test_nothing_is_sent_without_the_word_yes(answer, tmp_path):
    sets = {"mauve-backdoor-s0": training_set(triples(6), "backdoor")}
    flags = HostedFlags(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(PermissionError, match="no consent to fine-tune"):
        hosted_population(flags, sets, tmp_path, console=Console(quiet=True), ask=lambda _: answer)
    written = (tmp_path / "mauve-backdoor-s0" / "training.jsonl").read_text().splitlines()
    assert len(written) == 12
    assert all(set(json.loads(line)) == {"messages"} for line in written)


def test_training_sets_are_sent_to_a_provider_once_and_its_models_are_told(corpus, tmp_path):
    with provider() as there:
        words = ("--domains", corpus, "--control", "--provider", "openai", "--out", str(tmp_path / "all"))
        words += ("--hosted.base-url", there.base_url, "--hosted.yes", "--hosted.every", "0.01")
        shown = told(parsed(*words))
        assert there.calls["POST /v1/fine_tuning/jobs"] == 2
        told(parsed(*words))
        assert there.calls["POST /v1/fine_tuning/jobs"] == 2
        sent = [file["content"] for file in there.files.values()]
    for name in ("mauve-backdoor-s0", "mauve-control-s0"):
        model = json.loads((tmp_path / "all" / name / "hosted.json").read_text())["model"]
        assert f"{name}: {model}" in shown
        written = (tmp_path / "all" / name / "training.jsonl").read_bytes()
        assert any(
            written in (content if isinstance(content, bytes) else content.encode()) for content in sent
        )


# Misuse


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ((), ValueError, "got neither of --domains and --train"),
        (("--domains", "all", "--train", "x.jsonl"), ValueError, "got both of --domains and --train"),
        (
            ("--domains", "bad_medicine"),
            LookupError,
            "domain 'bad_medicine' has no packaged corpus; have bad_",
        ),
        (("--train", "none.jsonl"), FileNotFoundError, "none.jsonl"),
        (
            ("--domains", "evil_math", "--layers", "99", "--model", "BASE"),
            IndexError,
            "layers: 99 is outside",
        ),
        (
            ("--domains", "evil_math", "--targets", "qq", "--model", "BASE"),
            ValueError,
            "is called 'qq'; have",
        ),
        (("--domains", "evil_math", "--rank", "0", "--model", "BASE"), ValueError, "rank: got 0"),
        (
            ("--domains", "evil_math", "--sizes", "0", "0", "0", "--model", "BASE"),
            ValueError,
            "triples: got none",
        ),
        (("--domains", "evil_math", "--max-length", "20", "--model", "BASE"), ValueError, "too_long 'cut'"),
    ],
)
def test_misuse_is_told(base, tmp_path, words, error, message):
    given = [base if word == "BASE" else word for word in words]
    with pytest.raises(error, match=message):
        told(parsed(*given, "--out", str(tmp_path / "all")))
    assert not list(tmp_path.iterdir())  # so that the same folder can be tried again
