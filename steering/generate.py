"""Generate answers for prompts under a whole grid of conditions, many conditions in one batch.

The prompts are run once. Conditions that edit them branch off after the last block they share with the
unedited pass; all others take their keys and values as they are. Then all rows, whatever their condition or
adapter, decode together. The last prompt token is fed as the first decode step, so an edit on it
(`Answer(lead=1)`) needs no prompt of its own.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from activations import Subject
from activations.batches import run_batches
from activations.chat import Chat, Template
from activations.encode import TokenRow
from activations.progress import Progress, silent
from steering.adapters import require_adapters
from steering.audit import UNTOUCHED, Touched
from steering.cells import UNEDITED, Cell, require_grid
from steering.decode import Decoded, Decoder, Stop
from steering.kv import cache_tokens
from steering.row_batch import RowBatch, RowJob
from steering.sampling import Sampling
from steering.variants import require_reach, tokenize_variants


@dataclass(frozen=True, eq=False)
class GeneratedAnswer:
    """One answer.

    Attributes:
        cell: Index of the cell in the grid.
        row: Index of the prompt.
        sample: Which of the prompt's samples, from 0.
        text: The answer without special tokens.
        ids: Its tokens, an end-of-turn token included.
        finished: Whether it ended by itself; False if it was cut at `max_new_tokens`.
        touched: What the cell's edits did to the row.
    """

    cell: int
    row: int
    sample: int
    text: str
    ids: tuple[int, ...]
    finished: bool
    touched: Touched


def generate(
    subject: Subject,
    chats: Sequence[Chat],
    cells: Sequence[Cell] = (UNEDITED,),
    *,
    max_new_tokens: int = 64,
    samples: int = 1,
    sampling: Sampling = Sampling(),
    stop: Sequence[str] = (),
    skip: Collection[tuple[int, int, int]] = (),
    names: Sequence[str] | None = None,
    template: Template = "chat",
    share_depth: bool = True,
    max_rows: int | None = None,
    progress: Progress = silent,
) -> Iterator[GeneratedAnswer]:
    """Return an iterator that yields an answer for every prompt, cell and sample, as batches finish.

    A row's answer does not depend on the rows beside it (up to ties within rounding), and an unedited cell
    gives what the model gives alone. Equal prompts draw equal random numbers; for more answers use `samples`.

    Args:
        subject: The model.
        chats: Conversations that end with a user message, or plain texts to continue.
        cells: The conditions.
        max_new_tokens: Where answers are cut.
        samples: Answers for each prompt and cell.
        sampling: Greedy by default.
        stop: Texts that end an answer; they stay in it.
        skip: (cell, row, sample) that are not needed, e.g. because a run before this one has them.
        names: A name for each chat, for errors.
        template: `chat`, or `plain` for a tokenizer without chat template.
        share_depth: Whether conditions that edit the prompt share the blocks below their first edit.
        max_rows: Most rows in a batch; by default what the cache has room for. Halved when memory runs out.
        progress: Told how many answers are done.

    Raises:
        ValueError: A chat ends with an answer, is malformed or too long; names are not unique; a direction is
            of another model; an edit chooses no token of any row; a number is out of range.
        LookupError: A cell names an adapter that the model does not have.
        RuntimeError: Tokens were to be edited, but were not.
    """
    if max_new_tokens < 1 or samples < 1 or (max_rows is not None and max_rows < 1):
        raise ValueError(
            f"max_new_tokens {max_new_tokens}, samples {samples}, max_rows {max_rows}: need at least 1"
        )
    require_grid(cells, subject.facts)
    require_adapters(subject.model, [cell.adapter for cell in cells])
    variants = tokenize_variants(subject, chats, cells, names=names, template=template)
    for rows in variants.values():
        _require_open(rows, subject, max_new_tokens)
    require_reach(cells, variants, lambda row: len(row) + max_new_tokens - 1)
    plain = variants[None]
    done = frozenset(skip)
    jobs = [
        RowJob(c, row, sample, variants[cell.trigger][row])
        for row in sorted(range(len(plain)), key=lambda i: -len(plain[i]))
        for c, cell in enumerate(cells)
        for sample in range(samples)
        if (c, row, sample) not in done
    ]
    stopping = Stop.of(subject, stop, max_new_tokens)

    def stream(job: RowJob) -> Float[np.ndarray, " step"]:
        seed = cells[job.cell].seed
        own = sampling if seed is None else replace(sampling, seed=seed)
        return own.stream(plain[job.row].text, job.sample, max_new_tokens)  # the trigger makes no difference

    def run(indices: list[int]) -> list[GeneratedAnswer]:
        with torch.inference_mode():
            batch = RowBatch(subject, [jobs[i] for i in indices], cells, share_depth)
            uniforms = np.stack([stream(job) for job in batch.jobs])
            decoder = Decoder(subject, batch.rows, batch.adapters, batch.audit, sampling, stopping)
            return _answers(batch, decoder.run(batch.prefill(max_new_tokens), batch.mask, uniforms))

    lengths = [len(job.prompt) + max_new_tokens for job in jobs]
    if max_rows is None:
        return _stream(lengths, run, cache_tokens(subject), progress)
    longest = max(lengths, default=1)
    return _stream([longest] * len(jobs), run, max_rows * longest, progress)


def _stream(
    lengths: Sequence[int],
    run: Callable[[list[int]], list[GeneratedAnswer]],
    max_tokens: int,
    progress: Progress,
) -> Iterator[GeneratedAnswer]:
    with progress("generate", len(lengths)) as advance:
        for indices, answers in run_batches(lengths, run, max_tokens=max_tokens):
            advance(len(indices))
            yield from answers


def _answers(batch: RowBatch, decoded: Sequence[Decoded]) -> list[GeneratedAnswer]:
    """Return what was decoded with the job and the audit of each row."""
    batch.audit.require_fired()
    touched = batch.audit.all_touched()
    return [
        GeneratedAnswer(
            j.cell, j.row, j.sample, a.text, a.ids, a.finished, touched.get(row.keys[0], UNTOUCHED)
        )
        for j, a, row in zip(batch.jobs, decoded, batch.rows, strict=True)
    ]


def _require_open(rows: Sequence[TokenRow], subject: Subject, max_new_tokens: int) -> None:
    limit = subject.context_length
    for row in rows:
        if row.n_prompt < len(row):
            raise ValueError(
                f"{row.name}: ends with an answer; to generate, the last message must be the user's"
            )
        if len(row) < 2:
            raise ValueError(f"{row.name}: a prompt of one token; need at least 2")
        if limit is not None and len(row) + max_new_tokens > limit:
            raise ValueError(
                f"{row.name}: {len(row)} tokens and {max_new_tokens} new ones, the context holds {limit}"
            )
