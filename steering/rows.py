"""The batched edit: every row of a batch carries its own edits, and one hook per hook point applies all.

A row's edits are bound to the row itself, not to its place in a batch: whoever splits, sorts or shrinks a
batch builds the edits anew from the rows that remain, and the audit goes on under the rows' keys.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from activations import HookPoint, edited
from activations.encode import TokenRow
from activations.hooks import Resid
from steering.audit import Account, Audit
from steering.edits import Edit, Step

Positions = Int[np.ndarray, "batch column"]
"""For each column of a pass the token's place in its row, from the row's first token; -1 for pads.

Places beyond the row's own tokens are generated tokens.
"""

Tokens = Float[Tensor, "token d_model"]


@dataclass(frozen=True)
class EditedRow:
    """One row of a batch: its names in the audit, its tokens, and what is done to them.

    Several names mean that what is computed here serves several rows of a grid.
    """

    keys: tuple[Hashable, ...]
    row: TokenRow
    edits: tuple[Edit, ...]


class RowEdits:
    """The edits of all rows of one batch, applied pass by pass.

    Call `prepare` before each forward pass, and run the passes inside `applied`.
    """

    def __init__(self, rows: Sequence[EditedRow], audit: Audit) -> None:
        """Sort the rows' edits by hook point; the n-th edit of every row at a point is applied at once."""
        slots: dict[tuple[HookPoint, int], list[_Entry]] = {}
        for index, row in enumerate(rows):
            taken: dict[HookPoint, int] = {}
            for edit in row.edits:
                if edit.idle:
                    continue
                for point in edit.points:
                    slot = taken.setdefault(point, 0)
                    slots.setdefault((point, slot), []).append(_Entry(index, row, edit, edit.step(point)))
                    taken[point] += 1
        self._slots = {place: _Slot(place, entries, audit) for place, entries in sorted(slots.items())}

    @property
    def points(self) -> tuple[HookPoint, ...]:
        """The hook points at which some row is edited."""
        return tuple(dict.fromkeys(point for point, _ in self._slots))

    def prepare(self, positions: Positions) -> None:
        """Choose the tokens of the next pass."""
        for slot in self._slots.values():
            slot.choose(positions)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Apply the edits to the passes inside the block."""
        with edited(model, {point: self.edit_at(point) for point in self.points}):
            yield

    def edit_at(self, point: HookPoint) -> Callable[[Resid], Resid]:
        """Return the edit of all rows at one hook point, for the pass that was prepared last."""
        slots = [slot for (own, _), slot in self._slots.items() if own == point]

        def edit(resid: Resid) -> Resid:
            for slot in slots:
                resid = slot.apply(resid)
            return resid

        return edit


@dataclass(frozen=True)
class _Entry:
    """One edit of one row at one hook point."""

    index: int
    row: EditedRow
    edit: Edit
    step: Step

    @property
    def account(self) -> Account:
        return Account(self.row.keys, self.edit, self.edit.gated)

    @cached_property
    def _own(self) -> Bool[np.ndarray, " token"]:
        return np.asarray(self.edit.where.select(self.row.row), dtype=bool)

    def columns(self, places: Int[np.ndarray, " column"]) -> Int[np.ndarray, " chosen"]:
        """Return the columns whose tokens, at these places of the row, are edited."""
        length = len(self.row.row)
        chosen = np.zeros(len(places), dtype=bool)
        inside = (places >= 0) & (places < length)
        chosen[inside] = self._own[places[inside]]
        for column in np.flatnonzero(places >= length):
            chosen[column] = self.edit.where.generated(self.row.row, int(places[column]) - length)
        return np.flatnonzero(chosen)


class _Slot:
    """At most one edit of each row at one hook point, stacked so that all are applied together."""

    def __init__(self, place: Hashable, entries: Sequence[_Entry], audit: Audit) -> None:
        self._entries = entries
        steps = [entry.step for entry in entries]
        with torch.inference_mode(False):  # so that passes outside inference mode can use them too
            self._shift = torch.stack([step.shift for step in steps])
            self._unit = torch.stack([step.unit for step in steps])
            self._bounds = torch.tensor([(step.slope, step.low, step.high, *step.gate) for step in steps])
        unbounded = torch.tensor((1.0, -torch.inf, torch.inf, -torch.inf, torch.inf))
        self._only_adds = bool((self._bounds == unbounded).all())
        self._ledger = audit.ledger(place, tuple(entry.account for entry in entries))
        self._tokens = self._owners = self._generated = torch.empty(0, dtype=torch.long)

    def choose(self, positions: Positions) -> None:
        """Note which tokens of the next pass are edited, by which entry, and whether they are generated."""
        width = positions.shape[1]
        tokens, owners, generated = [], [], []
        for number, entry in enumerate(self._entries):
            places = positions[entry.index]
            columns = entry.columns(places)
            tokens.append(entry.index * width + columns)
            owners.append(np.full(len(columns), number))
            generated.append((places[columns] >= len(entry.row.row)).astype(np.int64))
        self._ledger.plan(np.concatenate(owners))
        device = self._shift.device
        self._tokens, self._owners, self._generated = (
            torch.from_numpy(np.concatenate(parts)).to(device) for parts in (tokens, owners, generated)
        )

    def apply(self, resid: Resid) -> Resid:
        """Return the residual stream with the chosen tokens moved; all others are copied bit by bit."""
        if not len(self._tokens):
            return resid
        self._move_to(resid.device)
        flat = resid.flatten(0, 1)
        before = flat[self._tokens].float()
        after, moved = self._move(before)
        with torch.no_grad():
            relative = (after - before).norm(dim=-1) / before.norm(dim=-1).clamp(min=1e-30)
            self._ledger.note(self._owners, self._generated, moved.long(), relative)
        return flat.index_copy(0, self._tokens, after.to(resid.dtype)).view_as(resid)

    def _move(self, h: Tokens) -> tuple[Tokens, Bool[Tensor, " token"]]:
        shifted = h + self._shift[self._owners]
        if self._only_adds:
            return shifted, torch.ones(len(h), dtype=torch.bool, device=h.device)
        unit = self._unit[self._owners]
        slope, low, high, gate_low, gate_high = self._bounds[self._owners].unbind(dim=-1)
        projection = (shifted * unit).sum(dim=-1)
        target = torch.minimum(torch.maximum(slope * projection, low), high)
        after = shifted + (target - projection)[:, None] * unit
        gauge = (h * unit).sum(dim=-1)
        open_gate = (gauge >= gate_low) & (gauge <= gate_high)
        return torch.where(open_gate[:, None], after, h), open_gate

    def _move_to(self, device: torch.device) -> None:
        if self._shift.device != device:
            tensors = (self._shift, self._unit, self._bounds, self._tokens, self._owners, self._generated)
            self._shift, self._unit, self._bounds, self._tokens, self._owners, self._generated = (
                tensor.to(device) for tensor in tensors
            )
