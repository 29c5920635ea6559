"""Facts about estimators and about the directions that `extract` makes of activations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.testing import assert_close

from steering.estimators import (
    ESTIMATORS,
    difference_of_means,
    first_principal_component,
    logistic_probe,
    whitened_difference,
)
from steering.extract import extract
from tests.planted import POINTS, activations, direction, planted, shapes_unchecked, subject

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)
axis_estimators = pytest.mark.parametrize("estimator", sorted(set(ESTIMATORS) - {"difference_of_means"}))


def noise(n_rows: int, d_model: int, seed: int = 0) -> Tensor:
    return torch.randn(n_rows, d_model, generator=torch.Generator().manual_seed(seed))


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one.double(), torch.as_tensor(other).double(), dim=-1))


# Every estimator


@every_estimator
@pytest.mark.parametrize("d_model", [16, 200], ids=["more rows", "more dimensions"])
def test_a_planted_direction_is_found_with_its_sign_and_its_length(estimator: str, d_model: int):
    positive, negative, truth = planted(12.0, n_positive=60, n_negative=60, d_model=d_model)
    found = extract(positive, negative, name="planted", estimator=estimator)
    assert found.cosine(direction(truth)).min() > 0.92
    assert_close(found.vectors.norm(dim=-1), torch.full((3,), 12.0), rtol=0.1, atol=0)


@every_estimator
def test_swapping_the_sides_gives_the_opposite_direction(estimator: str):
    positive, negative, _ = planted(3.0)
    one, other = (
        extract(*sides, name="planted", estimator=estimator)
        for sides in ((positive, negative), (negative, positive))
    )
    assert_close(one.vectors, -other.vectors, rtol=1e-3, atol=1e-4)


@every_estimator
@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.1, 100), shift=st.floats(-100, 100), seed=st.integers(0, 99))
def test_directions_ignore_a_common_shift_and_follow_the_scale(
    estimator: str, scale: float, shift: float, seed: int
):
    above, below = noise(9, 5, seed) + 1, noise(9, 5, seed + 100)
    plain = ESTIMATORS[estimator](above, below)
    moved = ESTIMATORS[estimator](scale * above + shift, scale * below + shift)
    assert_close(moved, scale * plain, rtol=5e-3, atol=1e-3 * scale)


@axis_estimators
def test_an_axis_carries_the_difference_of_means_along_it_and_never_points_backwards(estimator: str):
    for seed in range(20):
        above, below = noise(12, 8, seed), noise(12, 8, seed + 100)
        found = ESTIMATORS[estimator](above, below).double()
        difference = difference_of_means(above, below).double()
        assert found @ difference >= 0
        assert_close(found @ found, found @ difference, rtol=1e-5, atol=1e-6)


@every_estimator
def test_sides_that_do_not_differ_give_zeros(estimator: str):
    same = noise(6, 5)
    assert_close(ESTIMATORS[estimator](same, same), torch.zeros(5))
    assert_close(ESTIMATORS[estimator](torch.ones(3, 5), torch.ones(3, 5)), torch.zeros(5))


@every_estimator
def test_one_row_on_each_side_is_enough(estimator: str):
    above, below = noise(1, 5), noise(1, 5, seed=1)
    assert cosine(ESTIMATORS[estimator](above, below), above[0] - below[0]) > 0.5


@every_estimator
def test_the_callers_rows_are_as_before_and_low_precision_is_taken(estimator: str):
    above, below = noise(8, 5).bfloat16() + 2, noise(8, 5, seed=1).bfloat16()
    kept = above.clone()
    found = ESTIMATORS[estimator](above, below)
    assert_close(above, kept, rtol=0, atol=0)
    assert found.dtype == torch.float32


@every_estimator
@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        (torch.ones(0, 4), torch.ones(3, 4), r"positive: shape \(0, 4\), need .* at least 1 row"),
        (torch.ones(3, 4), torch.ones(0, 4), "negative: shape"),
        (torch.ones(4), torch.ones(3, 4), r"positive: shape \(4,\), need \(row, d_model\)"),
        (torch.ones(3, 4), torch.ones(3, 5), "d_model is 4 in positive and 5 in negative rows"),
        (
            torch.ones(3, 4),
            torch.tensor([[1, 1, 1, 1], [torch.nan, torch.inf, 1, 1], [1, 1, 1, torch.inf]]),
            "negative: 2 of 3 rows hold nan or inf",
        ),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(
    estimator: str, positive: Tensor, negative: Tensor, message: str
):
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        ESTIMATORS[estimator](positive, negative)


# Each against another implementation


@given(n_positive=st.integers(1, 9), n_negative=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_difference_of_means_is_numpys(n_positive: int, n_negative: int, seed: int):
    above, below = noise(n_positive, 6, seed), noise(n_negative, 6, seed + 100)
    expected = above.numpy().astype(np.float64).mean(axis=0) - below.numpy().astype(np.float64).mean(axis=0)
    assert_close(
        difference_of_means(above, below), torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0
    )


def test_means_are_summed_in_double_precision():
    large = torch.full((2001, 1), 2.0**24)
    large[1::2] = -(2.0**24)
    large[-1] = 1.0
    assert difference_of_means(large, torch.zeros(1, 1)).item() == pytest.approx(1 / 2001, rel=1e-6)


@pytest.mark.parametrize("shape", [(30, 6), (6, 30)])
def test_the_first_principal_component_is_the_uncentred_one_of_the_differences(shape: tuple[int, int]):
    above, below = noise(*shape) + 0.5, noise(*shape, seed=1)
    svd = TruncatedSVD(1, algorithm="arpack").fit((above - below).double().numpy())
    assert abs(cosine(first_principal_component(above, below), svd.components_[0])) > 1 - 1e-6


def test_centring_the_differences_would_lose_what_is_looked_for():
    truth = torch.eye(8)[0]
    above, below = noise(50, 8) + 20 * truth, noise(50, 8, seed=1)
    assert cosine(first_principal_component(above, below), truth) > 0.99
    centred = PCA(1).fit((above - below).numpy()).components_[0]
    assert abs(cosine(truth, centred)) < 0.9


def test_swapping_pairs_leaves_the_axis_of_the_principal_component():
    above, below = noise(20, 8) + 1, noise(20, 8, seed=1)
    swap = torch.arange(20)[:, None] % 3 == 0
    swapped = torch.where(swap, below, above), torch.where(swap, above, below)
    plain, again = first_principal_component(above, below), first_principal_component(*swapped)
    assert abs(cosine(plain, again)) > 1 - 1e-6
    assert again.norm() < plain.norm()


def test_the_principal_component_needs_pairs():
    with pytest.raises(ValueError, match="equal counts, got 3 positive and 4 negative rows"):
        first_principal_component(torch.ones(3, 2), torch.ones(4, 2))


def test_the_logistic_probe_is_sklearns_on_standardised_features():
    scales = torch.logspace(-2, 2, 6)
    above, below = (noise(40, 6) + 0.5) * scales, noise(30, 6, seed=1) * scales
    rows, labels = torch.cat([above, below]).double().numpy(), [1] * 40 + [0] * 30
    within = np.concatenate([rows[:40] - rows[:40].mean(axis=0), rows[40:] - rows[40:].mean(axis=0)])
    scaler = StandardScaler().fit(rows).set_params(with_mean=True)
    scaler.scale_ = within.std(axis=0)
    model = make_pipeline(scaler, LogisticRegression(max_iter=1000))
    model[1].fit(scaler.transform(rows), labels)
    # The axis of the original features is the gradient of the decision function.
    steps = rows.mean(axis=0) + np.eye(6)
    gradient = model.decision_function(steps) - model.decision_function(rows.mean(axis=0)[None])
    assert cosine(logistic_probe(above, below), gradient) > 1 - 1e-6


def test_the_logistic_probe_does_not_lose_a_strong_difference_by_standardising():
    truth = 20 * torch.tensor([1.0, 0.3, 0.1, 0.0])
    above, below = noise(60, 4) + truth, noise(60, 4, seed=1)
    assert cosine(logistic_probe(above, below), truth) > 0.99
    over_all_rows = torch.cat([above, below]).std(dim=0)
    assert cosine(truth / over_all_rows.square(), truth) < 0.8  # where the common way ends up


@pytest.mark.parametrize("n_rows", [8, 60], ids=["fewer rows than dimensions", "more"])
def test_the_whitened_difference_solves_with_ledoit_and_wolfs_covariance(n_rows: int):
    scales = torch.logspace(-1, 1, 20)
    above, below = (noise(n_rows, 20) + 0.5) * scales, noise(n_rows, 20, seed=1) * scales
    within = torch.cat([above - above.mean(dim=0), below - below.mean(dim=0)]).double().numpy()
    covariance, _ = ledoit_wolf(within, assume_centered=True)
    expected = np.linalg.solve(covariance, difference_of_means(above, below).double().numpy())
    assert cosine(whitened_difference(above, below), expected) > 1 - 1e-6


def test_whitening_sees_past_a_loud_axis_that_the_difference_of_means_follows():
    loud = torch.tensor([30.0, 1.0, 1.0, 1.0])
    above, below = noise(200, 4) * loud + torch.eye(4)[1] * 2, noise(200, 4, seed=1) * loud
    truth = torch.eye(4)[1]
    assert cosine(difference_of_means(above, below), truth) < 0.9
    assert cosine(whitened_difference(above, below), truth) > 0.95


def test_rows_that_do_not_vary_within_their_side_are_not_whitened():
    above, below = torch.ones(3, 4), torch.zeros(3, 4)
    assert_close(whitened_difference(above, below), torch.ones(4))


# extract


def test_extract_runs_every_point_and_keeps_where_it_came_from():
    positive, negative, _ = planted(3.0, n_positive=12, n_negative=7, paired=False)
    negative = replace(negative, norms=torch.full((7, 3), 20.0))
    found = extract(positive, negative, name="planted", seed=5)

    for point in POINTS:
        assert_close(
            found.at(point), difference_of_means(positive.at(point), negative.at(point)), rtol=0, atol=0
        )
    assert (found.points, found.where, found.subject) == (POINTS, "answer", positive.subject)
    assert (found.name, found.made_from, found.estimator) == ("planted", "planted", "difference_of_means")
    assert (found.n_positive, found.n_negative, found.seed) == (12, 7, 5)
    assert found.data == ("aa" * 32, "bb" * 32)
    assert found.norms.tolist() == [15.0, 15.0, 15.0]  # each side counts the same, whatever its rows
    assert found.reliability == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": subject(fingerprint="f" * 16)}, "fingerprint '0123.* is not 'ffff"),
        ({"subject": subject(template="0" * 16)}, "template"),
        ({"subject": subject(adapters=("aaaa",))}, r"adapters \(\) are not \('aaaa',\) \(across_models=True"),
        ({"points": (*POINTS[:2], POINTS[0])}, "points blocks.1.* are not blocks.1"),
        ({"where": "last"}, "where 'answer' is not 'last'"),
    ],
)
def test_sides_that_differ_beyond_the_behaviour_are_refused(changes: dict[str, object], message: str):
    positive, negative, _ = planted(1.0)
    with pytest.raises(ValueError, match=message):
        extract(positive, replace(negative, **changes), name="planted")


def test_tuned_minus_base_is_allowed_when_it_is_meant_and_says_so():
    positive, negative, _ = planted(1.0)
    tuned = replace(positive, subject=subject(adapters=("aaaa", "bbbb")))
    found = extract(tuned, negative, name="shift", across_models=True)
    assert found.subject.adapters == ("aaaa", "bbbb")
    assert found.made_from == "shift[aaaa + bbbb - base]"
    found.require_fits(negative.subject)


def test_across_models_does_not_allow_another_base():
    positive, negative, _ = planted(1.0)
    with pytest.raises(ValueError, match="n_layers 4 is not 6"):
        extract(positive, replace(negative, subject=subject(n_layers=6)), name="x", across_models=True)


def test_the_same_chats_on_both_sides_are_listed_once():
    positive, negative, _ = planted(1.0)
    assert extract(positive, replace(negative, data=positive.data), name="x").data == (positive.data,)


def test_an_unusable_row_is_reported_with_its_point():
    positive, negative, _ = planted(1.0)
    spoiled = positive.values.clone()
    spoiled[4, 1, 2] = torch.nan
    with pytest.raises(
        ValueError, match=r"at blocks\.2\.hook_resid_pre: positive: 1 of 40 rows hold nan or inf"
    ):
        extract(replace(positive, values=spoiled), negative, name="x")


def test_an_empty_side_and_an_unknown_estimator_are_refused():
    positive, negative, _ = planted(1.0)
    with pytest.raises(ValueError, match="negative: shape"):
        extract(positive, activations(torch.ones(0, 3, 16)), name="x")
    with pytest.raises(LookupError, match="'mean': have difference_of_means, "):
        extract(positive, negative, name="x", estimator="mean")


def test_an_estimator_of_pairs_refuses_rows_that_are_not_pairs():
    positive, negative, _ = planted(1.0, paired=False)
    with pytest.raises(ValueError, match="first_principal_component works on pairs"):
        extract(positive, negative, name="x", estimator="first_principal_component")


def test_pairs_in_another_order_are_refused_instead_of_losing_the_pairing():
    positive, negative, _ = planted(1.0)
    with pytest.raises(ValueError, match="same row ids, but in another order"):
        extract(positive, negative.select(range(39, -1, -1)), name="x", estimator="first_principal_component")
