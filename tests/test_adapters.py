"""Facts about adapters that differ from row to row, and the traps of PEFT's own switch."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import IA3Config, LoraConfig, get_peft_model
from torch.testing import assert_close

from activations import Answer, Prompt, Subject
from activations.encode import pad, tokenize_all
from activations.forward import body_inputs
from activations.hooks import plain_model
from steering import UNEDITED, Cell, Sampling, add, generate, score_answers
from steering.adapters import adapters_by_row
from tests import alone
from tests.alone import CHATS, FEW, POINTS, QUESTIONS, cells_of, direction_of, log_probs_alone, memory_for
from tests.conftest import tiny_model

ADAPTERS = ("base", "sea", "sky")
CELLS = [Cell(name=name, adapter=name) for name in ADAPTERS]


def adapted(tokenizer, **settings):
    config = {"r": 2, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False, **settings}
    torch.manual_seed(7)
    model = get_peft_model(tiny_model(), LoraConfig(task_type="CAUSAL_LM", **config), adapter_name="sea")
    model.add_adapter("sky", LoraConfig(task_type="CAUSAL_LM", **config))
    for name, weight in model.named_parameters():
        if "modules_to_save" in name:
            weight.data += 0.5 * torch.randn_like(weight)
    return Subject.of(model, tokenizer, name="tiny-llama")


@pytest.fixture(scope="module")
def subject(tokenizer):
    return adapted(tokenizer)


@pytest.fixture(scope="module", params=["lm_head", "modules_to_save", "embed_tokens"])
def subject_with_more(tokenizer, request):
    if request.param == "modules_to_save":
        return adapted(tokenizer, modules_to_save=["lm_head", "embed_tokens"])
    return adapted(tokenizer, target_modules=["q_proj", request.param])


@contextmanager
def serving(subject, adapter):
    """Switch the adapter as PEFT's users do."""
    if adapter == "base":
        with subject.model.disable_adapter():
            yield
        return
    before = subject.model.active_adapter
    subject.model.set_adapter(adapter)
    yield
    subject.model.set_adapter(before)


def logits(subject, batch, names):
    with torch.no_grad(), adapters_by_row(subject.model, names):
        return plain_model(subject.model)(**body_inputs(subject.model, batch)).logits


def answers(subject, cells, **settings):
    found = generate(subject, QUESTIONS, cells, **{"max_new_tokens": 4, **settings})
    return {(cells[a.cell].name, a.row, a.sample): a.ids for a in found}


def test_each_row_of_a_mixed_batch_is_served_by_its_own_adapter(subject_with_more):
    subject = subject_with_more
    batch = pad(tokenize_all(subject, CHATS[:3]))
    mixed = logits(subject, batch, list(ADAPTERS))
    for i, adapter in enumerate(ADAPTERS):
        with serving(subject, adapter):
            assert_close(mixed[i], logits(subject, batch, ["active"] * 3)[i], rtol=0, atol=1e-5)


def test_base_rows_are_bit_identical_to_the_model_without_adapters(subject, tokenizer):
    plain = Subject.of(tiny_model(), tokenizer)
    batch = pad(tokenize_all(subject, CHATS))
    mixed = logits(subject, batch, ["base", "sea", "base", "sky"])
    alone_ = logits(plain, batch, ["active"] * 4)
    assert torch.equal(mixed[[0, 2]], alone_[[0, 2]])
    assert not torch.equal(mixed[1], alone_[1])


@given(data=st.data())
@FEW
def test_a_mixed_grid_scores_each_row_as_its_adapter_does_alone(subject, data):
    cells = cells_of(subject, data.draw(alone.grids(adapters=ADAPTERS)))
    with memory_for(subject, data.draw(st.integers(2, 8)), calm=2):
        found = list(score_answers(subject, CHATS, cells))
    assert len({(s.cell, s.row) for s in found}) == len(found) == len(cells) * len(CHATS)
    for score in found:
        with serving(subject, cells[score.cell].adapter):
            expected = log_probs_alone(subject, CHATS[score.row], cells[score.cell].edits)
        assert_close(score.log_probs, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_mixed_batch_generates_what_a_run_per_adapter_does(subject_with_more, temperature):
    subject = subject_with_more
    sampling = Sampling(temperature=temperature)
    along = direction_of(subject)
    cells = [
        *CELLS,
        Cell(name="edited", adapter="sky", edits=(add(along, 1.0, points=[POINTS[3]], where=Prompt()),)),
    ]
    mixed = answers(subject, cells, sampling=sampling)
    assert len(mixed) == 4 * len(QUESTIONS)
    for cell in cells:
        with serving(subject, cell.adapter):
            own = answers(subject, [Cell(name=cell.name, edits=cell.edits)], sampling=sampling)
        assert own == {at: ids for at, ids in mixed.items() if at[0] == cell.name}
    assert len({ids for ids in mixed.values()}) > len(QUESTIONS)


def test_rows_of_different_adapters_end_at_their_own_time(tokenizer):
    subject = adapted(tokenizer)
    free = answers(subject, CELLS)
    subject.model.generation_config.eos_token_id = [
        free["base", 0, 0][0],
        free["sea", 1, 0][1],
        free["sky", 2, 0][2],
    ]
    mixed = answers(subject, CELLS)
    assert len({len(ids) for ids in mixed.values()}) > 1
    for at, ids in mixed.items():
        assert free[at][: len(ids)] == ids


def test_scores_through_an_adapted_unembedding_are_the_adapters_own(subject_with_more):
    subject = subject_with_more
    for score in score_answers(subject, CHATS, CELLS):
        with serving(subject, ADAPTERS[score.cell]):
            expected = log_probs_alone(subject, CHATS[score.row], ())
        assert_close(score.log_probs, expected, rtol=0, atol=1e-4)


def test_after_an_exception_no_hook_survives_and_the_next_call_serves_the_right_adapter(subject):
    before = alone.state(subject)
    batch = pad(tokenize_all(subject, CHATS[:2]))
    active = logits(subject, batch, ["active"] * 2)
    with pytest.raises(KeyError), adapters_by_row(subject.model, ["sky", "base"]):
        raise KeyError
    with memory_for(subject, 0), pytest.raises(MemoryError):
        answers(subject, CELLS)
    with pytest.raises(ValueError, match="adapter_names"):  # PEFT: not as many names as rows
        logits(subject, batch, ["sky", "base", "sky"])
    assert alone.state(subject) == before
    assert torch.equal(logits(subject, batch, ["active"] * 2), active)


def test_active_means_what_is_active_at_the_call(subject):
    with serving(subject, "sky"):
        own = answers(subject, [UNEDITED])
        beside = answers(subject, [UNEDITED, Cell(name="sea", adapter="sea")])
    sky = answers(subject, [Cell(name="base", adapter="sky")])
    assert own == sky == {at: ids for at, ids in beside.items() if at[0] == "base"}
    with subject.model.disable_adapter():
        assert answers(subject, [UNEDITED]) == answers(subject, [Cell(name="base", adapter="base")])


def test_base_can_be_named_on_a_model_without_adapters(tiny_subject):
    plain = tiny_subject("llama")
    assert answers(plain, [Cell(name="base", adapter="base")]) == answers(plain, [UNEDITED])


def test_adapters_that_cannot_be_served_are_refused_at_once(subject, tiny_subject, tokenizer):
    with pytest.raises(LookupError, match=r"adapter 'lake': the model has \['sea', 'sky'\]"):
        generate(subject, QUESTIONS, [Cell(name="x", adapter="lake")])
    with pytest.raises(LookupError, match="adapter 'sea': the model has none"):
        score_answers(tiny_subject("llama"), CHATS, [Cell(name="x", adapter="sea")])
    with subject.model.disable_adapter(), pytest.raises(ValueError, match="adapters are disabled"):
        generate(subject, QUESTIONS, CELLS)
    subject.model.base_model.set_adapter(["sea", "sky"])
    with pytest.raises(ValueError, match="are active together; name one of"):
        generate(subject, QUESTIONS, [UNEDITED, CELLS[1]])
    subject.model.set_adapter("sea")
    config = IA3Config(task_type="CAUSAL_LM", target_modules=["q_proj"], feedforward_modules=[])
    other = Subject.of(get_peft_model(tiny_model(), config), tokenizer)
    with pytest.raises(ValueError, match="cannot serve one row otherwise than the next"):
        generate(other, QUESTIONS, [CELLS[0]])
    assert len(answers(other, [Cell(name="a", edits=(add(direction_of(other), 1.0, where=Answer()),))])) == 4
