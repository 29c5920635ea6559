import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from pipeline.membership import (
    adjusted,
    compressed_bytes,
    loss,
    min_k,
    min_k_plus_plus,
    n_lowest,
    premia,
    premia_pair,
    reference_difference,
    score_all,
    why_unscored,
    zlib_bits,
    zlib_score,
)
from pipeline.membership.as_in_paper import min_k_as_in_paper, zlib_ratio_as_in_paper
from pipeline.membership.token_scores import n_flat

TEXT = "Take the dose twice a day, and see a doctor if it does not help."
SIZE = len(zlib.compress(TEXT.encode()))


def token_statistics(n_tokens=37, vocabulary=500, seed=0, scale=3.0, dtype=np.float64):
    """Token log-probabilities with mean and std of ln p, from random logits, in plain centred form."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n_tokens, vocabulary)).astype(dtype)
    logits -= logits.max(axis=1, keepdims=True)
    all_log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    probs = np.exp(all_log_probs)
    mean = (probs * all_log_probs).sum(axis=1)
    std = np.sqrt((probs * (all_log_probs - mean[:, None]) ** 2).sum(axis=1))
    tokens = np.array([rng.choice(vocabulary, p=row / row.sum()) for row in probs.astype(np.float64)])
    return all_log_probs, all_log_probs[np.arange(n_tokens), tokens], mean, std


ALL_LOG_PROBS, LOG_PROBS, MEAN, STD = token_statistics()
REFERENCE = token_statistics(seed=1)[1]


def public_scores(all_log_probs, log_probs, text, ratio):
    """What mink-plus-plus computes, line by line; mimir's scores are these with the sign turned."""
    log_likelihood = log_probs.mean()
    mu = (np.exp(all_log_probs) * all_log_probs).sum(-1)
    sigma = (np.exp(all_log_probs) * np.square(all_log_probs)).sum(-1) - np.square(mu)
    standardised = (log_probs - mu) / np.sqrt(sigma)
    k = int(len(log_probs) * ratio)
    return {
        "loss": log_likelihood,
        "zlib": log_likelihood / len(zlib.compress(bytes(text, "utf-8"))),
        "min_k": np.mean(np.sort(log_probs)[:k]),
        "min_k_plus_plus": np.mean(np.sort(standardised)[:k]),
    }


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("kind", [np.float64, np.float32, list])
def test_the_scores_are_those_of_the_public_implementations(ratio, kind):
    public = public_scores(ALL_LOG_PROBS, LOG_PROBS, TEXT, ratio)
    given = [x.tolist() if kind is list else x.astype(kind) for x in (LOG_PROBS, MEAN, STD)]
    found = score_all(given[0], n_compressed_bytes=SIZE, mean=given[1], std=given[2], ratio=ratio)
    assert_allclose(found.loss, public["loss"], rtol=1e-5)
    assert_allclose(found.zlib_score, public["zlib"], rtol=1e-5)
    assert_allclose(found.min_k, public["min_k"], rtol=1e-5)
    assert_allclose(found.min_k_plus_plus, public["min_k_plus_plus"], rtol=1e-5)


def test_each_score_by_hand():
    log_probs = [-1.0, -4.0, -0.5, -2.5, -2.0]
    assert loss(log_probs) == -2.0
    assert zlib_score(log_probs, 40) == -2.0 / 40
    assert_allclose(zlib_bits(log_probs, 40), -10 / math.log(2) / 320)
    assert min_k(log_probs, 0.4) == -3.25
    assert min_k_plus_plus(log_probs, [-2.0] * 5, [0.5, 1, 2, 0.25, 1], 0.4) == -2.0
    assert reference_difference(log_probs, [-3.0] * 5) == 1.0
    assert premia(log_probs, [-3.0] * 5) == 5.0


def test_higher_is_more_like_a_member_for_every_score():
    familiar = LOG_PROBS * 0.5
    for score in (
        loss,
        min_k,
        lambda x: zlib_score(x, SIZE),
        lambda x: zlib_bits(x, SIZE),
        lambda x: min_k_plus_plus(x, MEAN, STD),
        lambda x: reference_difference(x, REFERENCE),
        lambda x: premia(x, REFERENCE),
        lambda x: premia_pair(x, REFERENCE, LOG_PROBS, REFERENCE),
        lambda x: adjusted(loss(x), loss(REFERENCE)),
    ):
        assert score(familiar) > score(LOG_PROBS)


def test_the_inputs_stay_as_they_were():
    before = LOG_PROBS.copy()
    score_all(LOG_PROBS, n_compressed_bytes=9, mean=MEAN, std=STD, reference_log_probs=REFERENCE)
    assert (before == LOG_PROBS).all()


@pytest.mark.parametrize(
    ("m", "ratio", "k"),
    [
        (100, 0.29, 29),  # 100 * 0.29 is 28.999..., where the public implementations keep 28
        (100, 0.28, 28),
        (100, 0.2899, 28),
        (99, 0.29, 28),
        (4, 0.2, 1),  # 0.8 of a token: nan in the public implementations
        (5, 0.2, 1),
        (9, 0.2, 1),
        (10, 0.2, 2),
        (1, 1.0, 1),  # k = m stops the notebook
        (7, 1, 7),
        (7, 0, 1),
    ],
)
def test_how_many_tokens_are_the_lowest(m, ratio, k):
    assert n_lowest(m, ratio) == k
    assert n_lowest(np.int64(m), ratio) == k
    log_probs = -np.arange(1.0, m + 1)[::-1]
    assert_allclose(min_k(log_probs, ratio), log_probs[:k].mean())


@given(st.integers(1, 500), st.integers(0, 100))
def test_a_ratio_in_percent_is_rounded_down_exactly(m, percent):
    assert n_lowest(m, percent / 100) == max(1, m * percent // 100)


def test_an_answer_of_one_token_has_a_score():
    assert min_k([-3.0]) == loss([-3.0]) == -3.0
    assert min_k_plus_plus([-3.0], [-2.0], [0.5]) == -2.0
    assert why_unscored([-3.0]) is None


def test_flat_and_certain_positions_count_0_and_are_counted():
    std = [0.0, 1e-7, 1e-6, 2.0]
    found = min_k_plus_plus([-5.0, -5.0, -2.000001, -6.0], [-2.0] * 4, std, 1.0)
    assert_allclose(found, (0 + 0 - 1 - 2) / 4, rtol=1e-6)
    assert n_flat(std) == 2
    assert score_all([-5.0] * 4, mean=[-2.0] * 4, std=std).n_flat == 2


def test_a_uniform_distribution_scores_0_where_the_public_variance_is_noise():
    # ln p is the same everywhere; as E[x^2] - E[x]^2 in float32 its variance is rounding, here below 0
    log_p = np.full(151_936, -math.log(151_936), dtype=np.float32)
    probs = np.exp(log_p)
    public_variance = (probs * log_p**2).sum() - (probs * log_p).sum() ** 2
    assert abs(public_variance) > 1e-12  # far from the true 0, of either sign
    assert min_k_plus_plus([log_p[0]] * 3, [log_p[0]] * 3, [0.0] * 3) == 0
    with pytest.raises(ValueError, match="std: nan at token 1, 1 of 2 are nan or infinite"):
        min_k_plus_plus([-1.0, -1.0], [-1.0, -1.0], [1.0, math.nan])


def test_zlib_bits_is_free_of_length_and_the_classic_score_is_not():
    text, log_probs = "abc, and so on. ", np.full(5, -2.0)
    short, long = compressed_bytes(text), 10 * compressed_bytes(text)
    assert_allclose(zlib_bits(np.tile(log_probs, 10), long), zlib_bits(log_probs, short))
    assert_allclose(zlib_score(np.tile(log_probs, 10), long), zlib_score(log_probs, short) / 10)


def test_the_compressed_size_is_that_of_utf8_at_level_6():
    text = "Größe 🌊 " * 30
    assert compressed_bytes(text) == len(zlib.compress(text.encode("utf-8"))) == compressed_bytes(text, 6)
    assert compressed_bytes(text, 0) > len(text.encode("utf-8")) > compressed_bytes(text, 9)
    assert compressed_bytes("") == 8


def test_the_notebooks_scores_in_its_signs():
    rng = np.random.default_rng(0)
    text, log_probs = " ".join(rng.choice(["ab", "abc", "bcd", "cab"], 600)), LOG_PROBS[:9]
    bits_per_byte = len(zlib.compress(text.encode(), 9)) * 8 / len(text.encode())
    assert_allclose(zlib_ratio_as_in_paper(log_probs, text), np.exp(-log_probs.mean()) / bits_per_byte)
    k = max(1, int(9 * 0.2))
    assert_allclose(min_k_as_in_paper(log_probs), -np.partition(log_probs, k)[:k].mean())
    assert min_k_as_in_paper([-2.0]) == 2.0  # np.partition(x, 1) of one value raises there
    assert math.isnan(min_k_as_in_paper([]))  # 0.0 there, its best score


def test_rounding_above_0_is_no_error():
    assert loss([3e-6, -1.0]) == pytest.approx(-0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loss([-1.0, 0.5]), "log_probs: 0.5 at token 1, 1 of 2 are above 0; allowed: natural log"),
        (lambda: min_k([-1.0, math.nan, -2.0]), "log_probs: nan at token 1, 1 of 3 are nan or infinite"),
        (lambda: loss([-math.inf]), "log_probs: -inf at token 0"),
        (lambda: loss([[-1.0, -2.0]]), r"log_probs: got shape \(1, 2\), needed: one dimension"),
        (lambda: loss(["-1"]), "needed: real numbers"),
        (lambda: loss([-1.0, None]), "needed: real numbers"),
        (lambda: loss([True]), "got values of type bool"),
        (lambda: min_k([-1.0], -0.1), "ratio is -0.1, allowed: 0 to 1"),
        (lambda: min_k([-1.0], 20), "ratio is 20, allowed: 0 to 1"),
        (lambda: min_k([], 1.5), "ratio is 1.5"),
        (lambda: min_k([-1.0], math.nan), "ratio is nan"),
        (lambda: n_lowest(0, 0.2), "m is 0, need at least 1"),
        (lambda: min_k_plus_plus([-1.0], [-1.0, -1.0], [1.0]), "mean: got 2 tokens for the 1 of log_probs"),
        (lambda: min_k_plus_plus([-1.0], [-1.0], []), "std: got 0 tokens for the 1 of log_probs"),
        (lambda: min_k_plus_plus([-1.0], [-1.0], [-0.1]), "std: -0.1 at token 0, allowed: 0 or more"),
        (lambda: min_k_plus_plus([-1.0], [0.3], [0.1]), "mean: 0.3 at token 0"),
        (lambda: zlib_score([-1.0], 0), "n_compressed_bytes is 0, allowed: 1 or more"),
        (lambda: zlib_bits([], -3), "n_compressed_bytes is -3"),
        (lambda: compressed_bytes("a", 10), "level is 10, allowed: 0 to 9"),
        (lambda: compressed_bytes("\ud800"), "surrogates not allowed"),
        (lambda: zlib_ratio_as_in_paper([-1.0], ""), "text is empty"),
        (lambda: zlib_ratio_as_in_paper([-800.0], "a"), "overflows, allowed: -709 or more"),
    ],
)
def test_bad_input_is_refused_with_where_what_and_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
