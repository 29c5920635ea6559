"""Facts about scoring answers under a grid: each row as if it ran alone."""

import gc
from zlib import crc32

import pytest
import torch
from hypothesis import given, seed
from hypothesis import strategies as st
from torch.testing import assert_close

from activations import Answer, HookPoint, Last, Prompt, Role
from steering import UNEDITED, Cell, add, clamp, coefficients, layers, score_answers
from steering.score import Share
from tests import alone
from tests.alone import CHATS, FEW, POINTS, QUESTIONS, cells_of, direction_of, log_probs_alone, memory_for

SHARES = [Share(), Share(prompt=False), Share(depth=False), Share(prompt=False, depth=False)]


def scored(subject, cells, **settings):
    """Scores by cell and row; each exactly once."""
    found = list(score_answers(subject, CHATS, cells, **settings))
    by_place = {(score.cell, score.row): score for score in found}
    assert len(by_place) == len(found)
    return by_place


def require_alone(subject, cells, found):
    for (c, k), score in found.items():
        assert_close(
            score.log_probs,
            log_probs_alone(subject, CHATS[k], cells[c].edits),
            rtol=0,
            atol=1e-4,
            msg=str(cells[c].facts()),
        )


def test_any_grid_equals_each_row_alone(tiny_subject, architecture):
    subject = tiny_subject(architecture)

    @seed(crc32(architecture.encode()))
    @FEW
    @given(data=st.data())
    def check(data):
        cells = cells_of(subject, data.draw(alone.grids()))
        share = data.draw(st.sampled_from(SHARES))
        max_tokens = data.draw(st.sampled_from([None, 1, 60, 200]))
        found = scored(subject, cells, share=share, max_tokens=max_tokens)
        assert set(found) == {(c, k) for c in range(len(cells)) for k in range(len(CHATS))}
        require_alone(subject, cells, found)

    check()


@given(data=st.data())
@FEW
def test_running_out_of_memory_loses_no_row_doubles_none_and_counts_no_edit_twice(subject, data):
    cells = cells_of(subject, data.draw(alone.grids()))
    whole = scored(subject, cells)
    before = alone.state(subject)
    with memory_for(subject, data.draw(st.integers(1, 3)), calm=data.draw(st.integers(0, 3))):
        found = scored(subject, cells)
    assert alone.state(subject) == before
    require_alone(subject, cells, found)
    assert {at: (s.touched.prefill, s.touched.decode) for at, s in found.items()} == {
        at: (s.touched.prefill, s.touched.decode) for at, s in whole.items()
    }


@given(data=st.data())
@FEW
def test_what_is_skipped_is_not_scored_and_the_rest_is_as_before(subject, data):
    cells = cells_of(subject, data.draw(alone.grids()))
    places = [(c, k) for c in range(len(cells)) for k in range(len(CHATS))]
    done = data.draw(st.sets(st.sampled_from(places)))
    found = scored(subject, cells, skip=done)
    assert set(found) == set(places) - done
    require_alone(subject, cells, found)


def test_idle_cells_are_bit_identical_to_the_unedited_one(subject):
    zero = Cell(name="zero", edits=(add(direction_of(subject), 0.0),))
    found = scored(subject, [UNEDITED, zero])
    for k in range(len(CHATS)):
        assert torch.equal(found[0, k].log_probs, found[1, k].log_probs)
        assert found[1, k].touched.prefill == 0


def test_scores_are_ordinary_tensors_and_the_caller_stays_in_grad_mode(subject):
    scores = score_answers(
        subject, CHATS, [UNEDITED, Cell(name="b", edits=(add(direction_of(subject), 1.0),))]
    )
    for score in scores:
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not score.log_probs.is_inference()
        assert score.log_probs.untyped_storage().nbytes() == 4 * len(score.log_probs)


def test_the_audit_counts_the_tokens_that_could_matter(subject):
    cells = [Cell(name="a", edits=(add(direction_of(subject), 1.0, points=[POINTS[3]], where=Answer()),))]
    for (_, k), score in scored(subject, cells).items():
        assert score.touched.prefill == len(score.log_probs) - 1
        assert (score.touched.relative_shift > 0) == (len(score.log_probs) > 1), k


def test_the_prompt_is_computed_once_for_all_cells_that_spare_it(subject):
    cells = (layers(*range(4)) * coefficients(1, 2) * direction_of(subject).select(POINTS[1::2])).adding(
        where=Answer()
    )
    with memory_for(subject, 10**6) as passes:
        shared = scored(subject, [UNEDITED, *cells], max_tokens=10**6)
    assert passes[0] == len(CHATS)
    assert len(passes) == 2 + 4  # prompts, trunk, one branch for each layer
    apart = scored(subject, [UNEDITED, *cells], share=Share(prompt=False, depth=False))
    for at in shared:
        assert_close(shared[at].log_probs, apart[at].log_probs, rtol=0, atol=1e-4)


def test_long_prompts_make_smaller_batches_because_of_their_keys_and_values(subject, monkeypatch):
    monkeypatch.setattr("steering.score.cache_tokens", lambda _subject: 100)
    cells = [Cell(name=str(c), edits=(add(direction_of(subject), c, where=Answer()),)) for c in range(1, 9)]
    with memory_for(subject, 10**6) as passes:
        scored(subject, cells)
    assert max(passes) <= 4


def test_a_gate_that_stays_shut_is_no_error(subject):
    shut = Cell(name="shut", edits=(add(direction_of(subject), 1.0, gate=(1e6, 2e6)),))
    found = scored(subject, [UNEDITED, shut])
    for k in range(len(CHATS)):
        assert found[1, k].touched == type(found[1, k].touched)(0, 0, 0.0)
        assert_close(found[1, k].log_probs, found[0, k].log_probs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], "cells: got none"),
        ([UNEDITED, UNEDITED], "'base' is the name of 2 cells"),
        (
            [lambda d: Cell(name="late", edits=(add(d, 1.0, where=Last()),))],
            "'late'.* on last: chooses no token",
        ),
        ([lambda d: Cell(name="x", edits=(add(d, 1.0, where=Role("system")),))], "chooses no token"),
    ],
)
def test_a_grid_that_could_do_nothing_is_refused_at_once(subject, cells, message):
    cells = [cell if isinstance(cell, Cell) else cell(direction_of(subject)) for cell in cells]
    with pytest.raises(ValueError, match=message):
        score_answers(subject, CHATS, cells)


def test_bad_chats_and_budgets_are_refused_at_once(subject):
    with pytest.raises(ValueError, match="row 0: has no answer to score"):
        score_answers(subject, QUESTIONS, [UNEDITED])
    with pytest.raises(ValueError, match="max_tokens: got 0"):
        score_answers(subject, CHATS, [UNEDITED], max_tokens=0)


def test_a_hook_that_does_not_fire_is_an_error(subject, monkeypatch):
    monkeypatch.setattr("steering.rows._Slot.apply", lambda self, resid: resid)
    cells = [Cell(name="a", edits=(add(direction_of(subject), 1.0, points=[POINTS[3]], where=Prompt()),))]
    with pytest.raises(
        RuntimeError, match=r"add 'sea' at blocks\.1\.hook_resid_post on prompt: \d+ tokens of row"
    ):
        scored(subject, cells)


def test_the_model_is_as_before_and_so_after_an_error(subject):
    before = alone.state(subject)
    cells = [UNEDITED, Cell(name="a", edits=(clamp(direction_of(subject), 0, 1),))]
    scored(subject, cells)
    assert alone.state(subject) == before
    with memory_for(subject, 0), pytest.raises(MemoryError, match="do not fit in memory even alone"):
        scored(subject, cells)
    assert alone.state(subject) == before


def test_thousands_of_rows_stream_in_the_memory_of_one_batch(subject):
    along = direction_of(subject).select([HookPoint(1)])
    cells = (coefficients(*(c / 100 for c in range(1, 501))) * along).adding(where=Answer())
    sizes = []
    with memory_for(subject, 10**6) as passes:
        for n, _score in enumerate(score_answers(subject, CHATS, cells, max_tokens=2000)):
            if n == 0:
                assert len(passes) <= 3
            if n % 500 == 250:
                sizes.append(live_bytes())
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) < 2**21


def live_bytes():
    return sum(t.nbytes for t in gc.get_objects() if type(t) is torch.Tensor)
