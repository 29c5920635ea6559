"""Log-probabilities of given answers under a whole grid of edits, each computation done once.

Three things are shared; the first two can be switched off without changing a number beyond rounding:
- the prompt: where edits leave it alone, its keys and values are computed once for all cells and answers;
- the depth: cells that first edit at layer l share all blocks up to l, which are run once without edits;
- the head: only tokens that predict an answer token are unembedded.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from activations import Subject, Trigger
from activations.batches import batch_budget, run_batches
from activations.chat import Chat, Template
from activations.encode import TokenRow
from activations.progress import Progress, silent
from steering.adapters import require_adapters
from steering.audit import UNTOUCHED, Audit, Touched
from steering.cells import Cell, require_grid
from steering.kv import cache_tokens
from steering.rows import EditedRow, RowEdits
from steering.trunk import Trunk
from steering.variants import require_reach, tokenize_variants

TRUNK_BYTES = 512 * 2**20
"""Bound on the block outputs that one trunk keeps for its branches."""


@dataclass(frozen=True)
class Share:
    """What cells may share; switching a part off changes the time, not the numbers."""

    prompt: bool = True
    depth: bool = True


@dataclass(frozen=True, eq=False)
class AnswerScore:
    """One answer under one cell.

    Attributes:
        cell: Index of the cell in the grid.
        row: Index of the chat.
        log_probs: For each token of the answer ln p(token | everything before it), in nats.
        touched: What the cell's edits did to the row.
    """

    cell: int
    row: int
    log_probs: Float[Tensor, " token"]
    touched: Touched


@dataclass(frozen=True)
class _Job:
    """A row, its first token that predicts an answer token, and the place after the last that does."""

    row: TokenRow
    first: int
    end: int

    @classmethod
    def of(cls, row: TokenRow) -> "_Job":
        flags = row.answer_flags()
        if not any(flags):
            raise ValueError(f"{row.name}: has no answer to score; the last message must be the assistant's")
        if row.n_prompt == 0:
            raise ValueError(f"{row.name}: no token stands before the answer")
        return cls(row, row.n_prompt - 1, len(flags) - 1 - flags[::-1].index(True))


def score_answers(
    subject: Subject,
    chats: Sequence[Chat],
    cells: Sequence[Cell],
    *,
    names: Sequence[str] | None = None,
    template: Template = "chat",
    share: Share = Share(),
    skip: Collection[tuple[int, int]] = (),
    max_tokens: int | None = None,
    progress: Progress = silent,
) -> Iterator[AnswerScore]:
    """Return an iterator that yields the log-probabilities of each chat's answer under each cell.

    Scores come as batches finish, in an order that depends on lengths and cells.

    Args:
        subject: The model.
        chats: Conversations that end with the assistant's answer.
        cells: The conditions; every chat is scored under each.
        names: A name for each chat, for errors.
        template: `chat`, or `plain` for a tokenizer without chat template.
        share: What cells may share.
        skip: (cell, row) that are not needed, e.g. because a run before this one has them.
        max_tokens: Padded tokens in one pass; by default chosen from the device. Halved when memory runs out.
        progress: Told how many answers are scored.

    Raises:
        ValueError: A chat has no answer or is too long, names are not unique, a direction is of another
            model, or an edit chooses no token of any chat.
        LookupError: A cell names an adapter that the model does not have.
        RuntimeError: Tokens were to be edited, but were not.
    """
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens: got {max_tokens}, need at least 1")
    require_grid(cells, subject.facts)
    require_adapters(subject.model, [cell.adapter for cell in cells])
    variants = tokenize_variants(subject, chats, cells, names=names, template=template)
    jobs = {trigger: [_Job.of(row) for row in rows] for trigger, rows in variants.items()}
    require_reach(cells, variants, lambda row: _Job.of(row).end)
    budget = max_tokens or batch_budget(subject.device, bytes_per_token=64 * subject.facts.d_model)
    done = frozenset(skip)
    members: dict[tuple[str, Trigger | None, bool], list[int]] = {}
    for c, cell in enumerate(cells):
        behind_prompt = share.prompt and all(_spares_prompt(cell, job) for job in jobs[cell.trigger])
        members.setdefault((cell.adapter, cell.trigger, behind_prompt), []).append(c)
    groups = [
        _Group(subject, jobs[trigger], {c: cells[c] for c in own}, behind_prompt, share.depth, budget, done)
        for (_, trigger, behind_prompt), own in members.items()
    ]
    n_todo = sum((c, k) not in done for c in range(len(cells)) for k in range(len(chats)))
    return _stream(groups, n_todo, progress)


def _stream(groups: Sequence["_Group"], n_todo: int, progress: Progress) -> Iterator[AnswerScore]:
    with progress("score answers", n_todo) as advance:
        for group in groups:
            for score in group.scores():
                advance(1)
                yield score


def _spares_prompt(cell: Cell, job: _Job) -> bool:
    if job.first == 0:
        return False
    return not any(any(edit.where.select(job.row)[: job.first]) for edit in cell.active)


@dataclass(frozen=True, eq=False)
class _Group:
    """Cells that share a trunk: of one adapter and trigger, those that leave the prompt alone, or the others."""

    subject: Subject
    jobs: Sequence[_Job]
    cells: Mapping[int, Cell]
    behind_prompt: bool
    share_depth: bool
    budget: int
    done: frozenset[tuple[int, int]]

    def scores(self) -> Iterator[AnswerScore]:
        """Run the trunk on some rows after the other, and from each trunk its branches."""
        starts = {c: cell.start if self.share_depth or cell.idle else -1 for c, cell in self.cells.items()}
        keep = {start for start in starts.values() if start is not None and start >= 0}
        todo = [k for k in range(len(self.jobs)) if any((c, k) not in self.done for c in self.cells)]
        costs = [self._cost(self.jobs[k]) for k in todo]
        per_token = 4 * self.subject.facts.d_model * max(1, len(keep))
        budget = max([*costs, min(self.budget, TRUNK_BYTES // per_token)])
        for chosen, trunk in run_batches(
            costs, lambda some: self._trunk([todo[i] for i in some], keep), max_tokens=budget
        ):
            rows = [todo[i] for i in chosen]
            for start in dict.fromkeys(starts.values()):
                branching = [c for c in self.cells if starts[c] == start]
                if start is None:  # all of them are the trunk itself
                    yield from self._copies(self._branches(trunk, rows, branching[:1], None), branching)
                else:
                    yield from self._branches(trunk, rows, branching, start)

    def _copies(self, scores: Iterator[AnswerScore], cells: Sequence[int]) -> Iterator[AnswerScore]:
        for score in scores:
            for c in cells:
                if (c, score.row) not in self.done:
                    yield AnswerScore(c, score.row, score.log_probs.clone(), score.touched)

    def _trunk(self, rows: Sequence[int], keep: set[int]) -> Trunk:
        own = [self.jobs[k] for k in rows]
        firsts = [job.first if self.behind_prompt else 0 for job in own]
        adapter = next(iter(self.cells.values())).adapter
        with torch.inference_mode():
            return Trunk(
                self.subject, [j.row for j in own], firsts, [j.end for j in own], adapter=adapter, keep=keep
            )

    def _branches(
        self, trunk: Trunk, rows: Sequence[int], cells: Sequence[int], start: int | None
    ) -> Iterator[AnswerScore]:
        """Score the trunk's rows under cells that all branch off after block `start`; None for the trunk."""
        pairs = [
            (c, i) for c in cells for i, k in enumerate(rows) if start is None or (c, k) not in self.done
        ]

        def run(chosen: list[int]) -> list[AnswerScore]:
            places = [pairs[p][1] for p in chosen]
            audit = Audit()
            with torch.inference_mode():
                branching = [
                    EditedRow((p,), self.jobs[rows[pairs[p][1]]].row, self.cells[pairs[p][0]].edits)
                    for p in chosen
                ]
                edits = RowEdits(branching, audit)
                final = trunk.final[places] if start is None else trunk.branch(places, start, edits)
                found = trunk.log_probs(final, places, [self.jobs[rows[i]].first for i in places])
            audit.require_fired()
            touched = audit.all_touched()
            return [
                AnswerScore(pairs[p][0], rows[pairs[p][1]], values.clone(), touched.get(p, UNTOUCHED))
                for p, values in zip(chosen, found, strict=True)
            ]

        costs = [self._cost(self.jobs[rows[i]]) for _, i in pairs]
        for _, scores in run_batches(costs, run, max_tokens=self.budget):
            yield from scores

    def _cost(self, job: _Job) -> int:
        """Return how many tokens of a row are passed, and what its keys and values take of the budget."""
        if not self.behind_prompt:
            return job.end
        return job.end - job.first + job.first * self.budget // self._cache_tokens

    @cached_property
    def _cache_tokens(self) -> int:
        return cache_tokens(self.subject)
