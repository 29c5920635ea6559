"""Facts about the figure of losses."""

import pytest

from experiments.plots.loss import loss_figure
from experiments.plots.style import write_figure

ROWS = [
    {"part": "held_out", "step": 0, "loss": 3.5},
    {"part": "train", "step": 1, "loss": 3.0},
    {"part": "train", "step": 2, "loss": 2.0},
    {"part": "held_out", "step": 2, "loss": 2.5},
]


def points(line):
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_every_fine_tune_has_a_line_of_steps_and_one_of_held_out_losses():
    axis = loss_figure({"a_b": ROWS, "c": ROWS[1:3]}).axes[0]
    drawn = [points(line) for line in axis.lines]
    assert [(1, 3.0), (2, 2.0)] in drawn
    assert [(0, 3.5), (2, 2.5)] in drawn
    assert axis.get_legend_handles_labels()[1] == ["a b", "c", "held out"]
    own = [line.get_color() for line in axis.lines[:2]]
    assert own[0] == own[1]
    assert axis.get_ylim()[0] == 0


def test_steps_are_drawn_in_order_whatever_the_order_of_the_rows():
    assert points(loss_figure({"a": ROWS[::-1]}).axes[0].lines[0]) == [(1, 3.0), (2, 2.0)]


def test_without_held_out_losses_the_legend_does_not_name_them():
    assert loss_figure({"a": ROWS[1:3]}).axes[0].get_legend_handles_labels()[1] == ["a"]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="losses: got no step to draw"):
        loss_figure({"a": ROWS[:1]})


def test_the_figure_is_written_the_same_every_time(tmp_path):
    written = [path.read_bytes() for path in write_figure(loss_figure({"a": ROWS}), tmp_path, "loss")]
    assert [path.read_bytes() for path in write_figure(loss_figure({"a": ROWS}), tmp_path, "loss")] == written
