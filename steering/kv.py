"""A key-value cache with room to grow: prompts are copied into it once, new tokens are written in place."""

from collections.abc import Sequence
from typing import Any

import psutil
import torch
from jaxtyping import Int
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin, DynamicCache, DynamicLayer

from activations import Subject
from activations.batches import batch_budget
from activations.hooks import plain_model

KV_BYTES = 4 * 2**30
"""Bound on the key-value cache of one batch on a CPU."""

COPY_ROWS = 32
"""Rows copied at a time: few enough to stay in a processor's cache between reading and writing."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values in buffers that hold `room` more tokens than there are yet."""

    def __init__(self, n_rows: int, length: int, room: int) -> None:
        """Wait for the first rows; their shape says how large the buffers must be."""
        super().__init__()
        self._n_rows, self._length, self._room = n_rows, length, room
        self._buffers: list[Tensor] = []

    def fill(self, keys: Tensor, values: Tensor, copies: "Copies") -> None:
        """Copy rows [row, head, position, d_head] to where `copies` says."""
        if not self._buffers:
            self._begin(keys)
        for length, sources, targets in copies.by_length:
            for first in range(0, len(sources), COPY_ROWS):
                rows = slice(first, first + COPY_ROWS)
                for buffer, states in zip(self._buffers, (keys, values), strict=True):
                    chosen = states[sources[rows]]
                    own = chosen[:, :, -length:] if copies.right else chosen[:, :, :length]
                    buffer[targets[rows], :, self._length - length : self._length] = own

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
        _, heads, _, width = keys.shape
        shape = (self._n_rows, heads, self._length + self._room, width)
        self._buffers = [keys.new_zeros(shape) for _ in ("keys", "values")]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._show()

    def _show(self) -> None:
        self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)


class RoomyCache(DynamicCache):  # type: ignore[misc]
    """Keys and values of a batch's prompts, left-padded, with room for the tokens that rows will generate.

    Fill it block by block and part by part, or let a pass write a part itself; then decode with it.
    """

    def __init__(self, n_rows: int, length: int, room: int) -> None:
        """Note what the batch will need; memory is taken when the first rows of a block come."""
        super().__init__()
        self._size = (n_rows, length, room)

    def fill(self, layer: int, keys: Tensor, values: Tensor, copies: "Copies") -> None:
        """Copy rows of one block to where `copies` says."""
        while len(self.layers) <= layer:
            self.layers.append(RoomyLayer(*self._size))
        self.layers[layer].fill(keys, values, copies)


class Copies:
    """Which rows of some keys and values go to which rows of a roomy cache, where they end with the others."""

    def __init__(
        self, sources: Sequence[int], targets: Sequence[int], lengths: Sequence[int], *, right: bool
    ) -> None:
        """Note the copies.

        Args:
            sources: Rows that are copied; repeats welcome.
            targets: Where each goes.
            lengths: Tokens of each.
            right: Whether a source's tokens stand at the right end of its columns, else at the left.
        """
        self.right = right
        self.by_length = []
        for length in sorted(set(lengths)):
            own = [i for i, n in enumerate(lengths) if n == length]
            self.by_length.append((length, [sources[i] for i in own], [targets[i] for i in own]))


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
    """What a pass over some prompts reads and writes: keys and values before its tokens, and all of them after.

    What it gets is passed on to a roomy cache.
    """

    def __init__(
        self,
        whole: RoomyCache,
        copies: Copies,
        before: PromptCache | None,
        index: Int[Tensor, " row"],
        last: int | None,
    ) -> None:
        """Write to `whole`; row i of the pass stands behind row `index[i]` of the cache `before`, if there is one."""
        super().__init__(last)
        self._whole, self._copies = whole, copies
        if before is not None:
            length = max(layer.get_seq_length() for layer in before.layers)
            self.layers = [_behind(layer, index, length) for layer in before.layers]
        self._bare = before is None

    def _store(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        if not self._bare:
            keys, values = super()._store(keys, values, layer)
        self._whole.fill(layer, keys, values, self._copies)
        return keys, values


def _behind(layer: CacheLayerMixin, index: Int[Tensor, " row"], length: int) -> CacheLayerMixin:
    """Return some rows of a layer; of a block that the pass skips only the length is asked."""
    own = DynamicLayer()
    states = (
        (layer.keys, layer.values) if layer.is_initialized else (torch.zeros(1).expand(1, 1, length, 1),) * 2
    )
    rows = index if layer.is_initialized else index[:1] * 0
    own.lazy_initialization(*states)
    own.keys, own.values = (tensor[rows.to(tensor.device)] for tensor in states)
    return own


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
