"""Refuse the parts of a direction that do not belong together, or that could not be steered with."""

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor

from activations import HookPoint


def check_points(points: Sequence[HookPoint], n_layers: int) -> None:
    """Raise ValueError unless there are points, each once, all inside the model."""
    if not points or len(set(points)) < len(points):
        raise ValueError(f"points are ({listed(points)}), need at least one, each once")
    if outside := [point for point in points if not 0 <= point.layer < n_layers]:
        raise ValueError(f"{listed(outside)} is outside the model's layers 0..{n_layers - 1}")


def check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless it is a finite float32 tensor of this shape."""
    if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
        raise ValueError(f"{name}: got {tuple(tensor.shape)} {tensor.dtype}, need {shape} torch.float32")
    if bad := int((~tensor.isfinite().reshape(len(tensor), -1).all(dim=-1)).sum()):
        raise ValueError(f"{name}: nan or inf at {bad} of {len(tensor)} points")


def check_counts(n_positive: int, n_negative: int) -> None:
    """Raise ValueError for a count below 0."""
    if n_positive < 0 or n_negative < 0:
        raise ValueError(f"counts are {n_positive} positive and {n_negative} negative, need 0 or more")


def check_reliability(reliability: Mapping[str, Sequence[float]], n_points: int) -> None:
    """Raise ValueError unless every measure has a finite value for each point."""
    for measure, values in reliability.items():
        if len(values) != n_points or not all(map(isfinite, values)):
            raise ValueError(f"{measure} is {values}, need a number for each of {n_points} points")


def listed(points: Sequence[HookPoint]) -> str:
    """Return the names of hook points for a message."""
    return ", ".join(map(str, points))
