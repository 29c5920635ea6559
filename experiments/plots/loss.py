"""How the loss of fine-tunes went down, step by step, on what they learned and on what they did not see."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plots.style import label, legend_above, new_figure, series_style

HELD_OUT: dict[str, Any] = {"ls": (0, (4, 2)), "lw": 1.2, "ms": 5, "markerfacecolor": "white"}


def loss_figure(losses: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw the loss of each fine-tune: a line for its steps, hollow markers for held-out conversations.

    Args:
        losses: For each fine-tune's name its rows, as `FinetuneResult.losses` returns them.

    Raises:
        ValueError: There is no row of a step.
    """
    if not any(row["part"] == "train" for rows in losses.values() for row in rows):
        raise ValueError("losses: got no step to draw, need at least 1")
    figure, (axis,) = new_figure(7.0, 3.8)
    for index, (name, rows) in enumerate(losses.items()):
        _line(axis, rows, "train", index, name)
        _line(axis, rows, "held_out", index, None)
    if any(row["part"] == "held_out" for rows in losses.values() for row in rows):
        axis.plot([], [], color="0.4", marker="o", **HELD_OUT, label="held out")
    axis.set_xlabel("optimiser step")
    axis.set_ylabel("loss (nats per learned token)")
    axis.set_ylim(bottom=0)
    legend_above(figure, axis, n_columns=3)
    return figure


def _line(axis: Axes, rows: Sequence[Mapping[str, Any]], part: str, index: int, name: str | None) -> None:
    points = sorted((row["step"], row["loss"]) for row in rows if row["part"] == part)
    style = series_style(index)
    style = {"color": style["color"], "lw": 1.6} if part == "train" else {**style, **HELD_OUT}
    axis.plot(
        [x for x, _ in points], [y for _, y in points], **style, label=None if name is None else label(name)
    )
