"""What benchmarks found: bars of ratios with their intervals, and curves of cost over size."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.plots.style import FAINT, INK, errors, legend_above, new_figure, series_style


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a panel.

    Attributes:
        name: What stands beside it.
        value: Its length.
        low: Lower bound of its interval; None if there is none.
        high: Upper bound.
        ours: Whether it is this project's.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Bars that share an axis.

    Attributes:
        title: Above the panel.
        axis: What the lengths are.
        bars: From top to bottom.
        line: Where an upright line marks a value to compare with; None for none.
    """

    title: str
    axis: str
    bars: tuple[Bar, ...]
    line: float | None = 1.0


def bars_figure(panels: Sequence[Panel]) -> Figure:
    """Draw panels of bars below one another; each bar carries its number.

    Raises:
        ValueError: There is no panel, or one without bars.
    """
    if not panels or not all(panel.bars for panel in panels):
        raise ValueError("bars: got no panel or an empty one, need at least 1 bar in each")
    heights = [0.9 + 0.3 * len(panel.bars) for panel in panels]
    figure, axes = new_figure(7.2, sum(heights), len(panels), 1)
    if (grid := axes[0].get_gridspec()) is not None:
        grid.set_height_ratios(heights)
    if isinstance(layout := figure.get_layout_engine(), ConstrainedLayoutEngine):
        layout.set(w_pad=0.1)  # names are a little wider in print than when they are measured
    for axis, panel in zip(axes, panels, strict=True):
        for place, bar in enumerate(panel.bars):
            colour = series_style(0 if bar.ours else 5)["color"]
            spread = errors(bar.value, bar.low, bar.high)
            axis.barh(place, bar.value, 0.62, color=colour, alpha=1.0 if bar.ours else 0.55)
            if spread is not None:
                axis.errorbar(bar.value, place, xerr=spread, color=INK, lw=1.2, capsize=2.5, fmt="none")
            end = max(bar.value, bar.high or 0.0)
            axis.annotate(
                f"{bar.value:.{2 if bar.value < 20 else 0}f}",
                (end, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                color=INK,
            )
        if panel.line is not None:
            axis.axvline(panel.line, color=INK, ls=(0, (4, 3)), lw=1.0)
        axis.set_yticks(range(len(panel.bars)), [bar.name for bar in panel.bars])
        axis.invert_yaxis()
        axis.set_xlim(0, 1.12 * max(max(bar.value, bar.high or 0.0) for bar in panel.bars))
        axis.set_xlabel(panel.axis)
        axis.set_title(panel.title, loc="left", size=10, weight="bold")
        axis.grid(visible=False, axis="y")
    return figure


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a chart: values with their intervals over a size."""

    name: str
    sizes: tuple[float, ...]
    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves that share axes."""

    title: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    log_x: bool = False


def curves_figure(charts: Sequence[Chart]) -> Figure:
    """Draw charts side by side, with bands for the intervals; one legend for all.

    Raises:
        ValueError: There is no chart, or one without curves.
    """
    if not charts or not all(chart.curves for chart in charts):
        raise ValueError("curves: got no chart or an empty one, need at least 1 curve in each")
    figure, axes = new_figure(3.5 * len(charts) + 0.4, 3.3, 1, len(charts))
    for axis, chart in zip(axes, charts, strict=True):
        for index, curve in enumerate(chart.curves):
            style = series_style(index)
            axis.plot(curve.sizes, curve.values, **style, lw=1.6, ms=5, label=curve.name)
            axis.fill_between(curve.sizes, curve.lows, curve.highs, color=style["color"], alpha=0.18, lw=0)
        if chart.log_x:
            axis.set_xscale("log", base=2)
            axis.set_xticks(chart.curves[0].sizes, [f"{size:g}" for size in chart.curves[0].sizes])
            axis.minorticks_off()
        axis.axhline(1.0, color=FAINT, lw=0.9)
        axis.set_ylim(bottom=0)
        axis.set_xlabel(chart.x)
        axis.set_ylabel(chart.y)
        axis.set_title(chart.title, loc="left", size=10, weight="bold")
    legend_above(figure, axes[0], n_columns=4)
    return figure
