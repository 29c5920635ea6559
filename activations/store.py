"""Pooled residual-stream activations on disk: one safetensors file, every fact in its header."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from activations.hooks import HookPoint
from activations.subject import SubjectFacts

FORMAT = "misdirection.activations/1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Activations:
    """The residual stream of some rows at some hook points, averaged over chosen tokens.

    Attributes:
        values: Mean over the chosen tokens of each row, in units of the residual stream, float32.
        norms: Mean over the same tokens of the residual's L2 norm (not the norm of the mean).
        n_tokens: How many tokens of each row were chosen.
        rows: A name for each row.
        points: The hook points, in the order of the second axis.
        where: The selector that chose the tokens, as text.
        subject: The model that was read.
        data: SHA-256 of the chats that were read.
    """

    values: Float[Tensor, "row point d_model"]
    norms: Float[Tensor, "row point"]
    n_tokens: Int[Tensor, " row"]
    rows: tuple[str, ...]
    points: tuple[HookPoint, ...]
    where: str
    subject: SubjectFacts
    data: str

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        shape = (len(self.rows), len(self.points))
        if self.values.shape[:2] != shape or self.norms.shape != shape or len(self.n_tokens) != shape[0]:
            raise ValueError(
                f"activations: {shape[0]} rows, {shape[1]} points: values {tuple(self.values.shape)}, "
                f"norms {tuple(self.norms.shape)}, n_tokens {tuple(self.n_tokens.shape)} do not fit"
            )

    def at(self, point: HookPoint) -> Float[Tensor, "row d_model"]:
        """Return the activations at one hook point.

        Raises:
            LookupError: The point was not captured.
        """
        if point not in self.points:
            raise LookupError(f"{point} was not captured; have {', '.join(map(str, self.points))}")
        return self.values[:, self.points.index(point)]

    def select(self, indices: Sequence[int]) -> "Activations":
        """Return some of the rows, in the given order."""
        chosen = torch.tensor(list(indices), dtype=torch.long)
        return replace(
            self,
            values=self.values[chosen],
            norms=self.norms[chosen],
            n_tokens=self.n_tokens[chosen],
            rows=tuple(self.rows[i] for i in indices),
        )

    def at_points(self, points: Sequence[HookPoint]) -> "Activations":
        """Return the same rows at some of the hook points, in the given order.

        Raises:
            LookupError: A point was not captured.
        """
        values = torch.stack([self.at(point) for point in points], dim=1)
        places = [self.points.index(point) for point in points]
        return replace(self, values=values, norms=self.norms[:, places], points=tuple(points))

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        facts = {
            "rows": self.rows,
            "points": [str(point) for point in self.points],
            "where": self.where,
            "subject": asdict(self.subject),
            "data": self.data,
        }
        tensors = {"values": self.values, "norms": self.norms, "n_tokens": self.n_tokens}
        save_tensors(path, FORMAT, tensors, facts)

    @classmethod
    def load(cls, path: Path) -> "Activations":
        """Read what `save` wrote.

        Raises:
            ValueError: The file is damaged, or not of this format.
        """
        tensors, facts = load_tensors(path, FORMAT)
        try:
            return cls(
                **tensors,
                rows=tuple(facts["rows"]),
                points=tuple(map(HookPoint.parse, facts["points"])),
                where=facts["where"],
                subject=SubjectFacts.from_json(facts["subject"]),
                data=facts["data"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: the header lacks or misnames a fact: {error}") from error


def save_tensors(path: Path, tag: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and facts as one safetensors file, whole or not at all.

    Raises:
        OSError: The folder is missing, read-only or full; nothing is left behind.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open(
            "xb"
        ):  # has the permissions that the user's new files have; safetensors' own has not
            permissions = partial.stat().st_mode
        save_file(held, partial, {tag: json.dumps(facts)})
        partial.chmod(permissions)
        os.replace(partial, path)
    except SafetensorError as error:
        raise OSError(f"{path}: could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def load_tensors(path: Path, tag: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or its header does not carry the tag.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if tag not in header:
                raise ValueError(f"{path}: header has {sorted(header)}, this version reads {tag!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file: {error}") from error
    try:
        return tensors, dict(json.loads(header[tag]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the facts under {tag!r} are not a JSON object: {error}") from error
