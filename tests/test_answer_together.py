"""Facts about the choice between mixed batches and one run for each adapter."""

from dataclasses import replace
from itertools import product

import pytest

from experiments.benchmarks.adapters import Config, MixTiming, constants
from pipeline.answer.together import STEP_ROWS, SWITCH_ROWS, adapters_together, decode_work


def by_hand(n_adapters, rows_each, max_rows, together):
    """Walk through the batches one by one."""
    cost, adapters = 0.0, list(range(n_adapters))
    while adapters:
        group, adapters = adapters[:together], adapters[together:]
        left = len(group) * rows_each
        n_batches = -(-left // max_rows)
        for _ in range(n_batches):
            served = min(len(group), left / n_batches)
            cost += STEP_ROWS + SWITCH_ROWS * (served - 1)
        cost += left
    return cost


@pytest.mark.parametrize("numbers", [*product([1, 2, 5, 24], [1, 3, 40, 200], [1, 64, 290])])
def test_the_choice_costs_least_of_all_that_there_are(numbers):
    n_adapters = numbers[0]
    costs = {together: by_hand(*numbers, together) for together in range(1, n_adapters + 1)}
    assert costs[adapters_together(*numbers)] == pytest.approx(min(costs.values()))
    for together, cost in costs.items():
        assert decode_work(*numbers, together).cost == pytest.approx(cost)


def test_few_rows_share_a_batch_and_full_batches_do_not():
    assert adapters_together(5, 8, 256) == 5
    assert adapters_together(5, 256, 256) == 1
    assert adapters_together(5, 1000, 250) == 1
    assert adapters_together(1, 8, 256) == 1


def test_groups_of_adapters_share_what_all_of_them_would_overfill():
    assert adapters_together(4, 100, 200) == 2
    assert 1 < adapters_together(24, 30, 120) < 24


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_numbers_below_one_are_refused(numbers):
    with pytest.raises(ValueError, match="need at least 1 of each"):
        adapters_together(*numbers)


def test_the_benchmark_finds_planted_constants_in_its_timings():
    config = Config(max_rows=64)

    def seconds(n, rows, together):
        work = decode_work(n, rows, config.max_rows, together)
        return 0.002 * (31 * work.steps + 4.5 * work.switches + work.rows)

    timings = [
        MixTiming(
            adapters=n,
            rows=rows,
            apart_seconds=1.0,
            apart_step=seconds(n, rows, 1),
            mixed_seconds=1.0,
            mixed_step=seconds(n, rows, n),
            ratio=1.0,
            low=1.0,
            high=1.0,
            rule=1,
        )
        for n, rows in product((2, 4, 8), (4, 16, 64))
    ]
    found = constants(timings, config)
    assert found.step_rows == pytest.approx(31)
    assert found.switch_rows == pytest.approx(4.5)
    assert found.row_seconds == pytest.approx(0.002)
    assert found.typical_error < 1e-6
    slow = [replace(timing, mixed_step=1.1 * timing.mixed_step) for timing in timings]
    assert constants(slow, config).switch_rows > 4.5
