"""The chosen direction against every control, on the test split."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.plots.style import FAINT, PALETTE, errors, label, new_figure
from experiments.sweep_summary import HeldOut

NAMES = {"random": "random directions", "shuffled": "shuffled labels"}


def controls_figure(test: HeldOut, direction: str) -> Figure:
    """Draw the effect of the chosen direction with its interval, and each control as a grey dot.

    Dots are spread upwards by a fixed pattern to be told apart.

    Raises:
        ValueError: There is no row over all domains.
    """
    if not test.rows:
        raise ValueError("test: got no rows to draw, need at least 1")
    row = test.rows[0]
    kinds = list(dict.fromkeys(control.kind for control in test.controls))
    figure, (axis,) = new_figure(6.8, 1.3 + 0.55 * len(kinds))
    for place, kind in enumerate(kinds, start=1):
        values = [c.mean for c in test.controls if c.kind == kind and c.mean is not None]
        heights = place + 0.16 * np.sin(2.4 * np.arange(len(values)))
        axis.scatter(values, heights, s=16, color=FAINT, alpha=0.65, lw=0)
    if row.mean is not None:
        style: dict[str, Any] = {"color": PALETTE[1], "marker": "D", "ms": 7, "lw": 1.8, "ls": "none"}
        axis.errorbar(row.mean, 0, xerr=errors(row.mean, row.low, row.high), zorder=3, **style)
        axis.axvline(row.mean, color=PALETTE[1], lw=0.9, alpha=0.5)
    axis.axvline(0, color=FAINT, lw=0.9)
    axis.set_yticks(range(len(kinds) + 1), [label(direction), *(NAMES[kind] for kind in kinds)])
    axis.set_ylim(len(kinds) + 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("effect on test triples (nats per token)")
    return figure
