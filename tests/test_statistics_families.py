import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from pipeline.statistics import benjamini_hochberg, holm, random_effects

P = [0.001, 0.008, 0.012, 0.03, 0.04, 0.049, 0.2, 0.5, 0.9]

# log risk ratios and errors of the 13 BCG vaccine trials (Colditz et al. 1994, JAMA 271)
BCG = np.array(
    [
        (-0.889311, 0.570600),
        (-1.585389, 0.441114),
        (-1.348073, 0.644490),
        (-1.441551, 0.141457),
        (-0.217547, 0.226297),
        (-0.786116, 0.083100),
        (-1.620898, 0.472247),
        (0.011952, 0.062941),
        (-0.469418, 0.237559),
        (-1.371345, 0.270231),
        (-0.339359, 0.111410),
        (0.445913, 0.729730),
        (-0.017314, 0.267217),
    ]
)


def test_the_anchors_of_both_adjustments():
    assert_allclose(holm(P), [0.009, 0.064, 0.084, 0.18, 0.2, 0.2, 0.6, 1, 1])
    expected = [0.009, 0.036, 0.036, 0.0675, 0.072, 0.0735, 0.2571, 0.5625, 0.9]
    assert_allclose(benjamini_hochberg(P), expected, atol=5e-5)
    assert [int((np.array(p) < 0.05).sum()) for p in (P, holm(P), benjamini_hochberg(P))] == [6, 1, 3]


def test_order_does_not_matter_and_ties_stay_ties():
    p = np.array([0.2, 0.01, 0.01, 0.7, 0.03])
    shuffled = np.array([3, 0, 4, 2, 1])
    for adjust in (holm, benjamini_hochberg):
        assert_allclose(adjust(p[shuffled]), adjust(p)[shuffled])
        assert adjust(p)[1] == adjust(p)[2]
        assert adjust([0.04]) == [0.04]


def test_benjamini_hochberg_is_that_of_scipy_and_holm_rejects_step_by_step():
    p = np.random.default_rng(0).random(30) ** 2
    assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    ordered = np.sort(p)
    passed = np.cumprod(ordered <= 0.3 / np.arange(30, 0, -1)).sum()
    assert (holm(p) <= 0.3).sum() == passed


@pytest.mark.parametrize(
    ("p", "message"), [([], "got 0"), ([0.1, math.nan], "nan"), ([0.1, 1.2], "1.2 is no p value")]
)
def test_what_is_no_family_of_p_values_is_refused(p, message):
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match=message):
            adjust(p)


def test_the_bcg_trials_pool_as_published():
    # metafor's documentation and statsmodels' combine_effects (method "dl", use_t) agree on these
    found = random_effects(*BCG.T)
    assert_allclose((found.q, found.tau2, found.i2), (152.2330, 0.3088, 0.9212), atol=2e-3)
    assert_allclose(found.mean.value, -0.714117, atol=2e-6)
    assert_allclose((found.mean.low, found.mean.high), (-1.107821, -0.320413), atol=2e-6)
    half = stats.t.ppf(0.975, 11) * math.sqrt(found.tau2 + 0.180697**2)
    assert_allclose(found.prediction.high - found.mean.value, half, rtol=1e-5)


def test_domains_that_agree_have_no_variance_between_them():
    found = random_effects([4.0, 4.1, 3.9, 4.0], [1.0, 2.0, 1.0, 1.5])
    assert (found.tau2, found.i2) == (0, 0)
    assert found.scale < 1
    classical = stats.t.ppf(0.975, 3) / math.sqrt(1 + 0.25 + 1 + 1 / 2.25)
    modified = random_effects([4.0, 4.1, 3.9, 4.0], [1.0, 2.0, 1.0, 1.5], least_scale=1.0)
    assert_allclose(modified.mean.high - modified.mean.value, classical)
    assert random_effects([2.0, 2.0], [1.0, 1.0]).q == 0


def test_equal_errors_give_the_t_interval_of_the_effects():
    effects = [1.0, 8.0, -3.0, 5.0, 4.0]
    found, t = random_effects(effects, [0.5] * 5).mean, stats.ttest_1samp(effects, 0).confidence_interval()
    assert_allclose((found.value, found.low, found.high), (3, *t))


def test_two_domains_predict_nothing():
    assert random_effects([1.0, 2.0], [0.5, 0.5]).prediction.high == math.inf


def test_the_pooled_interval_keeps_its_level_where_counting_precision_alone_does_not():
    rng = np.random.default_rng(0)
    n_studies, errors = 400, np.linspace(1.5, 2.5, 9)
    effects = rng.normal(4, np.sqrt(errors**2 + 3**2), (n_studies, 9))
    pooled = [random_effects(row, errors) for row in effects]
    missed = np.mean([result.mean.excludes(4) for result in pooled])
    fixed = (effects @ errors**-2) / (errors**-2).sum()
    assert abs(missed - 0.05) < 3 * math.sqrt(0.05 * 0.95 / n_studies)
    assert np.mean(abs(fixed - 4) > 1.96 / math.sqrt((errors**-2).sum())) > 0.2
    new = rng.normal(4, 3, n_studies)
    outside = np.mean(
        [result.prediction.excludes(effect) for result, effect in zip(pooled, new, strict=True)]
    )
    assert outside < 0.15  # as its docstring admits


@pytest.mark.parametrize(
    ("effects", "errors", "message"),
    [
        ([1.0], [1.0], "effects: got 1 values, need at least 2"),
        ([1.0, 2.0], [1.0, 0.0], "standard_errors: 0 at 1, allowed: above 0"),
        ([1.0, 2.0], [1.0, 1.0, 1.0], "effects holds 2 values and standard_errors 3"),
        ([1.0, math.nan], [1.0, 1.0], "effects: 1 of 2 values are nan"),
    ],
)
def test_domains_that_cannot_be_pooled_are_refused(effects, errors, message):
    with pytest.raises(ValueError, match=message):
        random_effects(effects, errors)
