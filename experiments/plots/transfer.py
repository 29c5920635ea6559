"""What every domain's direction does in every domain: a heat map with the numbers in it."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.plots.style import FAINT, INK, new_figure, number, p_value, wrapped
from experiments.summary import TransferRow


def transfer_figure(rows: Sequence[TransferRow]) -> Figure:
    """Draw sources as rows and targets as columns, with shift, interval and p in each cell.

    A domain's own direction is framed. The p shown is that adjusted by Holm where there is one.
    Purple is less, orange more misaligned.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("transfer: got no rows to draw, need at least 1")
    sources = list(dict.fromkeys(row.source for row in rows))
    targets = sorted(
        {row.target for row in rows}, key=lambda t: sources.index(t) if t in sources else len(sources)
    )
    figure, (axis,) = new_figure(2.2 + 1.12 * len(targets), 1.5 + 0.86 * len(sources))
    largest = max(abs(row.mean) for row in rows) or 1.0
    norm, colours = TwoSlopeNorm(0, -largest, largest), mpl.colormaps["PuOr_r"]
    for row in rows:
        place = targets.index(row.target), sources.index(row.source)
        _cell(axis, row, place, colours(0.5 + 0.82 * (float(norm(row.mean)) - 0.5)))
    for domain in set(sources) & set(targets):
        corner = targets.index(domain) - 0.47, sources.index(domain) - 0.47
        axis.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor=INK, lw=2.2, zorder=3))
    axis.set_xticks(range(len(targets)), [wrapped(target) for target in targets], size=8.5)
    axis.set_yticks(range(len(sources)), [wrapped(source, 16) for source in sources], size=8.5)
    axis.set_xlim(-0.5, len(targets) - 0.5)
    axis.set_ylim(len(sources) - 0.5, -0.5)
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("questions from", color=FAINT)
    axis.set_ylabel("direction of", color=FAINT)
    return figure


def _cell(
    axis: Axes, row: TransferRow, place: tuple[int, int], colour: tuple[float, float, float, float]
) -> None:
    x, y = place
    axis.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, color=colour, lw=0))
    red, green, blue = colour[:3]
    text = "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "#ffffff"
    centred: dict[str, Any] = {"ha": "center", "va": "center", "color": text}
    axis.text(x, y - 0.22, number(row.mean, sign=True), weight="bold", size=11, **centred)
    if row.low is not None and row.high is not None:
        axis.text(x, y + 0.07, f"{number(row.low)} to {number(row.high)}", size=7, **centred)
    if (p := row.p if row.p_holm is None else row.p_holm) is not None:
        shown = p_value(p)
        axis.text(x, y + 0.3, f"p {shown}" if shown.startswith("<") else f"p = {shown}", size=7, **centred)
