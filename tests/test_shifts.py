"""Facts about shifts: paired by triple, with the textbook's interval, the same after an interruption."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy import stats

from activations import Answer
from experiments.shifts import Shifts, score
from pipeline.runs import RunFolder
from steering import UNEDITED, additions
from tests.saved import direction, triples

BASE = {"a1": -1.0, "a2": -0.5, "a3": -2.0, "b1": 0.25}
PUSHED = {"a1": -0.7, "a2": -0.6, "a3": -1.0, "b1": 0.5}


def made_up():
    """Return the rows of two conditions, out of order, as a stage may hold them."""
    cells = {"base": BASE, "pushed": PUSHED}
    rows = [
        {"cell": cell, "triple": triple, "domain": triple[0], "per_token": value}
        for cell, values in cells.items()
        for triple, value in values.items()
    ]
    return rows[::-1]


def test_a_shift_is_the_paired_difference_with_scipys_interval():
    shifts = Shifts.of(made_up(), base="base")
    expected = [PUSHED[t] - BASE[t] for t in ("a1", "a2", "a3")]
    assert shifts.values("pushed", ["a"]).tolist() == pytest.approx(expected)
    found = shifts.shift("pushed", "a")
    interval = stats.ttest_1samp(expected, 0).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(expected), *interval))
    assert found.n == 3


def test_a_shift_over_domains_weighs_every_triple_alike():
    shifts = Shifts.of(made_up(), base="base")
    assert shifts.shift("pushed", "a", "b").value == pytest.approx(
        np.mean([PUSHED[t] - BASE[t] for t in BASE])
    )
    assert shifts.shift("pushed", "a", "b").n == 4


def test_the_level_is_the_mean_of_the_base():
    found = Shifts.of(made_up(), base="base").level("a")
    values = [BASE[t] for t in ("a1", "a2", "a3")]
    interval = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), *interval))


def test_the_base_does_not_shift():
    assert Shifts.of(made_up(), base="base").values("base", ["a", "b"]).tolist() == [0, 0, 0, 0]


@pytest.fixture(scope="module")
def cells(subject):
    vectors = torch.randn(4, 32, generator=torch.Generator().manual_seed(2))
    return (UNEDITED, *additions([direction(subject.facts, vectors)], [0, 2], [1.0, 3.0], where=Answer()))


def scored(path, subject, cells, *, cut_after=None):
    """Score into a run folder; with `cut_after` the user interrupts after so many answers."""

    @contextmanager
    def progress(_task, _total):
        seen = 0

        def advance(units):
            nonlocal seen
            seen += units
            if cut_after is not None and seen > cut_after:
                raise KeyboardInterrupt

        yield advance

    with RunFolder.open(path, verb="test", config={}, seed=0) as run:
        score(run, "stage", subject, triples(4), cells, progress=progress)
        return run.rows("stage")


@pytest.mark.parametrize("cut_after", [0, 7, 21, 39])
def test_a_stage_cut_in_the_middle_and_finished_gives_the_same_shifts(tmp_path, subject, cells, cut_after):
    whole = scored(tmp_path / "whole", subject, cells)
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path / "cut", subject, cells, cut_after=cut_after)
    rows = scored(tmp_path / "cut", subject, cells)
    assert sorted(row["id"] for row in rows) == sorted(row["id"] for row in whole)
    expected, found = Shifts.of(whole, "base"), Shifts.of(rows, "base")
    assert found.domain == expected.domain
    for cell in expected.by_cell:
        assert found.by_cell[cell] == pytest.approx(expected.by_cell[cell], abs=1e-5)


def test_what_is_there_is_not_scored_again(tmp_path, subject, cells):
    rows = scored(tmp_path, subject, cells)
    assert scored(tmp_path, None, cells) == rows  # no model is asked


def test_triples_of_one_id_are_refused_before_one_hides_the_other(tmp_path, subject):
    twice = [*triples(1), *triples(1)]
    with (
        RunFolder.open(tmp_path / "run", verb="test", config={}, seed=0) as run,
        pytest.raises(ValueError, match="stage: triple id 'seafaring-0' stands twice"),
    ):
        score(run, "stage", subject, twice, [UNEDITED], progress=None)
