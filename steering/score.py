"""Log-probabilities of given answers under a whole grid of edits, each computation done once.

Three things are shared; the first two can be switched off without changing a number beyond rounding:
- the prompt: where edits leave it alone, its keys and values are computed once for all cells and answers;
- the depth: cells that first edit at layer l share all blocks up to l, which are run once without edits;
- the head: only tokens that predict an answer token are unembedded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from activations import Subject
from activations.batches import batch_budget, run_batches
from activations.chat import Chat, Template
from activations.encode import TokenRow, tokenize_all
from activations.progress import Progress, silent
from steering.adapters import require_adapters
from steering.audit import Audit, Touched
from steering.cells import Cell, require_grid
from steering.rows import EditedRow, RowEdits
from steering.trunk import Trunk

TRUNK_BYTES = 512 * 2**20
"""Bound on the block outputs that one trunk keeps for its branches."""

HEAD_TOKENS = 512
"""Tokens unembedded at a time; bounds the logits to this many rows of the vocabulary."""


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
    """A row with the tokens that have to be passed: all up to the last that predicts an answer token."""

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
    max_tokens: int | None = None,
    progress: Progress = silent,
) -> Iterator[AnswerScore]:
    """Yield the log-probabilities of each chat's answer under each cell, as batches finish.

    Args:
        subject: The model.
        chats: Conversations that end with the assistant's answer.
        cells: The conditions; every chat is scored under each.
        names: A name for each chat, for errors.
        template: `chat`, or `plain` for a tokenizer without chat template.
        share: What cells may share.
        max_tokens: Padded tokens in one pass; by default chosen from the device. Halved when memory runs out.
        progress: Told how many answers (chats times cells) are scored.

    Raises:
        ValueError: A chat has no answer or is too long, names are not unique, a direction is of
            another model, or an edit chooses no token of any chat.
    """
    require_grid(cells, subject.facts)
    jobs = [_Job.of(row) for row in tokenize_all(subject, chats, names=names, template=template)]
    budget = max_tokens or batch_budget(subject.device, bytes_per_token=64 * subject.facts.d_model)
    for cell in cells:
        _require_reach(cell, jobs)
    require_adapters(subject.model, [cell.adapter for cell in cells])
    groups: dict[tuple[str, bool], list[int]] = {}
    for c, cell in enumerate(cells):
        behind_prompt = share.prompt and all(_spares_prompt(cell, job) for job in jobs)
        groups.setdefault((cell.adapter, behind_prompt), []).append(c)
    with progress("score answers", len(chats) * len(cells)) as advance, torch.inference_mode():
        for (_, behind_prompt), chosen in groups.items():
            for score in _score_group(subject, jobs, cells, chosen, behind_prompt, share.depth, budget):
                advance(1)
                yield score


def _spares_prompt(cell: Cell, job: _Job) -> bool:
    if job.first == 0:
        return False
    active = [edit for edit in cell.edits if not edit.idle]
    return not any(any(edit.where.select(job.row)[: job.first]) for edit in active)


def _require_reach(cell: Cell, jobs: Sequence[_Job]) -> None:
    """Raise if an edit chooses no token, in any row, that comes before the answer's last one."""
    for edit in cell.edits:
        if not edit.idle and not any(any(edit.where.select(job.row)[: job.end]) for job in jobs):
            raise ValueError(f"cell {cell.name!r}: {edit.where} chooses no token that could move an answer's log-probability")


def _score_group(
    subject: Subject,
    jobs: Sequence[_Job],
    cells: Sequence[Cell],
    chosen: Sequence[int],
    behind_prompt: bool,
    share_depth: bool,
    budget: int,
) -> Iterator[AnswerScore]:
    starts = {c: cells[c].start if share_depth or cells[c].idle else -1 for c in chosen}
    keep = {start for start in starts.values() if start is not None and start >= 0}
    lengths = [job.end - (job.first if behind_prompt else 0) for job in jobs]
    per_token = 4 * subject.facts.d_model * max(1, len(keep))
    trunk_budget = max(max(lengths), min(budget, TRUNK_BYTES // per_token))

    def make_trunk(indices: list[int]) -> Trunk:
        own = [jobs[i] for i in indices]
        firsts = [job.first if behind_prompt else 0 for job in own]
        ends = [job.end for job in own]
        return Trunk(subject, [job.row for job in own], firsts, ends, adapter=cells[chosen[0]].adapter, keep=keep)

    for indices, trunk in run_batches(lengths, make_trunk, max_tokens=trunk_budget):
        own = [jobs[i] for i in indices]
        for start in dict.fromkeys(starts.values()):
            pairs = [(c, k) for c in chosen if starts[c] == start for k in range(len(own))]
            for score in _score_pairs(trunk, own, cells, pairs, start, budget):
                yield AnswerScore(score.cell, indices[score.row], score.log_probs, score.touched)


def _score_pairs(
    trunk: Trunk,
    jobs: Sequence[_Job],
    cells: Sequence[Cell],
    pairs: Sequence[tuple[int, int]],
    start: int | None,
    budget: int,
) -> Iterator[AnswerScore]:
    """Score (cell, row of the trunk) pairs that all branch off after block `start`; None for the trunk itself."""

    def run(chosen: list[int]) -> list[AnswerScore]:
        audit = Audit()
        rows = [EditedRow(pairs[i], jobs[pairs[i][1]].row, cells[pairs[i][0]].edits) for i in chosen]
        edits = RowEdits(rows, audit)
        places = [pairs[i][1] for i in chosen]
        final = trunk.final[places] if start is None else trunk.branch(places, start, edits)
        touched = audit.all_touched()
        log_probs = _answer_log_probs(trunk, final, places, [jobs[k] for k in places])
        return [
            AnswerScore(*pairs[i], values, touched.get(pairs[i], Touched(0, 0, 0.0)))
            for i, values in zip(chosen, log_probs, strict=True)
        ]

    lengths = [int((trunk.places[k] >= 0).sum()) for _, k in pairs]
    for _, scores in run_batches(lengths, run, max_tokens=budget):
        yield from scores


def _answer_log_probs(
    trunk: Trunk, final: Float[Tensor, "row position d_model"], rows: Sequence[int], jobs: Sequence[_Job]
) -> list[Float[Tensor, " token"]]:
    """Unembed only what predicts an answer token; the log-softmax runs in float32."""
    columns = torch.from_numpy(trunk.places[list(rows), : final.shape[1]])
    firsts = torch.tensor([job.first for job in jobs])[:, None]
    wanted = (columns >= firsts).to(final.device)
    targets = torch.tensor([t for job in jobs for t in job.row.ids[job.first + 1 : job.end + 1]], device=final.device)
    states = final[wanted]
    pieces = [
        _log_probs_of(trunk.logits(some), own)
        for some, own in zip(states.split(HEAD_TOKENS), targets.split(HEAD_TOKENS), strict=True)
    ]
    return list(torch.cat(pieces).cpu().split([job.end - job.first for job in jobs]))


def _log_probs_of(logits: Float[Tensor, "token vocabulary"], targets: Tensor) -> Float[Tensor, " token"]:
    chosen = logits.gather(-1, targets.to(logits.device)[:, None])[:, 0].float()
    return chosen - logits.float().logsumexp(dim=-1)
