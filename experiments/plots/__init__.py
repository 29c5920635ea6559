"""Figures, made from records and written the same on every run."""

from experiments.plots.cosine import cosine_figure
from experiments.plots.null import random_null_figure
from experiments.plots.style import write_figure
from experiments.plots.sweep import sweep_figure
from experiments.plots.transfer import transfer_figure

__all__ = ["cosine_figure", "random_null_figure", "sweep_figure", "transfer_figure", "write_figure"]
