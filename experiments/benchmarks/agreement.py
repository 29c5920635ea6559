"""Whether two ways of generating or reading give the same: token by token, up to ties within rounding."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from activations import HookPoint, Subject, edited
from activations.encode import Batch
from activations.hooks import Resid, plain_model
from experiments.benchmarks.peers.contract import Peer, Shift
from steering.decode import Stop

TIE = 0.01
"""Two tokens whose logits lie this close together may change places with the kernels that compute them."""

CLOSE = 1e-4
"""Largest relative error of a captured layer that counts as equal."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the rows of two ways compare.

    Attributes:
        rows: How many were compared.
        same: Rows with the same tokens, up to the end of the turn.
        ties: Rows that part at a token whose logit lies within `TIE` of the other's.
        gap: Largest difference of logits at which a row parted.
    """

    rows: int = 0
    same: int = 0
    ties: int = 0
    gap: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every row is the same or a tie."""
        return self.same + self.ties == self.rows

    def __add__(self, other: "Agreement") -> "Agreement":
        """Return both counted together."""
        return Agreement(
            rows=self.rows + other.rows,
            same=self.same + other.same,
            ties=self.ties + other.ties,
            gap=max(self.gap, other.gap),
        )

    def __str__(self) -> str:
        """Return e.g. `7 of 8, 1 tie`."""
        ties = f", {self.ties} tie{'s' if self.ties > 1 else ''}" if self.ties else ""
        return f"{self.same} of {self.rows}{ties}"


def end_tokens(subject: Subject) -> frozenset[int]:
    """Return the tokens that end a turn."""
    return Stop.of(subject, (), 1).tokens


def turn(ids: Sequence[int], ends: Collection[int]) -> tuple[int, ...]:
    """Return the tokens up to the one that ends the turn, that one included."""
    for i, token in enumerate(ids):
        if token in ends:
            return tuple(ids[: i + 1])
    return tuple(ids)


def compare_rows(
    subject: Subject,
    batch: Batch,
    shift: Shift | None,
    ours: Sequence[Sequence[int]],
    theirs: Sequence[Sequence[int]],
) -> Agreement:
    """Compare what two ways generated for the rows of a batch under a shift."""
    ends = end_tokens(subject)
    total = Agreement()
    for row, one, other in zip(batch.rows, ours, theirs, strict=True):
        a, b = turn(one, ends), turn(other, ends)
        if a == b:
            total += Agreement(rows=1, same=1)
            continue
        gap = _gap(subject, row.ids, shift, a, b)
        total += Agreement(rows=1, ties=int(gap <= TIE), gap=gap)
    return total


def capture_error(found: Tensor, wanted: Tensor) -> float:
    """Return the largest relative L2 error of a layer; layers are the first axis."""
    difference = (found - wanted).flatten(1).norm(dim=1)
    return float((difference / wanted.flatten(1).norm(dim=1)).max())


def refused(subject: Subject, peer: Peer, batch: Batch, shift: Shift, n: int, wanted: list[list[int]]) -> str:
    """Return why a peer's generations are not to be timed; empty if they agree."""
    found = compare_rows(subject, batch, shift, wanted, peer.generate(batch, shift, n))
    return "" if found.holds else f"{found} rows have the same tokens, logits differ by up to {found.gap:.3g}"


@torch.inference_mode()
def _gap(
    subject: Subject, prompt: Sequence[int], shift: Shift | None, a: Sequence[int], b: Sequence[int]
) -> float:
    """Return by how much the logits of two answers' first different tokens differ; infinite if one ends."""
    k = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if k is None:
        return float("inf")
    ids = torch.tensor([[*prompt, *a[:k]]], device=subject.device)
    first = 0 if shift is None or shift.tokens == "all" else len(prompt) - 1

    def add_to(resid: Resid) -> Resid:
        return (
            resid if shift is None else torch.cat([resid[:, :first], resid[:, first:] + shift.vector], dim=1)
        )

    with edited(subject.model, {} if shift is None else {HookPoint(shift.layer): add_to}):
        logits: Tensor = plain_model(subject.model)(input_ids=ids, use_cache=False).logits[0, -1]
    return abs(float(logits[a[k]] - logits[b[k]]))
