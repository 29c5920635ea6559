import math
from inspect import unwrap  # past the type checker of the tests
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from pipeline.statistics import (
    cliffs_delta,
    cohens_d,
    d_z,
    hedges_g,
    paired_differences,
    paired_t_test,
    pooled_t_test,
    sign_flip_interval,
    sign_flip_test,
    welch_t_test,
)

A, B = [72, 81, 65, 90, 77, 69, 88, 74], [60, 75, 58, 85, 70, 71, 80, 55]
DIFFERENCES = np.subtract(A, B)


def test_the_anchors_of_the_t_tests():
    welch, pooled, paired = welch_t_test(A, B), pooled_t_test(A, B), paired_t_test(DIFFERENCES)
    assert_allclose((welch.t, welch.df, welch.p), (1.570609, 13.4811, 0.139441), atol=5e-5)
    assert_allclose((welch.difference.low, welch.difference.high), (-2.8716, 18.3716), atol=5e-5)
    assert_allclose(pooled.p, 0.138594, atol=1e-6)
    assert_allclose((paired.t, paired.p), (3.657015, 0.008102), atol=1e-6)


def test_the_anchors_of_the_effect_sizes():
    found = cohens_d(A, B), hedges_g(A, B), d_z(DIFFERENCES), cliffs_delta(A, B)
    assert_allclose(found, (0.785305, 0.742470, 1.292950, 0.406250), atol=1e-6)


def test_the_anchor_of_the_sign_flip_test():
    found = sign_flip_test(DIFFERENCES)
    assert (found.p, found.method, found.n, found.mean) == (0.015625, "exact", 8, 7.75)


@pytest.mark.parametrize("sizes", [(2, 2), (5, 9), (200, 40)])
def test_two_groups_are_compared_as_scipy_does(sizes):
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 10, sizes[0]), rng.normal(3, 30, sizes[1])
    for ours, equal in ((welch_t_test(one, two), False), (pooled_t_test(one, two), True)):
        theirs = stats.ttest_ind(one, two, equal_var=equal)
        assert_allclose((ours.t, ours.p, ours.df), (theirs.statistic, theirs.pvalue, theirs.df))
        assert_allclose((ours.difference.low, ours.difference.high), theirs.confidence_interval())


def test_values_without_spread_give_the_documented_t():
    assert (paired_t_test([0.0] * 5).t, paired_t_test([0.0] * 5).p) == (0, 1)
    assert (paired_t_test([0.1] * 5).t, paired_t_test([-0.1] * 5).t) == (math.inf, -math.inf)
    assert welch_t_test([1, 1], [2, 2]).p == 0
    assert (d_z([0.0] * 3), d_z([0.1] * 3), hedges_g([1, 1], [1, 1])) == (0, math.inf, 0)


def test_cliffs_delta_counts_pairs():
    one, two = np.array([0, 0, 50, 100, 100]), np.array([0, 20, 50, 50])
    wins = np.sign(one[:, None] - two[None, :]).mean()
    assert_allclose(cliffs_delta(one, two), wins)
    assert (cliffs_delta([2, 3], [0, 1]), cliffs_delta([1], [1])) == (1, 0)


small_differences = st.lists(st.integers(-6, 6).map(lambda k: k / 5), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(small_differences)
def test_the_sign_flip_test_counts_all_choices_of_signs(differences):
    sums = np.array([np.dot(signs, differences) for signs in product([1, -1], repeat=len(differences))])
    total, near = sum(differences), 1e-9
    assert sign_flip_test(differences).p == np.mean(abs(sums) >= abs(total) - near)
    assert sign_flip_test(differences, alternative="greater").p == np.mean(sums >= total - near)
    assert sign_flip_test(differences, alternative="less").p == np.mean(sums <= total + near)


def test_it_agrees_with_the_permutation_test_of_scipy_at_14_questions():
    differences = np.random.default_rng(4).normal(0.5, 1, 14)
    theirs = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=2**14)
    assert_allclose(sign_flip_test(differences).p, theirs.pvalue)


def test_30_differences_are_exact_and_31_are_close_to_it():
    rng = np.random.default_rng(0)
    thirty = rng.normal(0.3, 1, 30)
    exact = sign_flip_test(thirty)
    drawn = sign_flip_test([*thirty, 1e-9], rng=rng, n_draws=50_000)
    assert (exact.method, drawn.method) == ("exact", "50000 random sign choices")
    assert_allclose(drawn.p, exact.p, atol=4 * math.sqrt(exact.p / 50_000))
    assert sign_flip_test([*thirty, *[0] * 20]).method == "exact"  # zeros change no sum
    assert_allclose(sign_flip_test([*thirty, *[0] * 20]).p, exact.p)


def test_random_signs_never_give_a_p_of_0_and_repeat_with_their_seed():
    found = [sign_flip_test(np.ones(40), rng=np.random.default_rng(2), n_draws=999) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].p == 1 / 1000


def test_no_or_one_difference_shows_nothing():
    assert sign_flip_test([5.0]).p == 1
    assert sign_flip_test([0.0, 0.0]).p == 1
    assert sign_flip_interval([1.0, 2, 3, 4, 5]).low == -math.inf  # 2^-5 is more than 2.5 %


def test_the_interval_ends_are_means_of_subsets_by_rank():
    differences = np.random.default_rng(6).normal(2, 3, 8)
    subsets = [np.array(chosen, dtype=bool) for chosen in product([0, 1], repeat=8) if any(chosen)]
    means = np.sort([differences[chosen].mean() for chosen in subsets])
    rank = math.floor(0.025 * 2**8)
    found = sign_flip_interval(differences)
    assert_allclose((found.low, found.high), (means[rank - 1], means[-rank]))
    assert found.method == "sign-flip, exact"


@pytest.mark.parametrize("n", [6, 11, 25])
def test_the_interval_holds_what_the_test_does_not_reject(n):
    differences = np.random.default_rng(n).normal(1, 2, n)
    found = sign_flip_interval(differences, level=0.9)
    step = 1e-6
    for end, inwards in ((found.low, step), (found.high, -step)):
        assert sign_flip_test(differences - end - inwards).p > 0.1
        assert sign_flip_test(differences - end + inwards).p <= 0.1


def test_the_interval_of_many_differences_is_near_that_of_t():
    differences = np.random.default_rng(8).normal(3, 5, 200)
    found, t = (
        sign_flip_interval(differences, rng=np.random.default_rng(0)),
        paired_t_test(differences).difference,
    )
    assert_allclose((found.low, found.high), (t.low, t.high), atol=0.06)


def test_the_interval_moves_and_scales_with_the_data():
    differences = np.random.default_rng(9).normal(size=12)
    base, moved = sign_flip_interval(differences), sign_flip_interval(10 - 3 * differences)
    assert_allclose((moved.low, moved.high), (10 - 3 * base.high, 10 - 3 * base.low))


def test_differences_are_paired_by_question_whatever_the_order_and_number_of_samples():
    found = paired_differences(
        [10, 20, 70, 5, 1], ["q1", "q1", "q2", "q3", "q9"], [1, 40, 3, 9], ["q3", "q2", "q1", "q4"]
    )
    assert found.questions == ("q1", "q2", "q3")
    assert found.values.tolist() == [12, 30, 4]
    assert (found.only_first, found.only_second) == (("q9",), ("q4",))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sign_flip_test([]), "differences: got 0 values"),
        (lambda: sign_flip_test([1, math.nan]), "1 of 2 values are nan"),
        (lambda: unwrap(sign_flip_test)([1], alternative="both"), "alternative is 'both', allowed"),
        (
            lambda: sign_flip_test(np.ones(31)),
            "31 differences are more than 30: random sign choices need `rng`",
        ),
        (lambda: sign_flip_interval(np.ones(31)), "need `rng`"),
        (lambda: sign_flip_test(np.ones(31), rng=np.random.default_rng(0), n_draws=9), "n_draws is 9"),
        (lambda: paired_t_test([1.0]), "need at least 2"),
        (lambda: welch_t_test([1, 2], [1]), "second: got 1 values, need at least 2"),
        (lambda: hedges_g([1], [1, 2]), "first: got 1 values"),
        (lambda: cliffs_delta([], [1]), "first: got 0 values"),
        (lambda: paired_differences([1], ["a"], [1], ["b"]), "no question is in both arms"),
        (lambda: paired_differences([1, 2], ["a"], [1], ["b"]), "holds 1 labels for 2 values"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
