import math
from inspect import unwrap  # past the type checker of the tests

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import cohen_kappa_score

from pipeline.statistics import alpha_interval, cohens_kappa, kappa_interval, krippendorffs_alpha

NAN = math.nan
# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: four observers, twelve units
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(scale, alpha):
    assert_allclose(krippendorffs_alpha(PUBLISHED, scale=scale), alpha, atol=5e-4)
    permuted = np.array(PUBLISHED)[[2, 0, 3, 1]][:, ::-1]
    assert_allclose(krippendorffs_alpha(permuted, scale=scale), krippendorffs_alpha(PUBLISHED, scale=scale))


def test_alpha_in_points_is_one_minus_disagreement_within_items_over_disagreement_of_all():
    rng = np.random.default_rng(0)
    ratings = rng.normal(50, 20, (3, 9)).round() + rng.normal(0, 5, 9).round()
    within = np.mean(
        [(a - b) ** 2 for a, b in ((0, 1), (0, 2), (1, 2)) for a, b in ((ratings[a], ratings[b]),)]
    )
    flat = ratings.ravel()
    overall = ((flat[:, None] - flat[None, :]) ** 2).sum() / (27 * 26)
    assert_allclose(krippendorffs_alpha(ratings, scale="interval"), 1 - within / overall)


def test_alpha_is_blind_to_what_its_scale_does_not_know():
    ratings = np.random.default_rng(1).integers(0, 4, (3, 12)).astype(float)
    renamed = np.array([7.0, 0.0, 100.0, 3.0])[ratings.astype(int)]
    assert_allclose(
        krippendorffs_alpha(renamed, scale="nominal"), krippendorffs_alpha(ratings, scale="nominal")
    )
    for scale, change in (("ordinal", np.exp), ("interval", lambda rating: 3 * rating - 40)):
        assert_allclose(
            krippendorffs_alpha(change(ratings), scale=scale), krippendorffs_alpha(ratings, scale=scale)
        )


def test_items_with_one_rating_say_nothing():
    alone = np.column_stack([PUBLISHED, [9, NAN, NAN, NAN]])
    assert krippendorffs_alpha(alone, scale="interval") == krippendorffs_alpha(PUBLISHED, scale="interval")
    found = alpha_interval(alone, scale="interval", rng=np.random.default_rng(0), n_resamples=300)
    assert found.n == 11
    assert found.low < 0.849 < found.high <= 1


def test_agreement_without_any_variation_is_not_defined():
    assert math.isnan(krippendorffs_alpha([[3, 3], [3, 3]], scale="nominal"))
    assert math.isnan(cohens_kappa("aaa", "aaa"))
    with pytest.raises(ValueError, match="the statistic is nan on all 3 units"):
        kappa_interval("aaa", "aaa", rng=np.random.default_rng(0))


def test_full_agreement_is_1_and_the_reverse_below_0():
    assert krippendorffs_alpha([[1, 2, 3], [1, 2, 3]], scale="ordinal") == 1
    assert krippendorffs_alpha([[1, 2, 1, 2], [2, 1, 2, 1]], scale="nominal") < 0
    assert (cohens_kappa("abab", "abab"), cohens_kappa("abab", "baba")) == (1, -1)


def test_kappa_of_a_two_by_two_table():
    # 20 both yes, 15 both no, 5 + 10 apart: observed 0.7, by chance 0.5
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert_allclose(cohens_kappa(first, second), 0.4)
    found = kappa_interval(first, second, rng=np.random.default_rng(0))
    assert_allclose((found.value, found.low, found.high), (0.4, 0.13, 0.64), atol=0.04)
    assert found.n == 50


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_is_that_of_scikit_learn(weights):
    rng = np.random.default_rng(2)
    first = rng.integers(0, 5, 60)
    second = np.clip(first + rng.integers(-1, 2, 60), 0, 4)
    theirs = cohen_kappa_score(first, second, weights=None if weights == "none" else weights)
    assert_allclose(cohens_kappa(first, second, weights=weights), theirs)
    named = [list("abcde"[i] for i in codes) for codes in (first, second)]
    assert_allclose(cohens_kappa(*named, weights=weights, order="abcde"), theirs)


def test_weights_go_by_the_distance_of_scores():
    near, far = (
        cohens_kappa([0, 0, 100], [0, 1, 100], weights="linear"),
        cohens_kappa([0, 0, 100], [0, 99, 100]),
    )
    assert near > 0.98
    assert far < 0.6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cohens_kappa("ab", "a"), "first holds 2 values and second 1"),
        (lambda: cohens_kappa([], []), "got no items"),
        (lambda: cohens_kappa([1, None], [1, 2]), "a label is None or nan"),
        (lambda: cohens_kappa([1, NAN], [1, 2]), "a label is None or nan"),
        (lambda: cohens_kappa("ab", "bb", weights="linear"), "need numbers or an `order`"),
        (lambda: cohens_kappa("ax", "aa", order="ab"), "label 'x' is not in the order"),
        (lambda: unwrap(cohens_kappa)("ab", "ab", weights="cubic"), "weights is 'cubic', allowed"),
        (lambda: krippendorffs_alpha([1, 2], scale="nominal"), r"got shape \(2,\)"),
        (lambda: krippendorffs_alpha([[1, NAN], [NAN, 2]], scale="nominal"), "no item has two ratings"),
        (lambda: krippendorffs_alpha([[1, math.inf], [1, 2]], scale="nominal"), "one is infinite"),
        (lambda: unwrap(krippendorffs_alpha)([[1], [1]], scale="ratio"), "scale is 'ratio', allowed"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
