import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pipeline.statistics import (
    auc_test,
    minimum_detectable_effect,
    paired_power,
    possible_aucs,
    sign_test_p,
    smallest_significant_auc,
)


def test_power_and_detectable_effect_are_those_of_statsmodels():
    # statsmodels 0.15, TTestPower().power and .solve_power
    assert_allclose(paired_power(4.33, 14, 8), 0.46627291, rtol=1e-6)
    assert_allclose(paired_power(0.3, 40, 1, alpha=0.01), 0.22410963, rtol=1e-6)
    assert_allclose(minimum_detectable_effect(14, 8), 8 * 0.81014667, rtol=1e-6)


def test_power_is_the_share_of_simulated_studies_that_find_the_effect():
    rng, n_studies = np.random.default_rng(0), 3000
    true = rng.normal(5, 8, (n_studies, 20))
    noise = rng.normal(0, 25, (2, n_studies, 20, 5)).mean(axis=3)
    differences = true + noise[0] - noise[1]
    t = differences.mean(axis=1) / (differences.std(axis=1, ddof=1) / math.sqrt(20))
    expected = paired_power(5, 20, 8, sd_within=25, n_samples=5)
    assert_allclose(np.mean(abs(t) > 2.093024), expected, atol=3 * math.sqrt(0.25 / n_studies))


def test_the_detectable_effect_has_the_power_it_was_asked_for():
    for n, power in ((2, 0.5), (14, 0.8), (300, 0.99)):
        effect = minimum_detectable_effect(n, 8.0, sd_within=20.0, n_samples=3, power=power)
        assert_allclose(paired_power(effect, n, 8.0, sd_within=20.0, n_samples=3), power, atol=1e-6)
        assert paired_power(-effect, n, 8.0, sd_within=20.0, n_samples=3) == pytest.approx(power)


def test_no_effect_is_found_as_often_as_alpha_and_more_questions_beat_more_samples():
    assert_allclose(paired_power(0, 14, 8), 0.05)
    few = paired_power(4.33, 14, 8, sd_within=24, n_samples=100)
    many = paired_power(4.33, 50, 8, sd_within=24, n_samples=20)
    assert_allclose((few, many), (0.39, 0.80), atol=0.04)
    assert paired_power(4.33, 14, 8, sd_within=24, n_samples=10**6) < 0.47


def test_seven_of_nine_domains_are_not_many():
    assert_allclose(sign_test_p(7, 9), 0.179688, atol=1e-6)
    assert sign_test_p(np.int64(2), 9) == sign_test_p(7, 9)
    assert sign_test_p(9, 9) == 2**-8


@pytest.mark.parametrize(("split", "area"), [((5, 5), 0.84), ((4, 5), 0.90), ((5, 6), 0.83), ((3, 8), 0.88)])
def test_what_so_few_domains_can_show(split, area):
    assert_allclose(smallest_significant_auc(*split), area, atol=0.005)
    assert smallest_significant_auc(*split, two_sided=True) > smallest_significant_auc(*split)


def test_an_area_of_085_with_the_direction_chosen_afterwards():
    five, four = np.arange(10), np.arange(9)
    assert_allclose(auc_test(five, [0, 0, 0, 1, 0, 1, 1, 0, 1, 1], direction="free").p, 0.0952, atol=1e-4)
    assert math.isnan(smallest_significant_auc(2, 3))
    assert smallest_significant_auc(4, 5, two_sided=True) > 0.85
    assert roc_steps(four, 4, 5)


def roc_steps(scores, n_positive, n_negative):
    rng = np.random.default_rng(0)
    possible = possible_aucs(n_positive, n_negative, ties=False)
    labels = np.array([1] * n_positive + [0] * n_negative)
    found = {auc_test(scores, rng.permutation(labels), direction="free").auc.value for _ in range(50)}
    return all(np.isclose(possible, value).any() for value in found)


def test_the_published_0849_is_no_area_over_domains():
    splits = [(m, n) for m in range(1, 11) for n in range(1, 12 - m)]
    assert not any((np.round(possible_aucs(m, n), 3) == 0.849).any() for m, n in splits)
    assert (np.round(possible_aucs(3, 7), 4) == 0.8095).any()
    assert (np.round(possible_aucs(4, 4), 4) == 0.8125).any()
    assert possible_aucs(1, 2).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert possible_aucs(1, 2, ties=False).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_power(1, 1, 1), "1 questions with 1 samples: need at least 2 and 1"),
        (lambda: paired_power(1, 9, 0), "not both 0"),
        (lambda: paired_power(1, 9, -1.0, sd_within=2), "sd_between -1.0"),
        (lambda: paired_power(1, 9, math.nan), "sd_between nan"),
        (lambda: minimum_detectable_effect(9, 1, power=0.05), "power 0.05 is not above alpha 0.05"),
        (lambda: minimum_detectable_effect(9, 1, power=1.0), "power is 1.0, allowed"),
        (lambda: sign_test_p(3, 2), "3 of 2"),
        (lambda: sign_test_p(0, 0), "0 of 0"),
        (lambda: possible_aucs(0, 5), "0 positives and 5 negatives"),
    ],
)
def test_designs_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
