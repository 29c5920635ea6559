"""Find directions in the residual stream, say how far they can be trusted, and steer with them."""

from steering.cells import UNEDITED, Cell
from steering.controls import empirical_p, random_directions, shuffled_directions
from steering.cosines import cosine_ceiling, cosine_table, isotropic_floor, shuffled_floor
from steering.direction import Direction
from steering.edits import Edit, add, clamp, mirror, project_out
from steering.estimators import ESTIMATORS
from steering.extract import extract
from steering.generate import generate
from steering.grid import Grid, additions, coefficients, layers, seeds, served_by, triggers
from steering.reliability import bootstrap_angle, shuffled_null, split_half_cosine
from steering.sampling import Sampling
from steering.score import score_answers
from steering.steered import steered

__all__ = [
    "ESTIMATORS",
    "UNEDITED",
    "Cell",
    "Direction",
    "Edit",
    "Grid",
    "Sampling",
    "add",
    "additions",
    "bootstrap_angle",
    "clamp",
    "coefficients",
    "cosine_ceiling",
    "cosine_table",
    "empirical_p",
    "extract",
    "generate",
    "isotropic_floor",
    "layers",
    "mirror",
    "project_out",
    "random_directions",
    "score_answers",
    "seeds",
    "served_by",
    "shuffled_directions",
    "shuffled_floor",
    "shuffled_null",
    "split_half_cosine",
    "steered",
    "triggers",
]
