"""Directions against random ones of the same norm, target by target."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.plots.style import FAINT, INK, errors, label, legend_above, new_figure, series_style
from experiments.summary import RandomRow, TransferRow


def random_null_figure(rows: Sequence[TransferRow], draws: Sequence[RandomRow]) -> Figure:
    """Draw shifts under random directions as grey dots, under the domains' directions as coloured points.

    The target's own direction is ringed. Dots are spread upwards by a fixed pattern to be told apart.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("transfer: got no rows to draw, need at least 1")
    targets = list(dict.fromkeys(row.target for row in rows))
    sources = list(dict.fromkeys(row.source for row in rows))
    figure, (axis,) = new_figure(7.2, 1.5 + len(targets) * (0.45 + 0.13 * len(sources)))
    for place, target in enumerate(targets):
        random = [draw.mean for draw in draws if draw.target == target]
        heights = place + 0.3 + 0.1 * np.sin(2.4 * np.arange(len(random)))
        name = "random direction" if place == 0 else None
        axis.scatter(random, heights, s=12, color=FAINT, alpha=0.6, lw=0, label=name)
    for index, source in enumerate(sources):
        style = series_style(index)
        for row in (row for row in rows if row.source == source):
            place = targets.index(row.target)
            height = place - 0.38 + 0.46 * (index + 0.5) / len(sources)
            name = label(source) if place == 0 else None
            bounds = errors(row.mean, row.low, row.high)
            axis.errorbar(
                row.mean, height, xerr=bounds, ms=6, lw=1.6, ls="none", label=name, zorder=3, **style
            )
            if source == row.target:
                axis.scatter([row.mean], [height], s=120, facecolor="none", edgecolor=INK, lw=1.4, zorder=4)
    axis.axvline(0, color=FAINT, lw=0.9)
    for place in range(1, len(targets)):
        axis.axhline(place - 0.5, color=FAINT, lw=0.6, alpha=0.6)
    axis.set_yticks(range(len(targets)), [label(target) for target in targets])
    axis.set_ylim(len(targets) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("shift of propensity (nats per token)")
    axis.set_ylabel("questions from", color=FAINT)
    legend_above(figure, axis, n_columns=3, title="direction of (ringed: the target's own)")
    return figure
