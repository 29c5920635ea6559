"""Facts about `steered`: any pass or `generate` call inside the block, padded or not."""

from zlib import crc32

import pytest
import torch
from hypothesis import given, seed
from hypothesis import strategies as st
from torch.testing import assert_close

from activations import All, Answer, From, HookPoint, Last, Prompt, Role, Subject, captured
from activations.encode import pad, tokenize_all
from activations.forward import body_inputs
from steering import Cell, add, clamp, generate, mirror, steered
from tests import alone
from tests.alone import (
    CHATS,
    FEW,
    POINTS,
    QUESTIONS,
    cells_of,
    direction_of,
    hooked,
    memory_for,
    require_greedy,
)
from tests.conftest import tiny_model

LENGTHS = {"max_new_tokens": 4, "min_new_tokens": 4, "pad_token_id": 0}


@pytest.fixture
def some_edit(subject):
    return add(direction_of(subject), 1.0, points=[POINTS[3]])


def passed(subject, batch):
    return subject.model(**body_inputs(subject.model, batch), use_cache=False).logits


@torch.no_grad()
def test_padded_rows_are_edited_as_each_row_alone(tiny_subject, architecture):
    subject = tiny_subject(architecture)
    rows = tokenize_all(subject, CHATS)

    @seed(crc32(architecture.encode()))
    @FEW
    @given(
        own=st.lists(alone.recipes(False), min_size=1, max_size=3), side=st.sampled_from(["left", "right"])
    )
    def check(own, side):
        (cell,) = cells_of(subject, [(own, "active")])
        batch = pad(rows, side=side)
        with steered(subject, cell.edits, batch):
            logits = passed(subject, batch)
        for i, row in enumerate(rows):
            with hooked(subject, row, cell.edits):
                expected = subject.model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0]
            start = batch.start(i)
            assert_close(logits[i, start : start + len(row)], expected, rtol=0, atol=1e-4)

    check()


@torch.no_grad()
def test_the_layer_itself_moves_by_exactly_the_vector_and_nothing_below_moves(subject, some_edit):
    batch = pad(tokenize_all(subject, CHATS))
    points = [POINTS[2], POINTS[3]]
    with captured(subject.model, points) as before:
        passed(subject, batch)
    with steered(subject, [some_edit], batch) as audit, captured(subject.model, points) as during:
        passed(subject, batch)
    below, here = points
    assert torch.equal(during[below][0], before[below][0])
    chosen = batch.spread([All().select(row) for row in batch.rows])
    moved = before[here][0] + some_edit.direction.at(here)
    assert torch.equal(during[here][0], torch.where(chosen[..., None], moved, before[here][0]))
    counts = [audit.all_touched()[i].prefill for i in range(len(CHATS))]
    assert counts == [len(row) - 1 for row in batch.rows]


@torch.no_grad()
def test_the_audit_says_how_far_tokens_moved(subject, some_edit):
    batch = pad(tokenize_all(subject, CHATS[:1]))
    point = some_edit.points[0]
    with captured(subject.model, [point]) as found:
        passed(subject, batch)
    with steered(subject, [some_edit], batch) as audit:
        passed(subject, batch)
    expected = (some_edit.direction.at(point).norm() / found[point][0][0, 1:].norm(dim=-1)).mean()
    assert audit.all_touched()[0].relative_shift == pytest.approx(float(expected), rel=1e-4)


@torch.no_grad()
def test_coefficient_0_is_bit_identical_and_sets_no_hook(subject):
    batch = pad(tokenize_all(subject, CHATS))
    plain = passed(subject, batch)
    with steered(subject, [add(direction_of(subject), 0.0)], batch) as audit:
        assert alone.n_hooks(subject.model) == 0
        assert torch.equal(passed(subject, batch), plain)
    assert audit.all_touched() == {}


@torch.no_grad()
@pytest.mark.parametrize("where", [All(), Answer(), Answer(lead=1), Prompt(), Answer().first(2), From(25)])
@pytest.mark.parametrize("known", [True, False])
def test_generate_is_steered_in_prefill_and_decode(subject, where, known):
    edits = (add(direction_of(subject), 1.5, points=[POINTS[3]], where=where),)
    batch = pad(tokenize_all(subject, QUESTIONS))
    with steered(subject, edits, batch if known else None) as audit:
        ids = subject.model.generate(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, do_sample=False, **LENGTHS
        )[:, batch.input_ids.shape[1] :].tolist()
    for i, row in enumerate(batch.rows):
        if subject.tokenizer.eos_token_id not in ids[i]:  # else min_new_tokens has changed the choice
            require_greedy(subject, QUESTIONS[i], edits, tuple(ids[i]))
        touched = audit.all_touched()[i]
        new = [where.generated(row, k) for k in range(LENGTHS["max_new_tokens"] - 1)]
        assert (touched.prefill, touched.decode) == (sum(where.select(row)), sum(new))


@torch.no_grad()
def test_beams_and_several_samples_repeat_rows(subject):
    batch = pad(tokenize_all(subject, QUESTIONS[:2]))
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    edit = add(direction_of(subject), 2.0, points=[POINTS[3]], where=Role("user"))
    n_user = [sum(edit.where.select(row)) for row in batch.rows]
    for ways in ({"num_beams": 3}, {"do_sample": True, "num_return_sequences": 3}):
        with steered(subject, [edit], batch) as audit:
            together = subject.model.generate(**inputs, **LENGTHS, **{"do_sample": False, **ways})
        counts = [touched.prefill for _, touched in sorted(audit.all_touched().items())]
        assert counts == [n_user[0]] * 3 + [n_user[1]] * 3
        if "num_beams" in ways:
            for i in (0, 1):
                own = pad(batch.rows[i : i + 1])
                with steered(subject, [edit], own):
                    apart = subject.model.generate(
                        input_ids=own.input_ids,
                        attention_mask=own.attention_mask,
                        do_sample=False,
                        **LENGTHS,
                        **ways,
                    )
                assert together[i, -4:].tolist() == apart[0, -4:].tolist()


@torch.no_grad()
def test_without_a_mask_every_token_counts(subject, some_edit):
    (row,) = tokenize_all(subject, CHATS[:1])
    with steered(subject, [some_edit]) as audit:
        logits = subject.model(input_ids=torch.tensor([row.ids])).logits
    with hooked(subject, row, (some_edit,)):
        assert_close(logits, subject.model(input_ids=torch.tensor([row.ids])).logits, rtol=0, atol=1e-5)
    assert audit.all_touched()[0].prefill == len(row) - 1


@torch.no_grad()
def test_without_rows_a_mask_of_another_shape_is_refused(subject, some_edit):
    with (
        pytest.raises(ValueError, match=r"got a mask \(1, 1, 4, 4\) for tokens \(1, 4\); give `batch`"),
        steered(subject, [some_edit]),
    ):
        subject.model(input_ids=torch.ones(1, 4).long(), attention_mask=torch.zeros(1, 1, 4, 4))
    assert alone.n_hooks(subject.model) == 0


@torch.no_grad()
def test_answers_equal_those_of_the_row_engine(subject, some_edit):
    cell = Cell(name="c", edits=(some_edit, clamp(direction_of(subject, 2), -1, 1, points=[POINTS[3]])))
    batch = pad(tokenize_all(subject, QUESTIONS))
    with steered(subject, cell.edits, batch):
        ids = subject.model.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            do_sample=False,
            max_new_tokens=4,
            pad_token_id=0,
        )
    for answer in generate(subject, QUESTIONS, [cell], max_new_tokens=4):
        theirs = ids[answer.row, batch.input_ids.shape[1] :].tolist()
        assert theirs[: len(answer.ids)] == list(answer.ids)


def test_gradients_flow_and_inference_mode_may_come_and_go(subject, some_edit):
    edits = [some_edit, mirror(direction_of(subject, 1), points=[POINTS[3]])]
    batch = pad(tokenize_all(subject, CHATS[:1]))
    with steered(subject, edits, batch) as audit:
        with torch.inference_mode():
            first = subject.model(**body_inputs(subject.model, batch), use_cache=True)
        past, token = first.past_key_values, batch.input_ids[:, -1:]
        with torch.no_grad():
            subject.model(input_ids=token, past_key_values=past)
        logits = passed(subject, batch)
        (gradient,) = torch.autograd.grad(logits.sum(), subject.model.get_input_embeddings().weight)
    assert gradient.abs().sum() > 0
    assert audit.all_touched()[0].decode == 1


@torch.inference_mode()
def test_a_direction_made_in_inference_mode_can_be_trained_through(subject):
    edit = mirror(direction_of(subject) * 1.0, points=[POINTS[3]])
    batch = pad(tokenize_all(subject, CHATS[:1]))
    with torch.inference_mode(False), steered(subject, [edit], pad(batch.rows)):
        passed(subject, pad(batch.rows)).sum().backward()
    subject.model.zero_grad()


def test_what_does_nothing_is_an_error(subject, some_edit):
    batch = pad(tokenize_all(subject, CHATS))
    with pytest.raises(RuntimeError, match="no forward pass ran"), steered(subject, [some_edit], batch):
        pass
    nowhere = add(direction_of(subject), 1.0, where=Role("system"))
    with (
        pytest.raises(RuntimeError, match="role:system: chose no token of any row"),
        steered(subject, [some_edit, nowhere], batch),
    ):
        passed(subject, batch)
    assert alone.n_hooks(subject.model) == 0


def test_an_edit_whose_hook_does_not_fire_is_an_error(subject, some_edit, monkeypatch):
    monkeypatch.setattr("steering.rows._Slot.apply", lambda self, resid: resid)
    batch = pad(tokenize_all(subject, CHATS))
    with pytest.raises(RuntimeError, match="none was edited"), steered(subject, [some_edit], batch):
        passed(subject, batch)


def test_a_gate_that_stays_shut_is_no_error(subject):
    batch = pad(tokenize_all(subject, CHATS))
    with steered(subject, [add(direction_of(subject), 1.0, gate=(1e6, 2e6))], batch) as audit:
        passed(subject, batch)
    assert audit.all_touched()[0].prefill == 0


def test_other_rows_than_the_batch_are_refused(subject, some_edit):
    batch = pad(tokenize_all(subject, CHATS))
    with (
        pytest.raises(ValueError, match="a pass of 3 rows does not fit a batch of 4"),
        steered(subject, [some_edit], batch),
    ):
        subject.model(input_ids=batch.input_ids[:3])


def test_a_direction_of_another_model_is_refused(subject, tiny_subject, some_edit):
    with pytest.raises(ValueError, match="does not fit model"), steered(tiny_subject("gpt2"), [some_edit]):
        pytest.fail("the block must not run")


def test_the_model_is_as_before_also_after_an_exception(subject, some_edit):
    before = alone.state(subject)
    vectors = some_edit.direction.vectors.clone()
    with memory_for(subject, 0), pytest.raises(torch.OutOfMemoryError), steered(subject, [some_edit]):
        subject.model(input_ids=torch.ones(1, 4).long())
    assert alone.state(subject) == before
    assert torch.equal(some_edit.direction.vectors, vectors)


@torch.no_grad()
def test_bfloat16_models_are_steered_too(tokenizer):
    subject = Subject.of(tiny_model().bfloat16(), tokenizer)
    edit = add(direction_of(subject), 1.0, points=[HookPoint(1)], where=Last())
    batch = pad(tokenize_all(subject, QUESTIONS))
    with captured(subject.model, [HookPoint(1)]) as before:
        passed(subject, batch)
    with steered(subject, [edit], batch), captured(subject.model, [HookPoint(1)]) as during:
        passed(subject, batch)
    old, new = before[HookPoint(1)][0], during[HookPoint(1)][0]
    assert torch.equal(old[:, :-1], new[:, :-1])
    assert torch.equal(new[:, -1], (old[:, -1].float() + edit.direction.at(HookPoint(1))).bfloat16())
