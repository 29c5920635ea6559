"""Figures, made from records and written the same on every run."""

from experiments.plots.controls import controls_figure
from experiments.plots.cosine import cosine_figure
from experiments.plots.dose import dose_figure
from experiments.plots.heat_map import heat_map_figure
from experiments.plots.null import random_null_figure
from experiments.plots.style import write_figure
from experiments.plots.sweep import sweep_figure
from experiments.plots.transfer import transfer_figure

__all__ = [
    "controls_figure",
    "cosine_figure",
    "dose_figure",
    "heat_map_figure",
    "random_null_figure",
    "sweep_figure",
    "transfer_figure",
    "write_figure",
]
