"""Run rows in batches of a bounded number of tokens, and go on with smaller ones when memory runs out.

Results carry the index of their row, so sorting by length and splitting a batch cannot mix rows up.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

Result = TypeVar("Result")
logger = logging.getLogger(__name__)

CPU_TOKENS = 4096
"""Tokens of a batch on a CPU: beyond this a forward pass gets no faster per token (seen on SmolLM2-135M)."""


def batch_budget(device: torch.device, bytes_per_token: int) -> int:
    """Return how many tokens a batch may hold: `CPU_TOKENS` on a CPU, half of the free memory on a GPU."""
    if device.type != "cuda":
        return CPU_TOKENS
    free, _total = torch.cuda.mem_get_info(device)
    return max(256, free // 2 // bytes_per_token)


def plan(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Sort rows by length and cut them into batches whose padded size stays within `max_tokens`.

    There are as few batches as that allows, and they are about equally large: a small last batch would take
    about as long as a large one. A row longer than `max_tokens` gets a batch of its own.
    """
    fewest = _filled(lengths, max_tokens)
    low, high = 0, max_tokens
    while high - low > max(1, max_tokens // 64):
        middle = (low + high) // 2
        if len(_filled(lengths, middle)) == len(fewest):
            high = middle
        else:
            low = middle
    return _filled(lengths, high)


def _filled(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Return batches of which each but the last is as full as it may be."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def run_batches(
    lengths: Sequence[int], run: Callable[[list[int]], Result], *, max_tokens: int
) -> Iterator[tuple[list[int], Result]]:
    """Call `run` with the row indices of each batch; yield the indices with its result.

    When `run` runs out of memory its batch is halved and tried again; later batches are kept to that size.

    Raises:
        ValueError: `max_tokens` is below 1.
        MemoryError: Even a single row does not fit.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens: got {max_tokens}, need at least 1")
    waiting = plan(lengths, max_tokens)[::-1]
    while waiting:
        indices = waiting.pop()
        done = _attempt(run, indices, lengths)
        if done is not None:
            yield indices, done[0]
            continue
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(indices) // 2
        logger.warning("out of memory at %d rows; going on with %d", len(indices), half)
        rest = indices + [i for batch in reversed(waiting) for i in batch]
        budget = half * max(lengths[i] for i in indices)
        replanned = _filled([lengths[i] for i in rest], budget)
        waiting = [[rest[i] for i in batch] for batch in replanned][::-1]


def _attempt(
    run: Callable[[list[int]], Result], indices: list[int], lengths: Sequence[int]
) -> tuple[Result] | None:
    """Return what `run` gave, or None when memory ran out.

    The error is dropped on return, and with it the failed attempt's frames and their tensors.
    """
    try:
        return (run(indices),)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if len(indices) == 1:
            raise MemoryError(
                f"row {indices[0]}: its {lengths[indices[0]]} tokens do not fit in memory even alone"
            ) from error
        return None


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )
