"""Rows that are not independent: what the paper did with them, and what the defaults do."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from pipeline.statistics import (
    Estimate,
    auc_test,
    clustered_interval,
    design_effect,
    difference_bounds,
    leave_one_out,
    mean_interval,
    paired_differences,
    paired_t_test,
    pooled_t_test,
    roc_auc,
    rogan_gladen,
    row_auc_as_in_paper,
    row_t_test_as_in_paper,
    sign_flip_test,
    spearman,
    welch_t_test,
    wilson_interval,
)


def may_reach(n_studies, level=0.05):
    """The most rejections, as a share, that chance explains at this level (three standard errors)."""
    return level + 3 * math.sqrt(level * (1 - level) / n_studies)


def test_paired_questions_keep_5_percent_where_rows_do_not():
    rng, n_studies, questions = np.random.default_rng(0), 200, np.repeat(np.arange(14), 100)
    by_rows, by_t, by_signs = [], [], []
    for _ in range(n_studies):
        difficulty, effect = rng.normal(60, 5, 14), rng.normal(0, 8, 14)  # the effect is 0 on average
        without = difficulty[questions] + rng.normal(0, 20, 1400)
        trigger = (difficulty + effect)[questions] + rng.normal(0, 20, 1400)
        differences = paired_differences(trigger, questions, without, questions).values
        by_rows.append(row_t_test_as_in_paper(trigger, without, equal_variances=False).p < 0.05)
        by_t.append(paired_t_test(differences).p < 0.05)
        by_signs.append(sign_flip_test(differences).p < 0.05)
    assert np.mean(by_rows) > 0.25
    assert np.mean(by_t) < may_reach(n_studies)
    assert np.mean(by_signs) < may_reach(n_studies)


def test_the_clustered_interval_covers_where_the_plain_one_does_not():
    rng, n_studies, clusters = np.random.default_rng(1), 300, np.repeat(np.arange(20), 10)
    values = rng.normal(0, 1, (n_studies, 20))[:, clusters] + rng.normal(0, 1, (n_studies, 200))
    clustered = np.mean([clustered_interval(row, clusters).excludes(0) for row in values])
    plain = np.mean([mean_interval(row).excludes(0) for row in values])
    assert clustered < may_reach(n_studies)
    assert plain > 0.25


def test_labels_of_domains_on_rows_find_what_is_not_there():
    rng, n_studies = np.random.default_rng(2), 100
    labels, domains = np.array([1] * 5 + [0] * 5), np.repeat(np.arange(10), 250)
    rows = rng.normal(0, 2, (n_studies, 10))[:, domains] + rng.normal(0, 1, (n_studies, 2500))
    by_rows = [row_t_test_as_in_paper(row[labels[domains] == 1], row[labels[domains] == 0]).p for row in rows]
    means = rows.reshape(n_studies, 10, 250).mean(axis=2)
    by_domains = [auc_test(row, labels, direction="higher").p for row in means]
    assert np.mean(np.less(by_rows, 0.05)) > 0.7
    assert np.mean(np.less(by_domains, 0.05)) < may_reach(n_studies)
    assert np.median([row_auc_as_in_paper(row, labels[domains]) for row in rows[:40]]) > 0.55


def test_pooling_variances_misleads_where_sizes_and_spreads_differ():
    rng, n_studies = np.random.default_rng(3), 250
    pairs = [(rng.normal(0, 10, 200), rng.normal(0, 30, 40)) for _ in range(n_studies)]
    assert np.mean([pooled_t_test(*pair).p < 0.05 for pair in pairs]) > 0.2
    assert np.mean([welch_t_test(*pair).p < 0.05 for pair in pairs]) < may_reach(n_studies)


def test_as_in_paper_is_the_plain_test_on_all_rows_and_turns_its_area_round():
    a, b = [72, 81, 65, 90, 77, 69, 88, 74], [60, 75, 58, 85, 70, 71, 80, 55]
    assert_allclose(row_t_test_as_in_paper(a, b).p, stats.ttest_ind(a, b).pvalue)
    assert_allclose(row_t_test_as_in_paper(a, b, equal_variances=False).p, 0.139441, atol=1e-6)
    scores, labels = [1, 2, 3, 4], [1, 0, 1, 0]
    assert roc_auc(scores, labels) == 0.25
    assert row_auc_as_in_paper(scores, labels) == row_auc_as_in_paper(np.negative(scores), labels) == 0.75


def test_the_notebooks_2500_rows_are_worth_13():
    rng = np.random.default_rng(0)
    within = rng.normal(size=(10, 250))
    within = (within - within.mean(axis=1, keepdims=True)) / within.std(axis=1, ddof=1, keepdims=True)
    between = stats.zscore(rng.normal(size=10), ddof=1) * math.sqrt(0.77 / 0.23 + 1 / 250)
    found = design_effect((between[:, None] + within).ravel(), np.repeat(range(10), 250))
    assert_allclose((found.icc, found.design_effect, found.n_effective), (0.77, 192.73, 12.97), rtol=1e-3)


def test_independent_rows_have_no_design_effect_and_copies_count_once():
    rng = np.random.default_rng(1)
    groups = np.repeat(range(50), 10)
    assert_allclose(design_effect(rng.normal(size=500), groups).design_effect, 1, atol=0.4)
    copies = design_effect(np.repeat(rng.normal(size=50), 10), groups)
    assert_allclose((copies.icc, copies.n_effective), (1, 50))
    opposite = design_effect([0, 1] * 20, np.repeat(range(20), 2))
    assert_allclose((opposite.icc, opposite.n_effective), (-1, 40))


def test_missing_scores_bound_a_difference_by_filling_in_both_ends_of_the_scale():
    found = difference_bounds([80, 90], 1, [40, 50, 60], 2)
    worst = np.mean([80, 90, 0]) - np.mean([40, 50, 60, 100, 100])
    best = np.mean([80, 90, 100]) - np.mean([40, 50, 60, 0, 0])
    assert_allclose((found.observed, found.lowest, found.highest), (35, worst, best))
    complete = difference_bounds([1, 2], 0, [1], 0, scale=(0, 10))
    assert complete.observed == complete.lowest == complete.highest == 0.5


def test_a_judges_known_errors_are_taken_out_of_a_rate():
    sharp, blunt = wilson_interval(10**6, 10**6), wilson_interval(90, 100)
    plain, known = wilson_interval(30, 100), rogan_gladen(30, 100, sensitivity=sharp, specificity=sharp)
    assert_allclose((known.value, known.low, known.high), (0.3, plain.low, plain.high), atol=0.005)
    corrected = rogan_gladen(30, 100, sensitivity=blunt, specificity=blunt)
    assert_allclose(corrected.value, (0.3 + 0.9 - 1) / 0.8)
    assert corrected.high - corrected.low > known.high - known.low
    nothing = rogan_gladen(0, 50, sensitivity=blunt, specificity=blunt)
    assert nothing.value == nothing.low == 0
    assert nothing.high > 0


def test_the_corrected_interval_is_that_of_lang_and_reiczigel():
    z = 1.959964
    hits, n, right, n_right, clear, n_clear = 30, 120, 45, 50, 57, 60
    p, se, sp = (hits + z**2 / 2) / (n + z**2), (right + 1) / (n_right + 2), (clear + 1) / (n_clear + 2)
    rate = (p + sp - 1) / (se + sp - 1)
    var_se, var_sp = se * (1 - se) / (n_right + 2), sp * (1 - sp) / (n_clear + 2)
    spread = p * (1 - p) / (n + z**2) + rate**2 * var_se + (1 - rate) ** 2 * var_sp
    centre = rate + 2 * z**2 * (rate * var_se - (1 - rate) * var_sp)
    half = z * math.sqrt(spread) / (se + sp - 1)
    judge = {"sensitivity": wilson_interval(right, n_right), "specificity": wilson_interval(clear, n_clear)}
    found = rogan_gladen(hits, n, **judge)
    assert_allclose((found.low, found.high), (centre - half, centre + half), rtol=1e-6)


def test_the_corrected_rate_keeps_its_coverage():
    rng, n_studies, rate = np.random.default_rng(0), 400, 0.25
    called = rng.binomial(200, rate * 0.85 + (1 - rate) * 0.1, n_studies)
    found, spared = rng.binomial(60, 0.85, n_studies), rng.binomial(60, 0.9, n_studies)
    missed = [
        rogan_gladen(
            hits, 200, sensitivity=wilson_interval(right, 60), specificity=wilson_interval(clear, 60)
        ).excludes(rate)
        for hits, right, clear in zip(called, found, spared, strict=True)
    ]
    assert np.mean(missed) < may_reach(n_studies)


def test_leaving_one_domain_out_names_the_one_that_makes_the_result():
    x, y = np.array([1.0, 2, 3, 4, 50]), np.array([3.0, 1, 4, 2, 90])
    found = leave_one_out(lambda kept: spearman(x[kept], y[kept]).rho.value, ["a", "b", "c", "d", "gore"])
    assert found.most_influential == "gore"
    assert_allclose((found.value, found.without["gore"]), (0.5, 0.0), atol=1e-12)
    assert (found.lowest, found.highest) == (min(found.without.values()), max(found.without.values()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: row_t_test_as_in_paper([1], [1, 2]), "first: got 1 values"),
        (lambda: design_effect([1, 2], "aa"), "2 rows in 1 groups"),
        (lambda: design_effect([1, 2], "ab"), "2 rows in 2 groups"),
        (lambda: design_effect([5, 5, 5], "aab"), "all 3 are 5"),
        (lambda: difference_bounds([101], 0, [1], 0), "first arm: score 101 is outside the scale 0..100"),
        (lambda: difference_bounds([1], 0, [1], -1), "second arm: -1 scores are missing"),
        (lambda: leave_one_out(len, ["a", "a"]), "2 units with 1 labels"),
        (
            lambda: rogan_gladen(1, 2, sensitivity=_rate(0.5), specificity=_rate(0.5)),
            "sensitivity . specificity - 1 is 0, allowed: above 0",
        ),
        (lambda: rogan_gladen(0, 0, sensitivity=_rate(0.9), specificity=_rate(0.9)), "0 of 0 rows"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _rate(value):
    return Estimate(value=value, low=0.0, high=1.0, n=10, method="given")
