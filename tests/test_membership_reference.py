import math
from inspect import unwrap  # past the type checker of the tests

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pipeline.membership import (
    adjusted,
    loss,
    min_k,
    min_k_both,
    premia,
    premia_pair,
    reference_difference,
    zlib_score,
)

RNG = np.random.default_rng(0)
LOG_PROBS, REFERENCE = -RNG.exponential(2, 30), -RNG.exponential(3, 30)


def test_premia_of_a_pair_as_logs_and_as_ratios():
    chosen, rejected = ([-1.0, -2.0], [-2.0, -2.5]), ([-3.0], [-2.0])
    assert premia_pair(*chosen, *rejected) == 1.5 - (-1.0)
    assert_allclose(premia_pair(*chosen, *rejected, of="ratios"), math.exp(1.5) - math.exp(-1.0))
    # the two order pairs differently
    twice = premia_pair([-1.0], [-2.0], [-3.0], [-2.5]), premia_pair([-1.0], [-1.5], [-9.0], [-1.0])
    ratios = [math.e - math.exp(-0.5), math.exp(0.5) - math.exp(-8)]
    assert twice[0] < twice[1]
    assert ratios[0] > ratios[1]


def test_long_answers_leave_float_as_ratios_but_not_as_logs():
    long, likely = np.full(400, -3.0), np.full(400, -1.0)
    assert premia_pair(likely, long, long, likely) == 1600
    assert premia_pair(long, likely, long, likely, of="ratios") == 0
    with pytest.raises(
        ValueError, match="log ratio 800.0 overflows as a ratio, allowed: up to 709; use of='l"
    ):
        premia_pair(likely, long, long, likely, of="ratios")


def test_adjusting_by_difference_ratio_and_log_ratio():
    assert adjusted(-2.0, -3.0) == adjusted(-2.0, -3.0, "difference") == 1.0
    assert adjusted(-2, -3, "ratio") == -2 / -3
    assert_allclose(adjusted(np.float32(-2), np.float32(-3), "log_ratio"), math.log(2 / 3))
    assert_allclose(adjusted(8.0, 2.0, "log_ratio"), math.log(4))
    assert math.isnan(adjusted(-1.0, math.nan, "ratio"))


def test_zlib_cancels_in_a_ratio_and_stays_in_a_difference():
    for how, cancels in (("ratio", True), ("log_ratio", True), ("difference", False)):
        sizes = [adjusted(zlib_score(LOG_PROBS, z), zlib_score(REFERENCE, z), how) for z in (50, 500)]
        assert np.isclose(*sizes) == cancels
        assert np.isclose(sizes[0], adjusted(loss(LOG_PROBS), loss(REFERENCE), how)) == cancels


def test_min_k_of_both_models_on_own_and_on_shared_tokens():
    target, reference = [-5.0, -1.0, -1.0, -4.0], [-2.0, -9.0, -1.0, -3.0]
    assert min_k_both(target, reference, 0.5) == (-4.5, -6.0)
    assert min_k_both(target, reference, 0.5, tokens="shared") == (-4.5, -2.5)
    assert adjusted(*min_k_both(target, reference, 0.5)) == 1.5
    assert min_k_both(target, reference, 0.5)[0] == min_k(target, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: premia([-1.0], [-1.0, -2.0]), "reference_log_probs: got 2 tokens for the 1 of log_probs"),
        (lambda: reference_difference([-1.0], []), "different tokenizers compare only by totals"),
        (lambda: reference_difference([-1.0], [0.2]), "reference_log_probs: 0.2 at token 0"),
        (lambda: unwrap(premia_pair)([], [], [], [], of="odds"), "of is 'odds', allowed"),
        (lambda: unwrap(min_k_both)([], [], tokens="all"), "tokens is 'all', allowed"),
        (lambda: unwrap(adjusted)(1.0, 1.0, "quotient"), "how is 'quotient', allowed: 'difference', 'ratio'"),
        (lambda: adjusted(-1.0, 0.0, "ratio"), "target -1, reference 0: no ratio; use how='difference'"),
        (lambda: adjusted(-1.0, 0.5, "log_ratio"), "needs scores of one sign"),
        (lambda: adjusted(-math.inf, -1.0), "allowed are finite scores, and nan"),
    ],
)
def test_bad_input_is_refused_with_where_what_and_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
