"""What every layer and coefficient does on the dev split: a heat map, a panel for each direction."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.plots.style import INK, bare, label, new_figure, number
from experiments.sweep_summary import Breakdown, Choice, DevRow

COLUMNS = 3

Place = tuple[int, float]


def heat_map_figure(rows: Sequence[DevRow], chosen: Choice, breakdown: Breakdown) -> Figure:
    """Draw layers as columns and coefficients as rows, the effect averaged over domains in each cell.

    A cross marks cells whose mean loss of coherence, or growth of repetition, passes the floor; a frame marks
    the chosen cell. Purple is less, orange more.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("heat map: got no rows to draw, need at least 1")
    layers = sorted({row.layer for row in rows})
    coefficients = sorted({row.coefficient for row in rows}, reverse=True)
    directions = list(dict.fromkeys(row.direction for row in rows))
    means = {name: _means([row for row in rows if row.direction == name], breakdown) for name in directions}
    largest = max((abs(mean) for own in means.values() for mean, _ in own.values()), default=1.0) or 1.0
    n_columns = min(COLUMNS, len(directions))
    n_rows = -(-len(directions) // n_columns)
    width, height = 0.9 + 0.62 * len(layers), 0.8 + 0.5 * len(coefficients)
    figure, axes = new_figure(max(width * n_columns, 4.6), height * n_rows + 0.4, n_rows, n_columns)
    norm = TwoSlopeNorm(0, -largest, largest)
    for axis, name in zip(axes, directions, strict=False):
        _panel(axis, means[name], layers, coefficients, norm)
        axis.set_title(label(name), loc="left", size=10, weight="bold")
        if name == chosen.direction:
            corner = layers.index(chosen.layer) - 0.47, coefficients.index(chosen.coefficient) - 0.47
            axis.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor=INK, lw=2.2, zorder=3))
    bare(axes[len(directions) :])
    figure.supxlabel("layer", size="medium", color=INK)
    figure.supylabel(f"coefficient ({chosen.unit})", size="medium", color=INK)
    return figure


def _means(rows: Sequence[DevRow], breakdown: Breakdown) -> dict[Place, tuple[float, bool]]:
    """Return each cell's effect averaged over the domains in which it was measured, and whether it breaks."""
    places: dict[Place, list[DevRow]] = {}
    for row in rows:
        if row.mean is not None:
            places.setdefault((row.layer, row.coefficient), []).append(row)
    means = {}
    for place, own in places.items():
        lost = fmean(row.loss or 0.0 for row in own) > breakdown.floor
        repeats = fmean(row.repetition or 0.0 for row in own) > (breakdown.repetition or 1.0)
        means[place] = fmean(row.mean or 0.0 for row in own), lost or repeats
    return means


def _panel(
    axis: Axes,
    means: Mapping[Place, tuple[float, bool]],
    layers: Sequence[int],
    coefficients: Sequence[float],
    norm: TwoSlopeNorm,
) -> None:
    colours = mpl.colormaps["PuOr_r"]
    centred: dict[str, Any] = {"ha": "center", "va": "center", "size": 8.5}
    for (layer, coefficient), (mean, broken) in means.items():
        x, y = layers.index(layer), coefficients.index(coefficient)
        colour = colours(0.5 + 0.82 * (float(norm(mean)) - 0.5))
        red, green, blue = colour[:3]
        ink = "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "#ffffff"
        axis.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, color=colour, lw=0))
        cross = "\n×" if broken else ""
        axis.text(x, y, number(mean, sign=True) + cross, color=ink, **centred)
    axis.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axis.set_yticks(range(len(coefficients)), [number(value, sign=True) for value in coefficients])
    axis.set_xlim(-0.5, len(layers) - 0.5)
    axis.set_ylim(len(coefficients) - 0.5, -0.5)
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
