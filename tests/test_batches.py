"""Facts about batch plans and about going on when memory runs out."""

import gc
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from activations.batches import CPU_TOKENS, batch_budget, out_of_memory, plan, run_batches

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=40)
budgets = st.integers(1, 200)


@given(lengths, budgets)
def test_a_plan_covers_each_row_once_and_keeps_to_its_budget(lengths, budget):
    batches = plan(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(lengths, budgets, st.integers(1, 60))
def test_memory_that_runs_out_loses_and_repeats_no_row(lengths, budget, room):
    def run(indices):
        if len(indices) > 1 and sum(lengths[i] for i in indices) > room:
            raise MemoryError
        return [lengths[i] for i in indices]

    done = list(run_batches(lengths, run, max_tokens=budget))
    assert sorted(i for indices, _ in done for i in indices) == list(range(len(lengths)))
    assert all(result == [lengths[i] for i in indices] for indices, result in done)


def test_a_result_may_be_none():
    assert list(run_batches([1, 1], lambda indices: None, max_tokens=1)) == [([0], None), ([1], None)]


def test_a_failed_attempt_holds_no_memory_during_the_next():
    class Block:
        pass

    failed = []

    def run(indices):
        block = Block()
        gc.disable()  # a reference cycle would only look free
        if len(indices) > 1:
            failed.append(weakref.ref(block))
            raise torch.OutOfMemoryError("out of memory")
        return [reference() for reference in failed]

    try:
        assert [result for _, result in run_batches([1, 1], run, max_tokens=2)] == [[None], [None]]
    finally:
        gc.enable()


def test_a_row_that_does_not_fit_alone_is_named():
    def run(_indices):
        raise MemoryError

    with pytest.raises(MemoryError, match="row 1: its 7 tokens do not fit in memory even alone"):
        list(run_batches([3, 7], run, max_tokens=100))


def test_other_errors_pass_through_at_once():
    calls = []

    def run(indices):
        calls.append(indices)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_batches([1, 1], run, max_tokens=2))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("shapes"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error, expected):
    assert out_of_memory(error) is expected


def test_a_cpu_has_a_fixed_budget():
    assert batch_budget(torch.device("cpu"), 1) == CPU_TOKENS


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="max_tokens: got 0, need at least 1"):
        list(run_batches([1], lambda indices: indices, max_tokens=0))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(1, 400))
def test_batches_are_as_few_as_may_be_and_about_equally_large(lengths, budget):
    batches = plan(lengths, budget)
    sizes = [len(batch) * max(lengths[i] for i in batch) for batch in batches]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(size <= max(budget, max(lengths)) for size in sizes)
    fewest, width, rows = 1, 0, 0
    for length in sorted(lengths, reverse=True):  # greedy: no way of cutting a sorted list needs fewer
        width = width or length
        if rows and (rows + 1) * width > budget:
            fewest, width, rows = fewest + 1, length, 0
        rows += 1
    assert len(batches) == fewest


def test_a_last_small_batch_is_evened_out():
    assert [len(batch) for batch in plan([10] * 72, 700)] == [36, 36]
