"""Facts about directions that should do nothing, and about the p-values they give."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from activations import HookPoint
from steering.controls import empirical_p, random_directions, shuffled_directions
from steering.direction import Direction
from steering.extract import extract
from steering.reliability import shuffled_null
from tests.planted import POINTS, direction, planted, subject


def lengths(one: Direction) -> torch.Tensor:
    return one.vectors.double().norm(dim=-1)


# Random directions


@pytest.mark.parametrize("d_model", [16, 1024])
def test_a_random_control_has_the_norm_of_the_direction_and_not_sqrt_d_times_it(d_model: int):
    real = direction(torch.tensor([[0.01], [1.0], [300.0]]) * torch.ones(3, d_model))
    for control in random_directions(real, 5, seed=0):
        assert_close(lengths(control), lengths(real), rtol=1e-6, atol=0)


def test_a_zero_vector_stays_zero():
    real = direction(torch.ones(3, 16).index_fill(0, torch.tensor(1), 0))
    assert random_directions(real, 1, seed=0)[0].at(POINTS[1]).abs().max() == 0


def test_random_controls_are_uniform_on_the_sphere():
    real = direction(torch.ones(1, 16))
    units = torch.cat([control.unit().vectors for control in random_directions(real, 300, seed=0)])
    assert units.mean(dim=0).abs().max() < 0.07
    squared = (units @ real.unit().vectors[0]).square().double().numpy()
    assert stats.kstest(squared, stats.beta(0.5, 7.5).cdf).pvalue > 0.01


def test_draws_do_not_depend_on_how_many_or_which_points_are_asked_for():
    real = direction()
    few, many = random_directions(real, 2, seed=7), random_directions(real, 4, seed=7)
    for one, other in zip(few, many, strict=False):
        assert_close(one.vectors, other.vectors, rtol=0, atol=0)
    (alone,) = random_directions(real.select([HookPoint(2)]), 1, seed=7)
    assert_close(alone.at(2), few[0].at(HookPoint(2)), rtol=0, atol=0)


def test_draws_points_and_seeds_differ():
    first, second = random_directions(direction(), 2, seed=0)
    (other,) = random_directions(direction(), 1, seed=1)
    assert first.cosine(second).abs().max() < 0.9
    assert first.cosine(other).abs().max() < 0.9
    assert abs(torch.cosine_similarity(first.vectors[1], first.vectors[2], dim=0)) < 0.9


def test_a_random_control_fits_where_the_direction_fits_and_says_what_it_is():
    real = direction()
    control = random_directions(real, 3, seed=5)[2]
    assert (control.points, control.where, control.subject) == (real.points, real.where, real.subject)
    assert_close(control.norms, real.norms, rtol=0, atol=0)
    assert (control.name, control.estimator, control.seed) == ("random 2", "random", 5)
    assert (control.n_positive, control.n_negative, control.reliability) == (0, 0, {})
    assert control.made_from == "random(like=planted, seed=5, draw=2)"


def test_controls_can_be_orthogonal_to_several_directions_with_the_norm_kept():
    draw = torch.Generator().manual_seed(0)
    real, other = (direction(torch.randn(3, 16, generator=draw)) for _ in range(2))
    for control in random_directions(real, 5, seed=0, orthogonal_to=(real, other, 2 * real + other)):
        assert control.cosine(real).abs().max() < 1e-6
        assert control.cosine(other).abs().max() < 1e-6
        assert_close(lengths(control), lengths(real), rtol=1e-6, atol=0)


def test_controls_that_cannot_be_drawn_are_refused():
    real = direction()
    with pytest.raises(ValueError, match="0 directions, need at least 1"):
        random_directions(real, 0, seed=0)
    with pytest.raises(ValueError, match="seed -3 is below 0"):
        random_directions(real, 1, seed=-3)
    with pytest.raises(ValueError, match="do not match: template"):
        random_directions(real, 1, seed=0, orthogonal_to=[direction(subject=subject(template="0" * 16))])
    with pytest.raises(ValueError, match="orthogonal to 16 directions of width 16: none left"):
        random_directions(real, 1, seed=0, orthogonal_to=[real] * 16)


# Shuffled directions


@pytest.mark.parametrize("paired", [True, False])
def test_shuffled_controls_have_the_norm_of_the_direction_and_its_facts(paired: bool):
    positive, negative, _ = planted(4.0, paired=paired)
    real = extract(positive, negative, name="real")
    controls = shuffled_directions(positive, negative, 4, 3)
    null = shuffled_null(positive, negative, n_draws=4, seed=3)
    for control, vectors in zip(controls, null, strict=True):
        assert_close(lengths(control), lengths(real), rtol=1e-6, atol=0)
        assert_close(control.unit().vectors, torch.nn.functional.normalize(vectors, dim=-1))
        assert (control.subject, control.data, control.n_positive) == (real.subject, real.data, 40)
    assert controls[1].name == "shuffled 1"
    assert controls[1].estimator == "difference_of_means of shuffled labels"
    assert controls[1].made_from == "shuffled(estimator=difference_of_means, seed=3, draw=1)"


def test_without_matching_a_shuffled_control_keeps_its_own_length():
    positive, negative, _ = planted(4.0)
    null = shuffled_null(positive, negative, n_draws=2, seed=0)
    for control, vectors in zip(
        shuffled_directions(positive, negative, 2, 0, match_norm=False), null, strict=True
    ):
        assert_close(control.vectors, vectors, rtol=0, atol=0)


def test_an_axis_that_does_not_depend_on_the_labels_makes_no_control():
    positive, negative, _ = planted(4.0)
    with pytest.raises(
        ValueError, match="first_principal_component: swapping the labels of pairs leaves its axis"
    ):
        shuffled_directions(positive, negative, 2, 0, estimator="first_principal_component")


def test_a_shuffled_vector_of_zero_cannot_be_matched_and_zero_to_zero_can():
    positive, negative, _ = planted(4.0, n_positive=2, n_negative=2)
    values = torch.ones(2, 3, 16)
    ones, zeros = replace(positive, values=values), replace(negative, values=0 * values)
    with pytest.raises(ValueError, match=r"zero vector at blocks\.1\.hook_resid_post"):
        shuffled_directions(ones, zeros, 20, 0)
    for control in shuffled_directions(ones, replace(zeros, values=values), 2, 0):
        assert control.vectors.abs().max() == 0


def test_tuned_minus_base_needs_to_be_meant_here_too():
    positive, negative, _ = planted(1.0)
    tuned = replace(positive, subject=subject(adapters=("aaaa",)))
    with pytest.raises(ValueError, match="across_models=True"):
        shuffled_directions(tuned, negative, 1, 0)
    (control,) = shuffled_directions(tuned, negative, 1, 0, across_models=True)
    assert control.subject.adapters == ("aaaa",)


# Empirical p


@pytest.mark.parametrize(
    ("observed", "null", "alternative", "expected"),
    [
        (5, [1, 2, 3], "greater", 1 / 4),
        (2, [1, 2, 3], "greater", 3 / 4),
        (0, [1, 2, 3], "greater", 1),
        (5, [1, 2, 3], "two-sided", 2 / 4),
        (0, [1, 2, 3], "two-sided", 2 / 4),
        (2, [1, 2, 3], "two-sided", 1),
        (1, [1] * 19, "greater", 1),
        (2, [1] * 19, "greater", 0.05),
        (-10, [90, 91, 92, 93, 94, 95, 96], "two-sided", 2 / 8),
    ],
)
def test_p_counts_the_observation_as_one_of_its_controls(
    observed: float, null: list[float], alternative: str, expected: float
):
    assert empirical_p(observed, null, alternative=alternative) == pytest.approx(expected)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), observed=st.floats(-1e6, 1e6))
def test_p_is_never_zero_never_above_one_and_falls_with_the_effect(values: list[float], observed: float):
    one_sided, two_sided = (
        empirical_p(observed, values, alternative=alternative) for alternative in ("greater", "two-sided")
    )
    assert 1 / (len(values) + 1) <= one_sided <= 1
    assert one_sided <= 1 == empirical_p(min(values), values)
    assert min(1, 2 / (len(values) + 1)) <= two_sided <= min(1, 2 * one_sided)
    assert empirical_p(observed + 1, values) <= one_sided
    flipped = empirical_p(-observed, [-value for value in values], alternative="two-sided")
    assert flipped == two_sided


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_p_is_uniform_when_there_is_nothing(alternative: str):
    draw = np.random.default_rng(0)
    found = [
        empirical_p(sample[0], sample[1:].tolist(), alternative=alternative)
        for sample in draw.standard_normal((800, 40))
    ]
    for level in (0.05, 0.25, 0.5):
        assert stats.binomtest(sum(p <= level + 1e-9 for p in found), 800, level).pvalue > 0.005


@pytest.mark.parametrize(
    ("observed", "null", "message"),
    [
        (1.0, [], "against 0 controls; need a finite value and at least 1 control"),
        (float("nan"), [1.0], "observed nan"),
        (1.0, [1.0, float("nan"), float("inf")], "null: 2 of 3 values are nan or inf"),
    ],
)
def test_p_of_what_is_not_there_is_refused(observed: float, null: list[float], message: str):
    with pytest.raises(ValueError, match=message):
        empirical_p(observed, null)
