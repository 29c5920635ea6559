"""How alike the domains' directions are, beside what noise and chance would give."""

from matplotlib.figure import Figure

from experiments.plots.style import FAINT, INK, PALETTE, label, legend_above, new_figure
from experiments.summary import Cosines


def cosine_figure(cosines: Cosines) -> Figure:
    """Draw the cosine of every pair of domains as a point, its ceiling as a bar, and the floor as a band.

    Raises:
        ValueError: There is no pair of two different domains.
    """
    rows = sorted((row for row in cosines.rows if row.a != row.b), key=lambda row: row.cosine)
    if not rows:
        raise ValueError("cosines: got no pair of two domains, need at least 1")
    figure, (axis,) = new_figure(7.2, 1.5 + 0.3 * len(rows))
    floor = cosines.floor
    axis.axvspan(
        -floor.random_95, floor.random_95, color=FAINT, alpha=0.22, lw=0, label="95 % of random directions"
    )
    if floor.shuffled_95 is not None:
        for side in (-1, 1):
            shown = "95 % of shuffled labels" if side > 0 else None
            axis.axvline(side * floor.shuffled_95, color=FAINT, ls=(0, (4, 3)), lw=1.2, label=shown)
    places = range(len(rows))
    with_ceiling = [
        (place, row.ceiling) for place, row in zip(places, rows, strict=True) if row.ceiling is not None
    ]
    if with_ceiling:
        heights, ceilings = zip(*with_ceiling, strict=True)
        axis.scatter(ceilings, heights, marker="|", s=130, color=INK, lw=1.6, label="ceiling set by noise")
    axis.hlines(places, 0, [row.cosine for row in rows], color=PALETTE[0], lw=1.4, alpha=0.6)
    axis.scatter([row.cosine for row in rows], places, color=PALETTE[0], s=42, zorder=3, label="cosine")
    axis.axvline(0, color=FAINT, lw=0.9)
    axis.set_yticks(list(places), [f"{label(row.a)} · {label(row.b)}" for row in rows])
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.set_xlim(min(-0.25, 1.15 * rows[0].cosine), 1.03)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(f"cosine of the two directions at layer {cosines.layer}")
    legend_above(figure, axis, n_columns=2)
    return figure
