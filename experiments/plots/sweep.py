"""Which layer and which coefficient shift the propensity, on the dev split."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.plots.style import FAINT, INK, bare, label, legend_above, new_figure, number, series_style
from experiments.summary import Chosen, SweepRow

COLUMNS = 3


def sweep_figure(rows: Sequence[SweepRow], chosen: Chosen) -> Figure:
    """Draw the shift over layers, a panel for each domain and a line with its band for each coefficient.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("sweep: got no rows to draw, need at least 1")
    domains = list(dict.fromkeys(row.domain for row in rows))
    coefficients = sorted({row.coefficient for row in rows})
    n_columns = min(COLUMNS, len(domains))
    n_rows = -(-len(domains) // n_columns)
    figure, axes = new_figure(max(2.9 * n_columns, 5.2), 2.5 * n_rows + 0.9, n_rows, n_columns)
    for axis, domain in zip(axes, domains, strict=False):
        for index, coefficient in enumerate(coefficients):
            line = [row for row in rows if (row.domain, row.coefficient) == (domain, coefficient)]
            _line(axis, sorted(line, key=lambda row: row.layer), index)
        _mark_chosen(axis, rows, domain, chosen)
        axis.set_title(label(domain), loc="left", size=10, weight="bold")
        axis.axhline(0, color=FAINT, lw=0.9)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    bare(axes[len(domains) :])
    _share_range(axes[: len(domains)])
    figure.supxlabel("layer", size="medium", color=INK)
    figure.supylabel("shift of propensity (nats per token)", size="medium", color=INK)
    legend_above(figure, axes[0], n_columns=min(5, n_columns + 2))
    return figure


def _line(axis: Axes, rows: Sequence[SweepRow], index: int) -> None:
    if not rows:
        return
    style = series_style(index)
    layers = [row.layer for row in rows]
    name = f"coefficient {number(rows[0].coefficient, 2, sign=True)}"
    axis.plot(layers, [row.mean for row in rows], **style, lw=1.6, ms=4, label=name)
    bounded = [(row.layer, row.low, row.high) for row in rows if row.low is not None and row.high is not None]
    if bounded:
        at, low, high = zip(*bounded, strict=True)
        axis.fill_between(at, low, high, color=style["color"], alpha=0.18, lw=0)


def _mark_chosen(axis: Axes, rows: Sequence[SweepRow], domain: str, chosen: Chosen) -> None:
    wanted = (domain, chosen.layer, chosen.coefficient)
    for row in rows:
        if (row.domain, row.layer, row.coefficient) == wanted:
            ring: dict[str, Any] = {"s": 130, "facecolor": "none", "edgecolor": INK, "lw": 1.6, "zorder": 4}
            axis.scatter([row.layer], [row.mean], label="chosen", **ring)


def _share_range(axes: Sequence[Axes]) -> None:
    limits = [axis.get_ylim() for axis in axes]
    for axis in axes:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
