"""A key-value cache with room to grow: prompts are copied into it once, new tokens are written in place."""

from typing import Any

import psutil
from jaxtyping import Int
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from activations import Subject
from activations.batches import batch_budget
from activations.hooks import plain_model

KV_BYTES = 2 * 2**30
"""Bound on the key-value cache of one batch on a CPU."""


COPY_ROWS = 32
"""Rows copied at a time: few enough to stay in a processor's cache between reading and writing."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values in buffers that hold `room` more tokens than there are yet."""

    def __init__(self, n_rows: int, room: int) -> None:
        """Wait for the first rows; their shape says how large the buffers must be."""
        super().__init__()
        self._n_rows, self._room, self._length = n_rows, room, 0
        self._buffers: list[Tensor] = []

    def fill(
        self, at: int, keys: Tensor, values: Tensor, index: Int[Tensor, " chosen"] | None = None
    ) -> None:
        """Copy rows [row, head, position, d_head], or those of them in `index`, to the rows from `at` on."""
        if not self._buffers:
            self._begin(keys)
        n = len(keys) if index is None else len(index)
        own = None if index is None else index.to(keys.device)
        for first in range(0, n, COPY_ROWS):
            rows = slice(first, min(first + COPY_ROWS, n))
            for buffer, states in zip(self._buffers, (keys, values), strict=True):
                chosen = states[rows] if own is None else states[own[rows]]
                buffer[at + rows.start : at + rows.stop, :, : self._length] = chosen

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new tokens behind the old ones; return all of them."""
        end = self._length + key_states.shape[-2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, self._length : end] = states
        self._length = end
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        self._buffers = [buffer[indices.to(buffer.device)] for buffer in self._buffers]
        self._show()

    def _begin(self, keys: Tensor) -> None:
        _, heads, self._length, width = keys.shape
        shape = (self._n_rows, heads, self._length + self._room, width)
        self._buffers = [keys.new_empty(shape) for _ in ("keys", "values")]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._show()

    def _show(self) -> None:
        self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)


class RoomyCache(DynamicCache):  # type: ignore[misc]
    """Keys and values of the rows of a batch, all of one width, with room for the tokens they will generate.

    Fill it block by block and part by part, or let a pass write a part itself; then decode with it.
    """

    def __init__(self, n_rows: int, room: int) -> None:
        """Take what the batch will need; memory is taken when the first rows of a block come."""
        super().__init__()
        self._n_rows, self._room = n_rows, room

    def fill(
        self, layer: int, at: int, keys: Tensor, values: Tensor, index: Int[Tensor, " chosen"] | None = None
    ) -> None:
        """Copy rows of one block, or those of them in `index`, to the rows from `at` on."""
        while len(self.layers) <= layer:
            self.layers.append(RoomyLayer(self._n_rows, self._room))
        self.layers[layer].fill(at, keys, values, index)


class StoredError(Exception):
    """Ends a pass whose only purpose is keys and values; whoever runs the pass suppresses it."""


class PromptCache(DynamicCache):  # type: ignore[misc]
    """Keys and values of prompts that are not decoded here: nothing above the last block's is needed."""

    def __init__(self, last: int | None) -> None:
        """End the pass by `StoredError` once the keys and values of block `last` are stored; None never does."""
        super().__init__()
        self._last = last

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store what a block computed, and give it back."""
        stored = self._store(key_states, value_states, layer_idx)
        if layer_idx == self._last:
            raise StoredError
        return stored

    def _store(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        stored: tuple[Tensor, Tensor] = super().update(keys, values, layer)
        return stored


class PartOfCache(PromptCache):
    """Stands for some rows of a roomy cache in the pass that computes their prompts: what it gets goes there."""

    def __init__(self, whole: RoomyCache, at: int, last: int | None = None) -> None:
        """Write to the rows of `whole` from `at` on."""
        super().__init__(last)
        self._whole, self._at = whole, at

    def _store(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        self._whole.fill(layer, self._at, keys, values)
        return keys, values


def cache_tokens(subject: Subject) -> int:
    """Return how many tokens of keys and values a batch may hold."""
    config = plain_model(subject.model).config.get_text_config(decoder=True)
    heads: Any = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width: Any = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    itemsize: int = plain_model(subject.model).get_input_embeddings().weight.element_size()
    per_token = 2 * subject.facts.n_layers * int(heads) * int(width) * itemsize
    if subject.device.type == "cuda":
        return batch_budget(subject.device, bytes_per_token=2 * per_token)
    available: int = psutil.virtual_memory().available
    return max(256, min(KV_BYTES, available // 4) // per_token)
