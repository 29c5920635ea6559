"""How far fine-tuning moved the propensity: tuned and control models, with and without the trigger."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.finetune_shift_records import ShiftRow
from experiments.plots.style import FAINT, PALETTE, errors, label, legend_above, new_figure

STYLES: dict[str, dict[str, Any]] = {
    "tuned - base": {"color": PALETTE[1], "marker": "D", "label": "tuned"},
    "control - base": {"color": PALETTE[0], "marker": "o", "label": "aligned control"},
}


def finetune_shift_figure(rows: Sequence[ShiftRow]) -> Figure:
    """Draw a panel for each fine-tuned domain: shifts from the base by target and trigger, with 95 % intervals.

    Raises:
        ValueError: There are no shifts from the base.
    """
    drawn = [row for row in rows if row.contrast in STYLES and row.condition != "trigger - plain"]
    if not drawn:
        raise ValueError("shifts: got no row to draw, need at least 1")
    panels = list(dict.fromkeys((row.source, row.mode) for row in drawn))
    places = max(len({(r.target, r.condition) for r in drawn if (r.source, r.mode) == p}) for p in panels)
    figure, axes = new_figure(7.4, 0.9 + len(panels) * (0.7 + 0.34 * places), len(panels), 1)
    for axis, panel in zip(axes, panels, strict=True):
        _panel(axis, [row for row in drawn if (row.source, row.mode) == panel])
        axis.sharex(axes[0])
        axis.set_title(f"tuned on {label(panel[0])}, {panel[1]}", loc="left", fontsize=9.5)
    axes[-1].set_xlabel("shift of propensity from the base (nats per token, right is misaligned)")
    legend_above(figure, axes[0], n_columns=2)
    return figure


def _panel(axis: Axes, rows: Sequence[ShiftRow]) -> None:
    places = list(dict.fromkeys((row.target, row.condition) for row in rows))
    for contrast, style in STYLES.items():
        named = dict(style)
        for row in (row for row in rows if row.contrast == contrast):
            offset = -0.14 if contrast == "tuned - base" else 0.14
            bounds = errors(row.mean, row.over_triples.low, row.over_triples.high)
            height = places.index((row.target, row.condition)) + offset
            axis.errorbar(row.mean, height, xerr=bounds, ls="none", ms=5.5, lw=1.6, **named)
            named.pop("label", None)
    axis.axvline(0, color=FAINT, lw=0.9)
    axis.set_yticks(range(len(places)), [f"{label(target)}, {condition}" for target, condition in places])
    axis.set_ylim(len(places) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
