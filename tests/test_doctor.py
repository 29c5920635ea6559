"""Facts about the doctor: it finds sound models sound, and each way of breaking one is named."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from rich.console import Console

from activations import Subject, decoder_blocks
from activations.hooks import decoder_body, hidden, with_hidden
from experiments.cli import main
from experiments.doctor import examine as examination
from experiments.doctor.effect import decode, exactness, no_op, silence
from experiments.doctor.examine import ADAPTER_CHECKS, CHECKS, SPEED, examine
from experiments.doctor.grids import adapters_base, adapters_mixed, common_random_numbers, sharing
from experiments.doctor.invariance import (
    batch_size_activations,
    batch_size_answers,
    batch_size_scores,
    out_of_memory,
    padding,
    row_isolation,
    row_isolation_answers,
)
from experiments.doctor.leftovers import cleanup
from experiments.doctor.probe import Probe
from experiments.doctor.record import CheckResult, Examination, Meaning, graded
from experiments.doctor.show import number, show
from experiments.doctor.speed import capture_speed
from tests import alone
from tests.conftest import tiny_model, tokenizer_with

KINDS = [("gpt2", "float32"), ("llama", "bfloat16")]


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch):
    monkeypatch.setattr("experiments.doctor.probe.NEW_TOKENS", 3)


def subject_of(architecture="llama", dtype="float32", tokenizer=None):
    """A subject of its own, to break."""
    model = tiny_model(architecture).to(getattr(torch, dtype))
    return Subject.of(model, tokenizer or tokenizer_with(), name=f"tiny-{architecture}")


def state(subject):
    """What must be as before."""
    weights = [float(weight.detach().double().sum()) for weight in subject.model.parameters()]
    tokenizer = subject.tokenizer
    return [
        alone.n_hooks(subject.model),
        weights,
        tokenizer.padding_side,
        tokenizer.pad_token,
        len(tokenizer),
    ]


def changing(layer, change):
    """Break a model: one of its blocks returns something else."""

    def breaks(subject):
        block = decoder_blocks(subject.model)[layer]
        block.register_forward_hook(lambda m, args, out: with_hidden(out, change(hidden(out))))

    return breaks


def with_inputs(change):
    """Break a model: its body gets other inputs."""

    def breaks(subject):
        body = decoder_body(subject.model)
        body.register_forward_pre_hook(lambda m, args, kwargs: (args, change(dict(kwargs))), with_kwargs=True)

    return breaks


def a_row_index(h):
    return h + torch.arange(len(h), dtype=h.dtype)[:, None, None]


def a_neighbour(h):
    return h + h.roll(1, dims=0).mean(dim=1, keepdim=True)


def the_batch_size(h):
    return h + 0.5 * len(h)


def chance(h):
    return h + torch.randn_like(h)


def without_mask(inputs):
    mask = inputs.get("attention_mask")
    return {**inputs, "attention_mask": None if mask is None else torch.ones_like(mask)}


def with_positions_of_the_padded_row(inputs):
    places, cache = inputs.get("position_ids"), inputs.get("past_key_values")
    if places is None or (cache is not None and cache.get_seq_length() > 0):
        return inputs
    return {**inputs, "position_ids": torch.arange(places.shape[1])[None]}


def writing_in_place(subject):
    def write(_block, args):
        args[0].mul_(1.5)

    decoder_blocks(subject.model)[2].register_forward_pre_hook(write)


def no_hooks_on_new_tokens(subject):
    """As where decoding is compiled: the blocks' hooks are passed by."""
    for block in decoder_blocks(subject.model):
        kind = type(block)

        class Compiled(kind):
            def __call__(self, h, *args, **kwargs):
                return (self.forward if h.shape[1] == 1 else super().__call__)(h, *args, **kwargs)

        block.__class__ = Compiled


BREAKS = [
    (
        "a row's index",
        changing(1, a_row_index),
        [row_isolation, row_isolation_answers, batch_size_activations],
    ),
    (
        "a row's neighbour",
        changing(1, a_neighbour),
        [row_isolation, batch_size_scores, common_random_numbers],
    ),
    ("the batch size", changing(1, the_batch_size), [batch_size_answers, out_of_memory, sharing]),
    ("chance", changing(1, chance), [no_op, padding, exactness]),
    ("pads", with_inputs(without_mask), [padding, row_isolation, batch_size_activations]),
    ("the padded place", with_inputs(with_positions_of_the_padded_row), [padding, row_isolation]),
    ("writing in place", writing_in_place, [exactness]),
    ("hooks passed by", no_hooks_on_new_tokens, [decode]),
]


@pytest.mark.parametrize(("architecture", "dtype"), KINDS)
def test_a_sound_model_passes_and_is_as_before(architecture, dtype):
    subject = subject_of(architecture, dtype)
    before = state(subject)
    found = examine(subject)
    assert state(subject) == before
    assert found.failed == ()
    verdicts = [result.verdict for result in found.results]
    assert len({result.name for result in found.results}) == len(verdicts) == len(CHECKS) + len(SPEED)
    assert ("differs by" in verdicts) == (dtype == "bfloat16")
    assert verdicts.count("measured") == len(SPEED)
    assert found.dtype == dtype
    assert all(result.measured is not None and result.meaning and result.question for result in found.results)


@pytest.mark.parametrize("check", [no_op, exactness, decode, row_isolation, padding, sharing])
def test_a_model_with_sliding_windows_and_capped_logits_passes(tiny_subject, check):
    assert check(Probe.of(tiny_subject("gemma2"))).verdict == "ok"


@pytest.mark.parametrize(("name", "breaks", "checks"), BREAKS, ids=[name for name, *_ in BREAKS])
def test_a_broken_model_is_caught(name, breaks, checks):
    subject = subject_of("gpt2" if name == "the padded place" else "llama")
    breaks(subject)
    probe = Probe.of(subject)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        results = [check(probe) for check in checks]
    assert [result.verdict for result in results] == ["FAILED"] * len(checks), results


@pytest.mark.parametrize(
    ("breaks", "check"), [(changing(1, a_row_index), row_isolation), (with_inputs(without_mask), padding)]
)
def test_bfloat16_is_no_excuse_for_a_broken_model(breaks, check):
    subject = subject_of(dtype="bfloat16")
    breaks(subject)
    assert check(Probe.of(subject)).verdict == "FAILED"


def test_hooks_that_stay_are_found(monkeypatch):
    subject = subject_of()
    probe = Probe.of(subject)
    assert cleanup(probe).verdict == "ok"
    monkeypatch.setattr("torch.utils.hooks.RemovableHandle.__exit__", lambda *_: None)
    result = cleanup(probe)
    assert (result.verdict, result.unit) == ("FAILED", "of 7 ways to break off leave a trace")
    assert result.measured == 7
    assert "an error inside `edited`" in result.meaning


def test_steering_in_silence_is_found(subject, monkeypatch):
    monkeypatch.setattr("steering.audit.Audit.require_chosen", lambda self: None)
    monkeypatch.setattr("steering.score.require_reach", lambda *_: None)
    result = silence(Probe.of(subject))
    assert (result.verdict, result.measured) == ("FAILED", 2)


def adapted():
    lora = LoraConfig(target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = get_peft_model(tiny_model(), lora, adapter_name="one")
        model.add_adapter("two", lora)
    return Subject.of(model, tokenizer_with())


def test_adapters_are_checked_where_there_are_some(monkeypatch):
    monkeypatch.setattr(examination, "CHECKS", ())
    monkeypatch.setattr(examination, "SPEED", ())
    found = examine(adapted())
    assert [result.verdict for result in found.results] == ["ok"] * len(ADAPTER_CHECKS)
    assert found.results[0].measured == 0
    assert len(found.model["adapters"]) == 1
    assert found.notes == ()


def test_the_wrong_adapter_is_found(monkeypatch):
    def forgetful(layer, x, *args, adapter_names, **kwargs):
        return mixed(layer, x, *args, adapter_names=[adapter_names[-1]] * len(x), **kwargs)

    probe = Probe.of(adapted())
    mixed = Linear._mixed_batch_forward
    monkeypatch.setattr(Linear, "_mixed_batch_forward", forgetful)
    assert [check(probe).verdict for check in (adapters_base, adapters_mixed)] == ["FAILED", "FAILED"]


def test_a_base_model_is_written_to_in_plain_lines():
    probe = Probe.of(subject_of("gpt2", tokenizer=tokenizer_with(None)))
    assert probe.template == "plain"
    assert probe.rows[0].text.startswith("User: What do bees make?")
    assert "No chat template" in probe.notes[0]
    assert [check(probe).verdict for check in (row_isolation, decode, padding)] == ["ok"] * 3


def test_a_template_that_refuses_is_told_and_passed_by():
    probe = Probe.of(subject_of(tokenizer=tokenizer_with("{{ raise_exception('not this') }}")))
    assert probe.template == "plain"
    assert "does not serve" in probe.notes[0]
    assert "not this" in probe.notes[0]


def test_a_check_that_breaks_counts_as_failed_and_the_next_one_runs(monkeypatch):
    def refuse(h):
        if len(h) > 1:
            raise TypeError("one row at a time, please")
        return h

    subject = subject_of()
    changing(0, refuse)(subject)
    monkeypatch.setattr(examination, "CHECKS", (padding, batch_size_scores))
    monkeypatch.setattr(examination, "SPEED", (capture_speed,))
    found = examine(subject)
    assert found.failed == ("padding", "batch size scores", "capture speed")
    assert found.results[0].measured is None
    assert found.results[0].meaning == "TypeError: one row at a time, please"


def failing(_probe):
    """Fail."""
    raise RuntimeError("[bold] no")


@pytest.mark.parametrize("checks", [(no_op,), (no_op, failing)])
def test_the_command_prints_writes_and_exits(tmp_path, monkeypatch, capsys, checks):
    tiny_model().save_pretrained(tmp_path / "model")
    tokenizer_with().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(examination, "CHECKS", checks)
    monkeypatch.setattr(examination, "SPEED", (capture_speed,))
    arguments = ["doctor", str(tmp_path / "model"), "--out", str(tmp_path / "found"), "--device", "cpu"]
    if failing in checks:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 1
    else:
        main(arguments)
    printed = capsys.readouterr().out
    assert ("All guarantees hold." in printed) == (failing not in checks)
    assert "coefficient 0" in " ".join(printed.split())
    found = Examination.load(tmp_path / "found" / "doctor.json")
    assert found.failed == (("failing",) if failing in checks else ())
    assert found.model["n_layers"] == 4


def test_an_examination_is_read_back_as_it_was_and_a_foreign_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "CHECKS", (no_op, exactness))
    monkeypatch.setattr(examination, "SPEED", ())
    found = examine(subject_of())
    path = found.save(tmp_path)
    assert Examination.load(path) == found
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": "other/1"}))
    with pytest.raises(ValueError, match=r"doctor\.json"):
        Examination.load(path)


def test_the_table_says_what_was_checked_what_came_out_and_what_it_means(monkeypatch):
    monkeypatch.setattr(examination, "CHECKS", (exactness,))
    monkeypatch.setattr(examination, "SPEED", SPEED[2:])
    console = Console(record=True, width=200, quiet=False, file=None)
    with console.capture() as captured:
        show(examine(subject_of()), console)
    text = " ".join(captured.get().split())
    for words in ("exactness", "Does an added vector", "of the vector's length", "ok", "An edit does what"):
        assert words in text
    for words in ("30 layers x 3 coefficients x 8 prompts x 24 tokens", "minutes", "an estimate from"):
        assert words in text


@pytest.mark.parametrize(
    ("difference", "noise", "verdict"),
    [
        (0.0, 0.0, "ok"),
        (1e-4, 0.0, "ok"),
        (2e-4, 0.0, "FAILED"),
        (0.02, 0.01, "differs by"),
        (0.2, 0.01, "FAILED"),
        (float("nan"), 1.0, "FAILED"),
        (float("inf"), 1.0, "FAILED"),
    ],
)
def test_a_difference_is_judged_by_what_rounding_does(difference, noise, verdict):
    meaning = Meaning(ok="ok.", differs="near.", failed="far.")
    result = graded("name", "question", difference, "nats", noise=noise, meaning=meaning)
    assert isinstance(result, CheckResult)
    assert result.verdict == verdict
    assert (result.measured is None) == (difference - difference != 0)


@pytest.mark.parametrize(
    ("measured", "text"),
    [(None, ""), (0.0, "0"), (100, "100"), (2.4e-7, "2.4e-07"), (0.0123, "0.0123"), (1234.5, "1234")],
)
def test_numbers_are_short(measured, text):
    assert number(measured) == text
