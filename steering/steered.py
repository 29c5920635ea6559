"""Steer any forward pass or `generate` call of a Hugging Face model inside a `with` block."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from activations import Subject, edited
from activations.encode import Batch, TokenRow
from activations.hooks import HookPoint, Resid, decoder_body
from steering.audit import Audit
from steering.edits import Edit
from steering.rows import EditedRow, RowEdits


@contextmanager
def steered(subject: Subject, edits: Sequence[Edit], batch: Batch | None = None) -> Iterator[Audit]:
    """Apply edits to every row of every pass inside the block: plain forward passes and `generate` alike.

    New tokens of `generate` are recognised by the key-value cache; without a cache, or where prompts are
    passed in chunks, give `batch`. The model is as before when the block ends.

    Args:
        subject: Whose model will be called.
        edits: What to do; all of them to each row, in the given order.
        batch: The padded rows that will be passed, for selectors that look at roles or text. Without it only
            the attention mask is known, and `Answer()` means the generated tokens. Beams and
            `num_return_sequences` may repeat rows.

    Yields:
        The audit: for each row (by its index in the batch) the tokens edited so far and the relative shift.

    Raises:
        ValueError: A direction was read from another model, the passes have other rows than `batch`, or
            without `batch` a mask has not one number for each token.
        RuntimeError: No pass was run, an edit chose no token of any row, or what it chose was not edited.
    """
    for edit in edits:
        edit.direction.require_fits(subject.facts)
    audit = Audit()
    state = _State(tuple(edits), batch, audit)
    active = [edit for edit in edits if not edit.idle]
    points = tuple(dict.fromkeys(point for edit in active for point in edit.points))
    with ExitStack() as hooks:
        if active:
            body = decoder_body(subject.model)
            hooks.enter_context(body.register_forward_pre_hook(state.before_pass, with_kwargs=True))
            hooks.enter_context(edited(subject.model, {point: state.edit_at(point) for point in points}))
        yield audit
    if active:
        state.require_used()
        audit.require_chosen()
        audit.require_fired()


class _State:
    """Follows the passes of one `with` block: which rows they hold, and which of their tokens."""

    def __init__(self, edits: tuple[Edit, ...], batch: Batch | None, audit: Audit) -> None:
        self._edits, self._batch, self._audit = edits, batch, audit
        self._rows: RowEdits | None = None
        self._starts = self._lengths = np.zeros(0, dtype=np.int64)
        self._width = 0

    def edit_at(self, point: HookPoint) -> Callable[[Resid], Resid]:
        """Return what happens at one hook point: the edits of the rows that are being passed."""
        return lambda resid: resid if self._rows is None else self._rows.edit_at(point)(resid)

    def before_pass(self, _body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Find the place of each of the pass's tokens in its row."""
        tokens = kwargs.get("input_ids") if kwargs.get("inputs_embeds") is None else kwargs["inputs_embeds"]
        n_rows, width = (args[0] if tokens is None else tokens).shape[:2]
        cache = kwargs.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        if self._rows is None or past == 0 or len(self._lengths) != n_rows:
            self._begin(n_rows, past + width, kwargs.get("attention_mask"))
        columns = np.arange(past, past + width)[None]
        inside = columns - self._starts[:, None]
        inside = np.where((inside >= 0) & (inside < self._lengths[:, None]), inside, -1)
        beyond = self._lengths[:, None] + columns - self._width
        if self._rows is not None:
            self._rows.prepare(np.where(columns < self._width, inside, beyond))

    def require_used(self) -> None:
        """Raise RuntimeError if no pass was run."""
        if self._rows is None:
            raise RuntimeError("steered: no forward pass ran inside the block")

    def _begin(self, n_rows: int, width: int, mask: Any) -> None:
        if self._batch is None:
            rows, starts = _rows_from_mask(n_rows, width, mask)
        else:
            repeats, left_over = divmod(n_rows, len(self._batch.rows))
            if left_over or repeats == 0:
                raise ValueError(
                    f"steered: a pass of {n_rows} rows does not fit a batch of {len(self._batch.rows)}"
                )
            rows = [row for row in self._batch.rows for _ in range(repeats)]
            starts = [self._batch.start(i) for i in range(len(self._batch.rows)) for _ in range(repeats)]
            width = self._batch.input_ids.shape[1]
        self._starts, self._width = np.array(starts), width
        self._lengths = np.array([len(row) for row in rows])
        self._rows = RowEdits([EditedRow((i,), row, self._edits) for i, row in enumerate(rows)], self._audit)


def _rows_from_mask(n_rows: int, width: int, mask: Any) -> tuple[list[TokenRow], list[int]]:
    """Return rows of known length but unknown text, and the column where each begins."""
    flags = np.ones((n_rows, width), dtype=bool)
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.shape != flags.shape:
            shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"steered: got a mask {shape} for tokens {flags.shape}; give `batch` instead")
        flags = mask.bool().cpu().numpy()
    lengths = [int(n) for n in flags.sum(axis=1)]
    rows = [TokenRow(f"row {i}", (0,) * n, ((0, 0),) * n, "", (), n) for i, n in enumerate(lengths)]
    return rows, [int(start) for start in flags.argmax(axis=1)]
