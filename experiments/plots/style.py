"""How figures look and how they are written: colours, labels, PNG and SVG that are the same on every run."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pipeline.disk import replace_file

INK, FAINT, GRID = "#1f2328", "#656d76", "#d8dee4"
"""Text, secondary text and grid lines. A report recolours these and the palette for its dark theme."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b0559a", "#8a7400", "#5a6acf")
"""Told apart with any kind of colour vision (after Okabe, Ito); contrast at least 3 on white and on black."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
"""A second sign beside the colour, for print without colour and for more series than colours."""

MINUS = "\u2212"

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    # Names of domains and stages are data: a dollar sign in one must not start a formula.
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",
}


def new_figure(width: float, height: float, n_rows: int = 1, n_columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row; sizes in inches. Global settings are not touched."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
    return figure, list(axes.flat)


def figure_bytes(figure: Figure, kind: str, name: str) -> bytes:
    """Return a figure as `png` (150 dpi, white background) or `svg` (transparent), without date or version.

    Args:
        figure: The figure.
        kind: `png` or `svg`.
        name: Seeds the ids inside an SVG, so that two figures on one page do not share any.
    """
    empty = {"png": {"Software": None}, "svg": dict.fromkeys(("Date", "Creator", "Format", "Type"))}[kind]
    target = io.BytesIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):  # once, not for each file
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.savefig(
            target, format=kind, dpi=150, metadata=empty, facecolor="white" if kind == "png" else "none"
        )
    return target.getvalue()


def write_figure(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `NAME.png` and `NAME.svg` and return their paths; the same figure gives the same bytes.

    Raises:
        OSError: The folder is missing, read-only or full.
    """
    paths = Path(folder) / f"{name}.png", Path(folder) / f"{name}.svg"
    for path in paths:
        replace_file(path, figure_bytes(figure, path.suffix[1:], name))
    return paths


def label(domain: str) -> str:
    """Return a domain's name as a reader sees it: `bad_medical_advice` -> `bad medical advice`."""
    return domain.replace("_", " ")


def wrapped(domain: str, width: int = 12) -> str:
    """Return a domain's name on several lines of about `width` characters."""
    lines = [""]
    for word in label(domain).split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return a number with a true minus sign; a missing one as a dash."""
    if value is None:
        return "\u2013"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")  # neither +0.00 nor -0.00
    return text.replace("-", MINUS)


def p_value(p: float | None) -> str:
    """Return a p-value with two significant digits, small ones as a bound."""
    if p is None:
        return "\u2013"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def series_style(index: int) -> dict[str, Any]:
    """Return colour and marker of the series with this index, from 0; distinct for at least 60 series."""
    return {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)]}


def errors(mean: float, low: float | None, high: float | None) -> list[list[float]] | None:
    """Return the interval as matplotlib's lengths below and above the point; None if it was not computed."""
    if low is None or high is None:
        return None
    return [[max(mean - low, 0.0)], [max(high - mean, 0.0)]]


def legend_above(figure: Figure, axis: Axes, *, n_columns: int, title: str | None = None) -> None:
    """Put the legend of one of the axes above all of them."""
    handles, names = axis.get_legend_handles_labels()
    box = figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=min(n_columns, len(names)),
        title=title,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        title_fontproperties={"size": 9, "weight": "bold"},
        alignment="left",
    )
    box.get_title().set_color(INK)


def bare(axes: Sequence[Axes]) -> None:
    """Hide axes that a grid of panels has too many of."""
    for axis in axes:
        axis.set_visible(False)
