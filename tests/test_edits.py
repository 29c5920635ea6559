"""Facts about edits as records."""

import json
from math import inf, nan

import pytest
import torch
from torch.testing import assert_close

from activations import Answer, HookPoint
from steering import add, clamp, mirror, project_out
from steering.edits import vectors_hash
from tests.planted import POINTS, direction

POINT = POINTS[1]


def test_the_unit_says_how_long_a_step_is():
    along = direction(norms=torch.tensor([5.0, 10.0, 20.0]))
    vector = along.at(POINT)
    assert_close(add(along, 2).step(POINT).shift, 2 * vector)
    assert_close(add(along, 2.0, unit="raw").step(POINT).shift.norm(), torch.tensor(2.0))
    assert_close(add(along, 2.0, unit="residual").step(POINT).shift.norm(), torch.tensor(20.0))


def test_coefficient_1_in_units_of_the_direction_adds_the_very_vector():
    along = direction()
    for point in along.points:
        assert torch.equal(add(along, 1.0).step(point).shift, along.at(point))


def test_bounds_and_gates_are_in_the_unit_too():
    along = direction(norms=torch.tensor([5.0, 10.0, 20.0]))
    step = clamp(along, -1.0, 2.0, unit="residual", gate=(0.5, inf)).step(POINT)
    assert (step.low, step.high, step.gate) == (-10.0, 20.0, (5.0, inf))


@pytest.mark.parametrize(
    ("edit", "idle"),
    [
        (add(direction(), 0.0), True),
        (project_out(direction(), share=0.0), True),
        (add(direction(), 1e-9), False),
        (clamp(direction(), 0.0, 0.0), False),
        (mirror(direction()), False),
    ],
)
def test_an_edit_is_idle_if_its_coefficient_is_0(edit, idle):
    assert edit.idle == idle


def test_points_are_all_of_the_direction_unless_some_are_named():
    assert add(direction(), 1.0).points == POINTS
    assert add(direction(), 1.0, points=[1]).points == (HookPoint(1),)
    with pytest.raises(LookupError, match="has no vector at 3"):
        add(direction(), 1.0, points=[3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: add(direction(), nan), "coefficient: got nan"),
        (lambda: add(direction(), inf), "coefficient: got inf"),
        (lambda: clamp(direction(), 2.0, 1.0), "low 2.0 and high 1.0"),
        (lambda: clamp(direction(), nan, 1.0), "low nan"),
        (lambda: mirror(direction(), gate=(1.0, 0.0)), "gate: got"),
        (lambda: add(direction(torch.zeros(3, 16)), 1.0), "is zero at blocks.1.hook_resid_post"),
        (lambda: add(direction(), 1.0, points=[]), "at least one"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_edit_names_itself():
    assert str(add(direction(), 1.0, points=[1], where=Answer())) == (
        "add 'planted' at blocks.1.hook_resid_post on answer"
    )
    assert str(mirror(direction())).startswith("mirror 'planted' at 3 points from blocks.1.")


def test_facts_are_json_and_tell_contents_apart():
    facts = clamp(direction(), high=1.0, gate=(0.0, inf)).facts()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["high"], facts["gate_low"]) == (1.0, 0.0)
    assert "low" not in facts
    other = direction(torch.ones(3, 16))
    assert vectors_hash(other, POINTS) != vectors_hash(direction(), POINTS) == facts["vectors"]
