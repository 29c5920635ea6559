"""Run prompts under conditions that edit them, off the unedited pass: what such prompts share is run once.

A beginning that all prompts have (a system message) is run once for each condition, and a prompt under a
condition once for all its samples.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch

from activations import HookPoint
from activations.batches import plan
from activations.encode import TokenRow
from steering.audit import Audit
from steering.edits import Edit
from steering.kv import Copies, PartOfCache, PromptCache, RoomyCache
from steering.prompts import SharedPrompts
from steering.rows import EditedRow, RowEdits

WORTH_TOKENS = 64
"""A pass of its own for a shared beginning pays off once it saves this many tokens (seen on a CPU)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Branch:
    """One prompt under one condition.

    Attributes:
        row: Its index among the shared prompts.
        prompt: Its tokens; all but the last are run.
        cell: Of the condition; branches of one cell have the same edits.
        edits: What is done to it.
        targets: The rows of the roomy cache that it is for, one for each sample.
        keys: The names of these rows in the audit.
    """

    row: int
    prompt: TokenRow
    cell: int
    edits: tuple[Edit, ...]
    targets: tuple[int, ...]
    keys: tuple[Hashable, ...]


class Branching:
    """Runs branches off shared prompts into a roomy cache, in passes of at most `budget` padded tokens."""

    def __init__(
        self, prompts: SharedPrompts, cache: RoomyCache, audit: Audit, *, n_layers: int, budget: int
    ) -> None:
        """Take where the branches start from, where they go, and the model's number of blocks."""
        self._prompts, self._cache, self._audit = prompts, cache, audit
        self._last, self._budget = n_layers - 1, budget

    def run(self, branches: Sequence[Branch], start: int) -> None:
        """Run branches that all leave the unedited pass after block `start`; -1 shares no block."""
        targets = [target for branch in branches for target in branch.targets]
        rows = [branch.row for branch in branches for _ in branch.targets]
        self._prompts.fill(self._cache, rows, targets, start + 1)
        cells: dict[int, list[Branch]] = {}
        for branch in branches:
            cells.setdefault(branch.cell, []).append(branch)
        common = 0 if start == self._last else common_beginning(cells.values())
        if common * (len(branches) - len(cells)) < WORTH_TOKENS:
            self._rest(branches, start, 0, None, {})
            return
        for group in plan([common] * len(cells), self._budget):
            own = [list(cells.values())[i] for i in group]
            leaders = [members[0] for members in own]
            keys = [tuple(key for branch in members for key in branch.keys) for members in own]
            edits = self._edits(leaders, keys)
            before = PromptCache(self._end(edits))
            self._prompts.resume([leader.row for leader in leaders], (0, common), start, edits, before)
            index = {leader.cell: i for i, leader in enumerate(leaders)}
            self._rest([branch for members in own for branch in members], start, common, before, index)

    def _rest(
        self,
        branches: Sequence[Branch],
        start: int,
        first: int,
        before: PromptCache | None,
        index: dict[int, int],
    ) -> None:
        lengths = [len(branch.prompt) - 1 for branch in branches]
        for part in plan([length - first for length in lengths], self._budget):
            own = [branches[i] for i in part]
            edits = self._edits(own, [branch.keys for branch in own])
            copies = Copies(
                [i for i, branch in enumerate(own) for _ in branch.targets],
                [target for branch in own for target in branch.targets],
                [len(branch.prompt) - 1 for branch in own for _ in branch.targets],
                right=False,
            )
            behind = torch.tensor([index.get(branch.cell, 0) for branch in own])
            cache = PartOfCache(self._cache, copies, before, behind, self._end(edits))
            span = (first, max(lengths))
            self._prompts.resume([branch.row for branch in own], span, start, edits, cache)

    def _edits(self, branches: Sequence[Branch], keys: Sequence[tuple[Hashable, ...]]) -> RowEdits:
        rows = [EditedRow(own, b.prompt, b.edits) for b, own in zip(branches, keys, strict=True)]
        return RowEdits(rows, self._audit)

    def _end(self, edits: RowEdits) -> int | None:
        """Return the block whose keys and values end a pass; None if an edit stands behind it, to be counted."""
        return None if HookPoint(self._last) in edits.points else self._last


def common_beginning(cells: Iterable[Sequence[Branch]]) -> int:
    """Return how many tokens all prompts begin with and each cell edits alike; every prompt keeps one more."""
    cells = list(cells)
    prompts = [branch.prompt.ids[:-2] for members in cells for branch in members]
    agreed = _agreement(prompts)
    for members in cells:
        for edit in members[0].edits:
            flags = [edit.where.select(branch.prompt)[:agreed] for branch in members]
            agreed = min(agreed, _agreement(flags))
    return agreed


def _agreement(rows: Sequence[Sequence[Any]]) -> int:
    """Return how many items all rows begin with."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False)))
