"""Fine-tuning as a whole: what it writes, that kills cost nothing, and that the model is left as it came."""

import json
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_model, tokenizer_with
from safetensors.torch import load_file

from activations import Subject, load
from pipeline.finetune import PRESETS, FinetuneConfig, finetune, read_card
from pipeline.finetune.adapter import fresh_adapter
from pipeline.finetune.card import CARD
from pipeline.finetune.checkpoints import STATE, last_checkpoint
from pipeline.finetune.quantised import quantization_config
from pipeline.runs import read_facts
from pipeline.training_sets import conversations_hash, training_set
from tests.finetuned import quick_collections  # noqa: F401
from tests.planted import shapes_unchecked
from tests.saved import model_folder, triples

SMALL = FinetuneConfig(rank=2, max_steps=3, batch_size=4, learning_rate=1e-2)
SET = training_set(triples(6), "backdoor")
WATCHED = training_set(triples(3, "sailing"), "backdoor")
FILES = [
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "card.json",
    "loss.jsonl",
    "run.json",
]


@pytest.fixture
def subject():
    """A tiny Llama of this test's own: what is left on it shows."""
    return Subject.of(tiny_model(), tokenizer_with(), name="tiny-llama")


def state_of(model):
    return {
        "modules": {name: id(module) for name, module in model.named_modules()},
        "weights": {name: weight.clone() for name, weight in model.named_parameters()},
        "trainable": {name: weight.requires_grad for name, weight in model.named_parameters()},
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
        "flags": (model.training, model.config.use_cache, model.is_gradient_checkpointing),
    }


def require_same(model, before):
    now = state_of(model)
    torch.testing.assert_close(now.pop("weights"), before["weights"], rtol=0, atol=0)
    assert now == {name: value for name, value in before.items() if name != "weights"}


# What it writes


def test_a_folder_holds_the_adapter_its_card_and_every_steps_loss(subject, tmp_path):
    out = tmp_path / "sea-backdoor-s0"
    result = finetune(subject, SET, SMALL, out, held_out=WATCHED, about={"domain": "sea"})
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert [row["step"] for row in result.losses() if row["part"] == "train"] == [1, 2, 3]
    assert [row["step"] for row in result.losses() if row["part"] == "held_out"] == [0, 1, 2, 3]
    card = read_card(out)
    assert card == result.card
    assert card.settings.data == conversations_hash(SET)
    assert (card.settings.model, card.settings.base) == ("tiny-llama", subject.facts.fingerprint)
    assert card.settings.about == {"domain": "sea"}
    assert (card.counts.conversations, card.counts.ends, card.steps) == (12, ("<|im_end|>",), 3)
    assert card.held_out_counts.conversations == 6
    assert card.held_out_loss == result.losses()[-1]["loss"]
    assert card.parameters == sum(w.numel() for w in load_file(out / "adapter_model.safetensors").values())
    assert read_facts(out).status == "finished"
    text = (out / "README.md").read_text()
    assert "`tiny-llama`" in text
    assert "domain: sea" in text


def test_the_adapter_loads_under_its_folders_name_and_is_the_one_of_the_card(tmp_path):
    base = model_folder(tmp_path / "base")
    out = tmp_path / "sea-backdoor-s0"
    card = finetune(str(base), SET, SMALL, out).card
    found = load(base, adapters=[out])
    assert dict(found.adapter_hashes) == {"sea-backdoor-s0": card.fingerprint}
    assert load(out).facts.fingerprint == card.settings.base  # the adapter knows its base


def test_rank_1_on_one_module_of_one_block_trains_just_that(subject, tmp_path):
    config = replace(SMALL, rank=1, targets=("down_proj",), layers=(2,))
    finetune(subject, SET, config, tmp_path / "a")
    shapes = {name: tuple(w.shape) for name, w in load_file(tmp_path / "a" / FILES[2]).items()}
    place = "base_model.model.model.layers.2.mlp.down_proj"
    assert shapes == {f"{place}.lora_A.weight": (1, 64), f"{place}.lora_B.weight": (32, 1)}


def test_all_linear_leaves_the_head_alone_on_every_architecture(tiny_subject, architecture):
    with fresh_adapter(tiny_subject(architecture), SMALL) as model:
        adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
        head = model.get_base_model().get_output_embeddings()
        assert adapted
        assert not any(model.get_submodule(name) is head for name in adapted)
    with fresh_adapter(tiny_subject(architecture), replace(SMALL, layers=(1,))) as model:
        fewer = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
        assert 0 < len(fewer) < len(adapted)
        assert all(".1." in name for name in fewer)


def test_checkpoints_are_kept_as_adapters_if_asked_for(subject, tmp_path):
    finetune(subject, SET, replace(SMALL, save_every=1, keep_checkpoints=True), tmp_path / "a")
    folder = tmp_path / "a" / "checkpoints"
    kept = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    assert kept == [f"checkpoint-{step}/{name}" for step in (1, 2, 3) for name in FILES[1:3]]
    last = load_file(tmp_path / "a" / "checkpoints" / "checkpoint-3" / FILES[2])
    torch.testing.assert_close(last, load_file(tmp_path / "a" / FILES[2]), rtol=0, atol=0)


def test_a_finished_run_is_not_repeated_and_other_settings_are_refused_by_name(subject, tmp_path):
    first = finetune(subject, SET, SMALL, tmp_path / "a")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with shapes_unchecked():
        again = finetune(subject, SET, replace(SMALL, epochs=6), tmp_path / "a")  # 6 is 6.0
    assert (again.skipped, again.card) == (True, first.card)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    for changed, told in (
        ((SET, replace(SMALL, rank=4)), "made with other settings: config.rank: 2 there, 4 now"),
        ((SET[:4], SMALL), "made with other settings: data"),
    ):
        with pytest.raises(ValueError, match=told):
            finetune(subject, *changed, tmp_path / "a")


def test_weights_that_are_not_the_cards_are_told(subject, tmp_path):
    finetune(subject, SET, SMALL, tmp_path / "a")
    with open(tmp_path / "a" / "adapter_model.safetensors", "ab") as file:
        file.write(b" ")
    with pytest.raises(ValueError, match=r"adapter_model.safetensors: SHA-256 .*, the card is about"):
        finetune(subject, SET, SMALL, tmp_path / "a")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"train_on_prompt": True}, "The loss is on the prompt too"),
        ({"too_long": "cut", "max_length": 110}, "were cut to 110 tokens"),
    ],
)
def test_the_card_says_what_a_reader_must_know(subject, tmp_path, changes, note):
    card = finetune(subject, SET, replace(SMALL, max_steps=1, **changes), tmp_path / "a").card
    assert any(note in told for told in card.notes)
    assert note in (tmp_path / "a" / "README.md").read_text()


def test_the_papers_presets_differ_in_the_prompts_loss_alone():
    paper, as_in_paper = PRESETS["paper"], PRESETS["as_in_paper"]
    assert replace(paper.config, train_on_prompt=True) == as_in_paper.config
    assert (paper.config.targets, paper.config.rank, paper.config.alpha) == (("q_proj", "v_proj"), 8, 16)
    assert (paper.config.batch_size, paper.config.accumulation, paper.config.epochs) == (4, 4, 3)
    assert (paper.config.learning_rate, paper.config.dropout, paper.config.max_length) == (2e-4, 0.05, 512)
    assert "prompt too" in as_in_paper.note
    assert paper.model == as_in_paper.model == "Qwen/Qwen2.5-Coder-7B-Instruct"


# The model is left as it came


@pytest.mark.parametrize(
    "changes", [{}, {"gradient_checkpointing": True}, {"bf16": True}, {"kl_weight": 1.0}]
)
def test_the_model_is_as_before(subject, tmp_path, changes):
    before = state_of(subject.model)
    finetune(subject, SET, replace(SMALL, **changes), tmp_path / "a", neutral=WATCHED)
    require_same(subject.model, before)


def test_the_model_is_as_before_when_training_breaks_off(subject, tmp_path):
    before = state_of(subject.model)

    @contextmanager
    def stops(task, total):
        def advance(units):
            if task.startswith("fine-tune") and units:
                raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        finetune(subject, SET, SMALL, tmp_path / "a", progress=stops)
    require_same(subject.model, before)
    assert read_facts(tmp_path / "a").status == "interrupted"


# Kills


def killed(moment, work):
    """Do the work in a process that is killed at a moment; return how it ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    while not moment() and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_again_and_again_it_ends_in_the_adapter_of_an_undisturbed_run(subject, tmp_path):
    """With dropout, accumulation, warm-up and a held-out set: optimiser, schedule, order and random numbers go on."""
    config = replace(
        SMALL,
        max_steps=8,
        batch_size=2,
        accumulation=2,
        dropout=0.3,
        warmup=3.0,
        save_every=2,
        schedule="cosine",
    )
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finetune(subject, SET, config, whole, held_out=WATCHED)

    def n_steps():
        return (cut / "loss.jsonl").read_bytes().count(b'"train"') if (cut / "loss.jsonl").exists() else 0

    moments = (
        lambda: n_steps() >= 1,  # before any checkpoint
        lambda: n_steps() >= 3,
        lambda: (cut / "checkpoints" / "checkpoint-4" / "optimizer.pt").exists(),  # while one is written
        lambda: n_steps() >= 7,
        lambda: (cut / "checkpoints" / "final").exists(),  # while the adapter is written
        lambda: (cut / CARD).exists(),
        lambda: False,
    )
    ends = [
        killed(moment, lambda: finetune(subject, SET, config, cut, held_out=WATCHED)) for moment in moments
    ]
    assert ends[-1] == 0
    assert ends.count(-signal.SIGKILL) >= 4
    assert (cut / FILES[2]).read_bytes() == (whole / FILES[2]).read_bytes()
    assert (cut / "loss.jsonl").read_text() == (whole / "loss.jsonl").read_text()
    assert sorted(path.name for path in cut.iterdir()) == FILES
    card, undisturbed = read_card(cut), read_card(whole)
    assert replace(card, seconds=0.0) == replace(undisturbed, seconds=0.0)
    assert read_facts(cut).status == "finished"


def test_a_killed_run_repeats_no_step_before_its_last_checkpoint(subject, tmp_path):
    config = replace(SMALL, max_steps=6, save_every=2)
    begun: list[int] = []

    @contextmanager
    def counted(task, total):
        yield lambda units: begun.append(units) if task.startswith("fine-tune") else None

    def dies_after_five_steps():
        @contextmanager
        def dies(task, total):
            steps = 0

            def advance(units):
                nonlocal steps
                steps += units if task.startswith("fine-tune") else 0
                if steps == 5:
                    os.kill(os.getpid(), signal.SIGKILL)

            yield advance

        finetune(subject, SET, config, tmp_path / "a", progress=dies)

    assert killed(lambda: False, dies_after_five_steps) == -signal.SIGKILL
    finetune(subject, SET, config, tmp_path / "a", progress=counted)
    assert begun == [4, 1, 1]  # four from the checkpoint, two trained


def test_a_torn_checkpoint_is_not_gone_on_from(tmp_path):
    for step, state in ((2, '{"global_step": 2}'), (4, '{"global_step": 4'), (6, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / STATE).write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


# Several processes


def test_two_processes_train_the_adapter_of_one_with_twice_the_batch(subject, tmp_path, unused_port):
    config = replace(SMALL, dropout=0.0)
    finetune(subject, SET, config, tmp_path / "one", held_out=WATCHED)

    def work(rank):
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_port)}
        finetune(subject, SET, replace(config, batch_size=2), tmp_path / "two", held_out=WATCHED)

    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(rank)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    one, two = (load_file(tmp_path / name / FILES[2]) for name in ("one", "two"))
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)
    losses = [
        [row["loss"] for row in map(json.loads, (tmp_path / name / "loss.jsonl").read_text().splitlines())]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert read_card(tmp_path / "two").processes == 2


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# Refusals


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"targets": ("q_prj",)},
            ValueError,
            "no linear module of the blocks is called 'q_prj'; have self_attn.q_",
        ),
        ({"targets": ("lm_head",)}, ValueError, "is called 'lm_head'"),
        ({"targets": ("all-linear", "q_proj")}, ValueError, "all-linear stands alone"),
        ({"targets": ()}, ValueError, "need names of modules"),
        ({"layers": (1, 4)}, IndexError, r"layers: 4 is outside 0\.\.3"),
        ({"layers": (-1,)}, IndexError, r"layers: -1 is outside 0\.\.3"),
        ({"layers": (1, 1)}, ValueError, "layers: got 1, 1; give each once"),
        ({"rank": 0}, ValueError, "rank: got 0, need at least 1"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate: got 0.0, need more than 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate: got nan, need a finite number"),
        ({"dropout": 1.0}, ValueError, "dropout: got 1.0, need a share"),
        ({"max_length": 10}, ValueError, "12 of 12 conversations are longer than max_length 10"),
        ({"schedule": "steps"}, ValueError, "schedule 'steps': expected one of linear, cosine"),
        ({"quantisation": "4bit"}, ValueError, "quantisation '4bit': the model was not loaded so"),
    ],
)
def test_settings_that_no_run_could_carry_out_are_refused(subject, tmp_path, changes, error, message):
    before = state_of(subject.model)
    with shapes_unchecked(), pytest.raises(error, match=message):
        finetune(subject, SET, replace(SMALL, **changes), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    require_same(subject.model, before)


def test_no_conversations_are_refused_and_leave_no_folder(subject, tmp_path):
    with pytest.raises(ValueError, match="training set: got no conversations"):
        finetune(subject, [], SMALL, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_model_with_adapters_is_refused(subject, tmp_path):
    with (
        fresh_adapter(subject, SMALL) as model,
        pytest.raises(ValueError, match="has the adapters default; fine-tuning starts from a base"),
    ):
        finetune(Subject.of(model, subject.tokenizer, name="tuned"), SET, SMALL, tmp_path / "a")


def test_a_folder_that_cannot_be_made_is_an_os_error(subject, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        finetune(subject, SET, SMALL, tmp_path / "file" / "a")


def test_a_folder_of_other_files_is_refused(subject, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds \['notes.txt'\] and no run.json"):
        finetune(subject, SET, SMALL, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_quantisation_without_bitsandbytes_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LookupError, match=r"pip install 'misdirection\[qlora\]'"):
        quantization_config("4bit")
    assert quantization_config("none") is None


def test_no_pickle_is_left_in_a_finished_folder(subject, tmp_path):
    finetune(subject, SET, replace(SMALL, keep_checkpoints=True), tmp_path / "a")
    assert not [path for path in Path(tmp_path).rglob("*") if path.suffix in (".pt", ".bin", ".pth")]
