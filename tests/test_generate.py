"""Facts about generating under a grid: each row as if it ran alone."""

from zlib import crc32

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from activations import All, Answer, HookPoint, Last, Prompt, Role, Subject, Text
from activations.encode import tokenize_all
from steering import UNEDITED, Cell, Sampling, add, coefficients, generate, layers
from steering.decode import Stop
from tests import alone
from tests.alone import CHATS, FEW, POINTS, QUESTIONS, cells_of, direction_of, memory_for, require_greedy
from tests.conftest import VOCABULARY, tiny_model

N_NEW = 5
KINDS = ("llama", "gpt2", "gemma2", "mistral", "bloom", "falcon", "opt", "gptj", "qwen3_moe")
"""Architectures that differ in positions, windows, outputs of a block or experts."""


def generated(subject, cells, chats=QUESTIONS, **settings):
    """Answers by cell, row and sample; each exactly once."""
    found = list(generate(subject, chats, cells, **{"max_new_tokens": N_NEW, **settings}))
    by_place = {(answer.cell, answer.row, answer.sample): answer for answer in found}
    assert len(by_place) == len(found)
    return by_place


def require_alone(subject, cells, found):
    for (c, k, _), answer in found.items():
        require_greedy(subject, QUESTIONS[k], cells[c].edits, answer.ids)
        assert answer.finished == (answer.ids[-1] == subject.tokenizer.eos_token_id)
        assert answer.finished or len(answer.ids) == N_NEW
        assert answer.text == subject.tokenizer.decode(answer.ids, skip_special_tokens=True)


def counts(found):
    return {at: (answer.touched.prefill, answer.touched.decode) for at, answer in found.items()}


def adding(subject, coefficient=1.0, *points, **settings):
    points = points or (POINTS[3],)
    return Cell(
        name=f"add {coefficient}", edits=(add(direction_of(subject), coefficient, points=points, **settings),)
    )


@pytest.mark.parametrize("architecture", KINDS)
def test_any_grid_equals_each_row_alone(tiny_subject, architecture):
    subject = tiny_subject(architecture)

    @seed(crc32(architecture.encode()))
    @settings(FEW, max_examples=2)
    @given(data=st.data())
    def check(data):
        cells = cells_of(subject, data.draw(alone.grids(generating=True)))
        share_depth, max_rows = data.draw(st.booleans()), data.draw(st.sampled_from([None, 3, 7]))
        found = generated(subject, cells, share_depth=share_depth, max_rows=max_rows)
        assert set(found) == {(c, k, 0) for c in range(len(cells)) for k in range(len(QUESTIONS))}
        require_alone(subject, cells, found)

    check()


@given(data=st.data())
@FEW
def test_running_out_of_memory_loses_no_row_doubles_none_and_counts_no_edit_twice(subject, data):
    cells = cells_of(subject, data.draw(alone.grids(generating=True)))
    whole = generated(subject, cells)
    before = alone.state(subject)
    with memory_for(subject, data.draw(st.integers(2, 8)), calm=data.draw(st.integers(0, 6))):
        found = generated(subject, cells)
    assert alone.state(subject) == before
    assert {at: a.ids for at, a in found.items()} == {at: a.ids for at, a in whole.items()}
    assert counts(found) == counts(whole)
    require_alone(subject, cells, found)


@given(data=st.data())
@FEW
def test_an_interrupted_run_goes_on_where_it_stopped(subject, data):
    cells = cells_of(subject, data.draw(alone.grids(generating=True)))
    sampling = Sampling(temperature=1.0, seed=5)
    whole = generated(subject, cells, samples=2, sampling=sampling)
    answers = generate(
        subject, QUESTIONS, cells, max_new_tokens=N_NEW, samples=2, sampling=sampling, max_rows=7
    )
    first = [next(answers) for _ in range(data.draw(st.integers(1, len(whole))))]
    answers.close()
    assert alone.n_hooks(subject.model) == 0
    done = {(a.cell, a.row, a.sample) for a in first}
    rest = generated(subject, cells, samples=2, sampling=sampling, skip=done)
    assert set(rest) == set(whole) - done
    assert {at: a.ids for at, a in rest.items()} == {at: whole[at].ids for at in rest}
    assert [a.ids for a in first] == [whole[a.cell, a.row, a.sample].ids for a in first]


@given(data=st.data())
@FEW
def test_the_audit_counts_each_token_that_was_edited(subject, data):
    grid = data.draw(alone.grids(generating=True))
    cells = cells_of(
        subject, [([{**recipe, "gate": (-9e9, 9e9)} for recipe in own[:1]], a) for own, a in grid]
    )
    rows = tokenize_all(subject, QUESTIONS)
    for (c, k, _), answer in generated(subject, cells, max_rows=5).items():
        expected = (0, 0)
        for edit in cells[c].active:
            new = [edit.where.generated(rows[k], i) for i in range(len(answer.ids) - 1)]
            expected = (sum(edit.where.select(rows[k])), sum(new))
        assert (answer.touched.prefill, answer.touched.decode) == expected


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_idle_cells_say_what_the_plain_run_says_in_any_company(subject, temperature):
    sampling = Sampling(temperature=temperature, seed=3, top_p=0.9 if temperature else 1.0)
    plain = generated(subject, [UNEDITED], samples=2, sampling=sampling, max_rows=1)
    zero = Cell(name="zero", edits=(add(direction_of(subject), 0.0),))
    for max_rows in (None, 5):
        company = [adding(subject, 2.0), zero, UNEDITED, adding(subject, -1.0, where=Answer())]
        found = generated(subject, company, samples=2, sampling=sampling, max_rows=max_rows)
        for (_, k, sample), answer in plain.items():
            assert found[1, k, sample].text == found[2, k, sample].text == answer.text
            assert found[1, k, sample].touched.relative_shift == 0
    if temperature:
        assert len({answer.ids for answer in plain.values()}) > len(QUESTIONS)


def test_a_prompt_may_branch_off_after_any_block_the_last_one_included(subject):
    cells = (layers(*POINTS) * coefficients(2) * direction_of(subject)).adding(unit="raw", where=All())
    found = list(generate(subject, QUESTIONS[:2], cells, max_new_tokens=3))
    assert len(found) == 2 * len(POINTS)
    for answer in found:
        require_greedy(subject, QUESTIONS[answer.row], cells[answer.cell].edits, answer.ids)


def test_the_cached_prompts_last_token_is_steered_by_a_lead(subject):
    lead, answer = adding(subject, 3.0, where=Answer(lead=1)), adding(subject, 3.5, where=Answer())
    with memory_for(subject, 10**6) as passes:
        found = generated(subject, [lead, answer, UNEDITED], max_new_tokens=3)
    assert passes[0] == len(QUESTIONS)  # one prompt pass for all cells
    assert passes[1] == 3 * len(QUESTIONS)
    require_greedy(subject, QUESTIONS[0], lead.edits, found[0, 0, 0].ids)
    for k in range(len(QUESTIONS)):
        assert found[0, k, 0].touched.prefill == 1
        assert found[1, k, 0].ids[0] == found[2, k, 0].ids[0]
    assert any(found[0, k, 0].ids[0] != found[2, k, 0].ids[0] for k in range(len(QUESTIONS)))


def test_rows_end_at_their_own_time_and_an_answer_of_one_token_is_no_error(tokenizer):
    model = tiny_model()
    plain = generated(Subject.of(model, tokenizer), [UNEDITED])
    ends = [plain[0, 0, 0].ids[0], plain[0, 1, 0].ids[2]]
    model.generation_config.eos_token_id = ends
    subject = Subject.of(model, tokenizer)
    cells = [UNEDITED, adding(subject, 0.5, where=Answer())]
    found = generated(subject, cells)
    assert len({len(answer.ids) for answer in found.values()}) > 1
    assert found[1, 0, 0].ids == (ends[0],)
    assert found[1, 0, 0].finished
    assert found[1, 0, 0].touched.decode == 0
    for (c, k, _), answer in found.items():
        require_greedy(subject, QUESTIONS[k], cells[c].edits, answer.ids)
        assert [i for i, token in enumerate(answer.ids) if token in ends][:1] in ([], [len(answer.ids) - 1])
        assert generated(subject, [cells[c]], [QUESTIONS[k]], max_rows=1)[0, 0, 0].ids == answer.ids


def test_a_stop_text_ends_an_answer_and_stays_in_it(subject):
    text = generated(subject, [UNEDITED], max_new_tokens=12)[0, 0, 0].text
    stop = text[3:5]
    stopped = generated(subject, [UNEDITED], max_new_tokens=12, stop=["never", stop])[0, 0, 0]
    assert stopped.finished
    assert stopped.text == text[: text.index(stop) + len(stop)]
    assert Stop.of(subject, [], 1).tokens == {2}


def test_prompts_of_very_different_lengths_share_a_batch(tiny_subject):
    for architecture in ("gpt2", "gemma2", "bloom"):
        subject = tiny_subject(architecture)
        chats = [QUESTIONS[1], [{"role": "user", "content": "long " * 30}]]
        cells = [UNEDITED, adding(subject, 1.0, where=Prompt())]
        for (c, k, _), answer in generated(subject, cells, chats, max_new_tokens=3).items():
            require_greedy(subject, chats[k], cells[c].edits, answer.ids)


def test_parts_of_a_batch_do_not_change_it(subject, monkeypatch):
    cells = (layers(1, 2) * coefficients(1, 2) * direction_of(subject).select(POINTS[1::2])).adding()
    whole = generated(subject, cells)
    monkeypatch.setattr("steering.decode.HEAD_BYTES", 3 * 4 * VOCABULARY)
    monkeypatch.setattr("steering.row_batch.batch_budget", lambda *_args, **_kwargs: 60)
    parts = generated(subject, cells)
    assert {at: a.ids for at, a in parts.items()} == {at: a.ids for at, a in whole.items()}
    assert counts(parts) == counts(whole)


def test_no_batch_has_more_rows_than_allowed(subject):
    chats = [[{"role": "user", "content": "x" * (30 if k == 0 else 1)}] for k in range(7)]
    with memory_for(subject, 3):
        found = generated(subject, [UNEDITED], chats, max_rows=3)
    assert len(found) == 7


def test_answers_stream_and_the_caller_stays_in_grad_mode(subject):
    along = direction_of(subject).select([HookPoint(1)])
    cells = (coefficients(*(c / 100 for c in range(300))) * along).adding(where=Answer())
    with memory_for(subject, 10**6) as passes:
        answers = generate(subject, QUESTIONS, cells, max_new_tokens=2, max_rows=100)
        assert passes == []
        for n, _answer in enumerate(answers):
            assert not torch.is_inference_mode_enabled()
            assert len(passes) <= 3 * (1 + n // 100)
    assert n == 1199
    assert max(passes) == 100


def test_a_gate_that_stays_shut_is_no_error_in_any_batch(subject):
    shut = adding(subject, 5.0, gate=(1e6, 2e6))
    found = generated(subject, [UNEDITED, shut], max_rows=1)
    for k in range(len(QUESTIONS)):
        assert found[0, k, 0].ids == found[1, k, 0].ids
        assert counts(found)[1, k, 0] == (0, 0)


def test_a_phrase_that_only_some_prompts_hold_is_no_error_in_any_batch(subject):
    cells = [adding(subject, 5.0, where=Text("sea"))]
    assert [at for at, n in counts(generated(subject, cells, max_rows=1)).items() if n != (0, 0)] == [
        (0, 2, 0)
    ]


@pytest.mark.parametrize("where", [Role("system"), Text("nowhere")])
def test_an_edit_that_touches_nothing_is_refused_at_once(subject, where):
    with pytest.raises(ValueError, match="cell 'add 1.0': add 'sea' at .* chooses no token"):
        generate(subject, QUESTIONS, [UNEDITED, adding(subject, where=where)])


def test_an_edit_of_new_tokens_needs_a_second_one(subject):
    with pytest.raises(ValueError, match="on answer: chooses no token"):
        generate(subject, QUESTIONS, [adding(subject, where=Answer())], max_new_tokens=1)
    assert len(generated(subject, [adding(subject, where=Last())], max_new_tokens=1)) == len(QUESTIONS)


def test_a_hook_that_does_not_fire_is_an_error(subject, monkeypatch):
    monkeypatch.setattr("steering.rows._Slot.apply", lambda self, resid: resid)
    with pytest.raises(RuntimeError, match="add 'sea' .* none was edited"):
        generated(subject, [adding(subject)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"samples": 0}, "samples 0"),
        ({"max_rows": 0}, "max_rows 0"),
        ({"stop": "abc"}, "stop: got 'abc'"),
        ({"stop": [""]}, "none of them empty"),
        ({"max_new_tokens": 500}, "the context holds 512"),
        ({"chats": CHATS}, "row 0: ends with an answer"),
        ({"chats": ["H"]}, "row 0: a prompt of one token"),
        ({"cells": [UNEDITED, UNEDITED]}, "names must be unique"),
    ],
)
def test_bad_arguments_are_refused_at_once(subject, settings, message):
    settings = {"chats": QUESTIONS, "cells": [UNEDITED], **settings}
    with pytest.raises(ValueError, match=message):
        generate(subject, **settings)


def test_a_direction_of_another_model_is_refused(subject, tiny_subject):
    with pytest.raises(ValueError, match="does not fit model 'tiny-llama'"):
        generate(subject, QUESTIONS, [adding(tiny_subject("qwen2"))])


def test_the_model_is_as_before_and_so_after_an_error(subject):
    before = alone.state(subject)
    generated(subject, [adding(subject), UNEDITED])
    assert alone.state(subject) == before
    with memory_for(subject, 0, calm=2), pytest.raises(MemoryError, match="do not fit in memory even alone"):
        generated(subject, [adding(subject)])
    assert alone.state(subject) == before
