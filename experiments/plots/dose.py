"""Effect and loss of coherence over the strength of one direction at one layer, with intervals."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plots.style import FAINT, INK, legend_above, new_figure, series_style
from experiments.sweep_summary import Breakdown, DoseRow


def dose_figure(rows: Sequence[DoseRow], breakdown: Breakdown, chosen: float, unit: str) -> Figure:
    """Draw the effect above and the loss of coherence below, over all coefficients, with 95 % bands.

    A dashed line is the floor, upright dotted lines are where it is first passed, the ring is the chosen one.
    No edit, at coefficient 0, is 0 in both.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("dose-response: got no rows to draw, need at least 1")
    figure, (above, below) = new_figure(6.4, 4.8, 2, 1)
    below.sharex(above)
    effects = [(row.coefficient, row.mean, row.low, row.high) for row in rows]
    losses = [(row.coefficient, row.loss, row.loss_low, row.loss_high) for row in rows]
    _line(above, effects, 0, "effect")
    _line(below, losses, 1, "loss of coherence")
    below.axhline(breakdown.floor, color=INK, ls=(0, (4, 3)), lw=1.1, label="floor")
    for axis in (above, below):
        axis.axhline(0, color=FAINT, lw=0.9)
        for place in (breakdown.negative, breakdown.positive):
            if place is not None:
                axis.axvline(place, color=INK, ls=":", lw=1.3)
    for row in rows:
        if row.coefficient == chosen and row.mean is not None:
            ring = above.scatter(
                [chosen], [row.mean], s=130, facecolor="none", edgecolor=INK, lw=1.6, zorder=4
            )
            ring.set_label("chosen")
    above.set_ylabel("effect (nats per token)")
    below.set_ylabel("loss (nats per token)")
    below.set_xlabel(f"coefficient ({unit})")
    above.tick_params(labelbottom=False)
    legend_above(figure, above, n_columns=2)
    return figure


def _line(
    axis: Axes,
    points: Sequence[tuple[float, float | None, float | None, float | None]],
    index: int,
    name: str,
) -> None:
    style = series_style(index)
    known = sorted((x, y) for x, y, _, _ in [*points, (0.0, 0.0, 0.0, 0.0)] if y is not None)
    axis.plot([x for x, _ in known], [y for _, y in known], **style, lw=1.6, ms=4, label=name)
    bounded = [(x, low, high) for x, _, low, high in points if low is not None and high is not None]
    if bounded:
        at, low, high = zip(*sorted([*bounded, (0.0, 0.0, 0.0)]), strict=True)
        axis.fill_between(at, low, high, color=style["color"], alpha=0.18, lw=0)
