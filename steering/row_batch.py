"""One batch of a grid's rows before it decodes: sorted, and every prompt's keys and values in place."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from activations import Subject
from activations.batches import batch_budget
from activations.encode import TokenRow
from steering.audit import Audit
from steering.branches import Branch, Branching
from steering.cells import Cell
from steering.kv import RoomyCache
from steering.prompts import SharedPrompts
from steering.rows import EditedRow

BRANCH_TOKENS = 1024
"""Prompt tokens in one pass of a branch on a CPU: little padding, and activations that stay in its caches."""


@dataclass(frozen=True)
class RowJob:
    """A row to generate: its place in the grid, and the prompt as its cell reads it."""

    cell: int
    row: int
    sample: int
    prompt: TokenRow


class RowBatch:
    """The rows of one batch, sorted so that each group shares an adapter and a place to branch off."""

    def __init__(
        self,
        subject: Subject,
        jobs: Sequence[RowJob],
        cells: Sequence[Cell],
        share_depth: bool,
    ) -> None:
        self._subject, self._share_depth = subject, share_depth
        starts = {(job.cell, job.row): self._start(cells[job.cell], job.prompt) for job in jobs}
        self.jobs = sorted(
            jobs,
            key=lambda j: (
                cells[j.cell].adapter,
                _first(starts[j.cell, j.row]),
                -len(j.prompt),
                j.row,
                j.cell,
                j.sample,
            ),
        )
        self._starts = [starts[job.cell, job.row] for job in self.jobs]
        self.adapters = [cells[job.cell].adapter for job in self.jobs]
        self.rows = [
            EditedRow(((job.cell, job.row, job.sample),), job.prompt, cells[job.cell].edits)
            for job in self.jobs
        ]
        self.audit = Audit()
        self.mask = torch.empty(0)

    def prefill(self, room: int) -> RoomyCache:
        """Return keys and values of each row's prompt without its last token; set `mask`."""
        width = max(len(row.row) for row in self.rows) - 1
        cache, masks = RoomyCache(len(self.rows), width, room + 1), []
        for adapter in dict.fromkeys(self.adapters):
            own = [i for i, name in enumerate(self.adapters) if name == adapter]
            tokens = [self.rows[i].row for i in own]
            keep = {start for i in own if (start := self._starts[i]) is not None and start >= 0}
            prompts = SharedPrompts(
                self._subject,
                tokens,
                [len(row) - 1 for row in tokens],
                adapter=adapter,
                keep=keep,
                width=width,
            )
            branching = Branching(
                prompts,
                cache,
                self.audit,
                n_layers=self._subject.facts.n_layers,
                budget=branch_budget(self._subject),
            )
            for start in dict.fromkeys(self._starts[i] for i in own):
                members = [k for k, i in enumerate(own) if self._starts[i] == start]
                if start is None:
                    prompts.fill(cache, members, [own[k] for k in members])
                else:
                    branching.run(self._branches(own, members), start)
            masks.append(prompts.mask_for(torch.arange(len(own), device=self._subject.device)))
        self.mask = torch.cat(masks)
        return cache

    def _branches(self, own: Sequence[int], members: Sequence[int]) -> list[Branch]:
        """Return the prompts of rows that branch off together, each with the rows of the batch it is for."""
        together: dict[tuple[int, int], list[int]] = {}
        for k in members:
            job = self.jobs[own[k]]
            together.setdefault((job.cell, job.row), []).append(k)
        return [
            Branch(
                row=same[0],
                prompt=self.rows[own[same[0]]].row,
                cell=cell,
                edits=self.rows[own[same[0]]].edits,
                targets=tuple(own[k] for k in same),
                keys=tuple(key for k in same for key in self.rows[own[k]].keys),
            )
            for (cell, _), same in together.items()
        ]

    def _start(self, cell: Cell, row: TokenRow) -> int | None:
        """Return after which block a row's prompt branches off; None if at most its last token is edited."""
        if not any(any(edit.where.select(row)[:-1]) for edit in cell.active):
            return None
        return cell.start if self._share_depth else -1


def branch_budget(subject: Subject) -> int:
    """Return how many padded prompt tokens one pass of a branch may hold."""
    budget = batch_budget(subject.device, bytes_per_token=64 * subject.facts.d_model)
    return min(budget, BRANCH_TOKENS) if subject.device.type == "cpu" else budget


def _first(start: int | None) -> int:
    return -2 if start is None else start
