"""Facts about resampled directions, shuffled labels, and what a cosine between noisy directions can reach."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from activations import Activations
from steering.controls import empirical_p
from steering.cosines import cosine_ceiling, cosine_table, isotropic_floor, shuffled_floor, spearman_brown
from steering.estimators import ESTIMATORS
from steering.extract import extract
from steering.reliability import (
    bootstrap_angle,
    cosine_or_zero,
    keyed_generator,
    shuffled_null,
    split_half_cosine,
)
from tests.planted import POINTS, activations, direction, planted, shapes_unchecked, subject

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)
pairing = pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
measures = pytest.mark.parametrize("measure", [split_half_cosine, bootstrap_angle, shuffled_null])


# Split halves and bootstrap


@every_estimator
def test_a_strong_direction_is_reliable(estimator: str):
    positive, negative, _ = planted(20.0, n_positive=60, n_negative=60, n_points=1)
    halves = split_half_cosine(positive, negative, estimator=estimator, n_splits=8, seed=0)
    turned = bootstrap_angle(positive, negative, estimator=estimator, n_draws=8, seed=0)
    assert halves.mean[0] > 0.9
    assert turned.high[0] < 30


@pairing
def test_without_a_difference_the_halves_do_not_agree(paired: bool):
    positive, negative, _ = planted(0.0, n_positive=60, n_negative=60, d_model=64, paired=paired)
    halves = split_half_cosine(positive, negative, n_splits=20, seed=0)
    turned = bootstrap_angle(positive, negative, n_draws=20, seed=0)
    assert max(map(abs, halves.mean)) < 0.3
    assert min(turned.median) > 35


def test_every_point_has_its_own_reliability():
    positive, negative, truth = planted(0.0)
    values = positive.values.clone()
    values[:, 2] += 30 * truth[2]
    halves = split_half_cosine(replace(positive, values=values), negative, n_splits=10, seed=0)
    assert halves.points == POINTS
    assert halves.mean[2] > 0.98
    assert max(halves.mean[:2]) < 0.6


@pairing
def test_split_halves_agree_with_a_plain_computation(paired: bool):
    positive, negative, _ = planted(1.0, n_positive=7, n_negative=7, n_points=1, paired=paired)
    found = split_half_cosine(positive, negative, n_splits=5, seed=4)
    cosines = []
    for k in range(5):
        draw = keyed_generator(4, "split", k)
        order = draw.permutation(7)
        other = order if paired else draw.permutation(7)
        halves = [
            positive.values[order[part], 0].numpy().mean(axis=0)
            - negative.values[other[part], 0].numpy().mean(axis=0)
            for part in (slice(0, 3), slice(3, 7))
        ]
        cosines.append(halves[0] @ halves[1] / np.linalg.norm(halves[0]) / np.linalg.norm(halves[1]))
    assert found.mean[0] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert (found.low[0], found.high[0]) == pytest.approx(np.quantile(cosines, [0.025, 0.975]), abs=1e-6)
    assert (found.n_splits, found.n_positive, found.n_negative, found.paired) == (5, 7, 7, paired)


def test_pairs_stay_together_so_that_what_the_prompts_share_cancels():
    positive, negative, _ = planted(1.0, n_positive=30, n_negative=30)
    prompts = 50 * torch.randn(30, 3, 16, generator=torch.Generator().manual_seed(9))
    loud = (
        replace(positive, values=positive.values + prompts),
        replace(negative, values=negative.values + prompts),
    )
    quiet_cosines = split_half_cosine(positive, negative, n_splits=10, seed=0).mean
    assert split_half_cosine(*loud, n_splits=10, seed=0).mean == pytest.approx(quiet_cosines, abs=1e-4)

    apart = replace(loud[1], rows=tuple(f"other{i}" for i in range(30)))
    assert max(split_half_cosine(loud[0], apart, n_splits=10, seed=0).mean) < min(quiet_cosines) - 0.1


def test_the_bootstrap_draws_pairs_too():
    positive, negative, _ = planted(8.0, n_positive=30, n_negative=30)
    prompts = 50 * torch.randn(30, 3, 16, generator=torch.Generator().manual_seed(9))
    loud = (
        replace(positive, values=positive.values + prompts),
        replace(negative, values=negative.values + prompts),
    )
    together = bootstrap_angle(*loud, n_draws=10, seed=0)
    apart = bootstrap_angle(loud[0], replace(loud[1], rows=tuple(map(str, range(30)))), n_draws=10, seed=0)
    assert max(together.high) < 15 < min(apart.median)
    assert (together.paired, apart.paired, together.n_draws) == (True, False, 10)


def test_the_bootstrap_angle_is_the_sampling_error_of_a_difference_of_means():
    positive, negative, _ = planted(
        10.0, n_positive=100, n_negative=100, n_points=1, d_model=64, paired=False
    )
    # The error has variance 2 / 100 in each of the 63 directions across: tan(angle) = sqrt(63 * 0.02) / 10.
    expected = np.degrees(np.arctan(np.sqrt(63 * 0.02) / 10))
    assert bootstrap_angle(positive, negative, n_draws=50, seed=0).median[0] == pytest.approx(
        expected, rel=0.15
    )


@pairing
def test_bootstrap_angles_agree_with_a_plain_computation(paired: bool):
    positive, negative, _ = planted(1.0, n_positive=6, n_negative=6, n_points=1, paired=paired)
    above, below = positive.values[:, 0].numpy(), negative.values[:, 0].numpy()
    full = above.mean(axis=0) - below.mean(axis=0)
    angles = []
    for k in range(9):
        draw = keyed_generator(4, "bootstrap", k)
        rows = draw.integers(6, size=6)
        again = above[rows].mean(axis=0) - below[rows if paired else draw.integers(6, size=6)].mean(axis=0)
        angles.append(np.degrees(np.arccos(full @ again / np.linalg.norm(full) / np.linalg.norm(again))))
    found = bootstrap_angle(positive, negative, n_draws=9, seed=4)
    assert (found.median[0], found.high[0]) == pytest.approx(np.quantile(angles, [0.5, 0.95]), abs=1e-3)


def test_more_draws_keep_the_first_ones():
    positive, negative, _ = planted(1.0)
    few = shuffled_null(positive, negative, n_draws=3, seed=2)
    many = shuffled_null(positive, negative, n_draws=5, seed=2)
    assert_close(many[:3], few, rtol=0, atol=0)
    assert not torch.equal(shuffled_null(positive, negative, n_draws=3, seed=3), few)


def test_where_nothing_was_found_nothing_is_found_again():
    same = activations(torch.randn(6, 1, 16, generator=torch.Generator().manual_seed(0)))
    assert split_half_cosine(same, same, n_splits=3, seed=0).mean == (0.0,)
    assert bootstrap_angle(same, same, n_draws=3, seed=0).median == pytest.approx((90.0,))


@measures
def test_what_cannot_be_compared_is_refused(measure: object):
    positive, negative, _ = planted(1.0)
    for changes, message in (
        ({"subject": subject(n_layers=9)}, "n_layers 4 is not 9"),
        ({"where": "last"}, "where 'answer' is not 'last'"),
        ({"rows": negative.rows[::-1]}, "same row ids, but in another order"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(positive, replace(negative, **changes), seed=0)
    with pytest.raises(ValueError, match="seed -1 is below 0"):
        measure(positive, negative, seed=-1)


@pytest.mark.parametrize("measure", [split_half_cosine, bootstrap_angle])
def test_one_row_cannot_be_resampled(measure: object):
    positive, negative, _ = planted(1.0, paired=False)
    with pytest.raises(ValueError, match="negative: 1 rows, need at least 2"):
        measure(positive, negative.select([0]), seed=0)


def test_no_draws_are_refused():
    positive, negative, _ = planted(1.0)
    with pytest.raises(ValueError, match="0 draws, need at least 1"):
        split_half_cosine(positive, negative, n_splits=0, seed=0)


def test_a_tuned_model_can_be_compared_with_its_base():
    positive, negative, _ = planted(1.0)
    tuned = replace(positive, subject=subject(adapters=("aaaa",)))
    assert shuffled_null(tuned, negative, n_draws=2, seed=0).shape == (2, 3, 16)


def test_keyed_generators_depend_on_every_part_of_their_key():
    draws = [keyed_generator(*key).random() for key in ((0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0))]
    assert len(set(draws)) == 4
    assert keyed_generator(0, "a", 0).random() == draws[0]


# Shuffled labels


@pairing
def test_shuffled_labels_keep_every_row_and_every_count(paired: bool):
    """With one-hot rows a difference of means shows which rows went where."""
    positive = activations(torch.eye(8 if paired else 7)[: 4 if paired else 3, None])
    negative = activations(
        torch.eye(8 if paired else 7)[-4:, None], rows=positive.rows if paired else tuple("abcd")
    )
    n_positive, n_negative = len(positive.rows), len(negative.rows)
    for vector in shuffled_null(positive, negative, n_draws=50, seed=0)[:, 0]:
        if paired:
            assert_close(vector[:4].abs(), torch.full((4,), 0.25))
            assert_close(vector[:4], -vector[4:])
        else:
            assert sorted(vector.tolist()) == pytest.approx(
                [-1 / n_negative] * n_negative + [1 / n_positive] * n_positive
            )


def test_pairs_are_swapped_half_of_the_time_each_on_its_own():
    positive, negative = activations(torch.eye(6)[:, None]), activations(-torch.eye(6)[:, None])
    signs = shuffled_null(positive, negative, n_draws=800, seed=0)[:, 0].sign()
    assert signs.mean(dim=0).abs().max() < 0.15
    assert (signs.T @ signs / 800 - torch.eye(6)).abs().max() < 0.15


@pairing
@pytest.mark.parametrize("estimator", sorted(set(ESTIMATORS) - {"first_principal_component"}))
def test_shuffled_labels_do_not_find_what_was_planted(estimator: str, paired: bool):
    positive, negative, truth = planted(8.0, n_points=1, paired=paired)
    null = shuffled_null(positive, negative, estimator=estimator, n_draws=15, seed=0)
    real = extract(positive, negative, name="real", estimator=estimator)
    assert real.cosine(direction(truth)).item() > 0.9
    assert cosine_or_zero(null, truth.expand_as(null)).mean().abs() < 0.35
    assert null.norm(dim=-1).max() < 0.8 * real.vectors.norm()


def p_of_length(seed: int, strength: float, estimator: str, paired: bool) -> float:
    sides = planted(strength, seed=seed, n_positive=8, n_negative=8, n_points=1, d_model=4, paired=paired)[:2]
    real = extract(*sides, name="real", estimator=estimator).vectors.norm().item()
    null = shuffled_null(*sides, estimator=estimator, n_draws=19, seed=seed).norm(dim=-1).flatten().tolist()
    return empirical_p(real, null)


@pytest.mark.parametrize(
    ("estimator", "paired"),
    [("difference_of_means", True), ("difference_of_means", False), ("first_principal_component", True)],
)
def test_nothing_is_found_in_nothing_more_often_than_declared(estimator: str, paired: bool):
    with shapes_unchecked():  # for speed
        found = [p_of_length(seed, 0.0, estimator, paired) for seed in range(150)]
    for level in (0.05, 0.2, 0.5):
        n_rejected = sum(p <= level + 1e-9 for p in found)
        assert stats.binomtest(n_rejected, len(found), level).pvalue > 0.005, (level, n_rejected)


@pairing
def test_something_is_found_in_something(paired: bool):
    found = [p_of_length(seed, 4.0, "difference_of_means", paired) for seed in range(10)]
    assert max(found) <= 0.1  # among 8 pairs, swapping none or all gives the true length again


# Reading a cosine


def test_a_cosine_table_holds_every_pair_at_one_point():
    draw = torch.Generator().manual_seed(0)
    three = [direction(torch.randn(3, 16, generator=draw), name=name, n_positive=9) for name in "abc"]
    table = cosine_table(three, POINTS[1])
    units = torch.stack([one.vectors[1] / one.vectors[1].norm() for one in three]).double()
    assert_close(table.cosines, units @ units.T)
    assert (table.names, table.point, table.n_positive, table.n_negative) == (
        ("a", "b", "c"),
        POINTS[1],
        (9,) * 3,
        (20,) * 3,
    )
    assert table.isotropic_floor == isotropic_floor(16)


def test_a_cosine_table_takes_only_what_can_be_compared():
    with pytest.raises(ValueError, match="template"):
        cosine_table([direction(), direction(subject=subject(template="0" * 16))], 1)
    with pytest.raises(ValueError, match="no directions"):
        cosine_table([], 1)
    with pytest.raises(LookupError, match="name the site"):
        cosine_table([direction()], 2)


@pytest.mark.parametrize("quantile", [0.5, 0.95])
@pytest.mark.parametrize("d_model", [2, 16, 576])
def test_the_isotropic_floor_is_what_random_directions_reach(d_model: int, quantile: float):
    draws = torch.randn(4000, d_model, generator=torch.Generator().manual_seed(0))
    cosines = (draws[:, 0] / draws.norm(dim=-1)).abs()
    assert (cosines < isotropic_floor(d_model, quantile)).float().mean().item() == pytest.approx(
        quantile, abs=0.025
    )


def test_the_isotropic_floor_on_a_circle_is_a_plain_angle():
    assert isotropic_floor(2, 0.5) == pytest.approx(np.cos(np.pi / 4))


@given(half=st.floats(-1, 1))
def test_stepping_up_keeps_order_and_bounds(half: float):
    assert 0 <= spearman_brown(half) <= 1
    assert spearman_brown(half) >= half
    assert cosine_ceiling(half, half) == pytest.approx(spearman_brown(half))


def test_the_ceiling_is_what_two_noisy_copies_of_one_direction_reach():
    """Two data sets with the same truth: their cosine is the ceiling that their split halves foretell."""
    foretold, reached = [], []
    for seed in range(8):
        sides = [
            planted(2.0, seed=seed, n_positive=n, n_negative=n, n_points=1, d_model=200) for n in (120, 40)
        ]
        fresh = torch.randn(40, 1, 200, generator=torch.Generator().manual_seed(seed))
        truth = sides[0][2]
        other: tuple[Activations, Activations] = (
            replace(sides[1][1], values=sides[1][1].values + fresh + 2 * truth),
            sides[1][1],
        )
        reached.append(extract(*sides[0][:2], name="a").cosine(extract(*other, name="b")).item())
        halves = [split_half_cosine(*pair, n_splits=10, seed=seed).mean[0] for pair in (sides[0][:2], other)]
        foretold.append(cosine_ceiling(*halves))
    assert np.mean(reached) == pytest.approx(np.mean(foretold), abs=0.05)
    assert 0.3 < np.mean(reached) < 0.6


@pytest.mark.parametrize("half", [1.1, -1.1, float("nan")])
def test_what_is_not_a_cosine_is_not_stepped_up(half: float):
    with pytest.raises(ValueError, match="split-half cosine .* is outside"):
        spearman_brown(half)


def test_the_shuffled_floor_sees_the_shape_of_the_data_which_the_isotropic_one_does_not():
    positive, negative, _ = planted(0.0)
    loud = torch.ones(16)
    loud[0] = 40.0
    sides = replace(positive, values=positive.values * loud), replace(negative, values=negative.values * loud)
    null = shuffled_null(*sides, n_draws=40, seed=0)
    along_the_loud_axis = direction(torch.eye(16)[[0, 0, 0]])
    floor = shuffled_floor(null, along_the_loud_axis)
    assert min(floor.values) > 0.9 > isotropic_floor(16)
    assert (floor.n_draws, floor.quantile, floor.points) == (40, 0.95, POINTS)
    expected = torch.quantile((null[:, 1, 0] / null[:, 1].norm(dim=-1)).abs(), 0.95)
    assert floor.values[1] == pytest.approx(expected.item(), abs=1e-6)


def test_impossible_quantiles_and_shapes_are_refused():
    with pytest.raises(ValueError, match="quantile 1.0 is not between"):
        isotropic_floor(16, 1.0)
    with pytest.raises(ValueError, match="d_model 1 is below 2"):
        isotropic_floor(1)
    with shapes_unchecked(), pytest.raises(ValueError, match=r"shape \(5, 2, 16\), need \(draw, 3, 16\)"):
        shuffled_floor(torch.ones(5, 2, 16), direction())
