"""A key-value cache with room to grow: a new token is written in place, without copying the old ones."""

from typing import Any

import psutil
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from activations import Subject
from activations.batches import batch_budget
from activations.hooks import plain_model

KV_BYTES = 2 * 2**30
"""Bound on the key-value cache of one batch on a CPU."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values in buffers that hold `room` more tokens than there are yet."""

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        """Copy keys and values [batch, head, position, d_head] into fresh buffers."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._length = keys.shape[-2]
        self._buffers = [_with_room(tensor, room) for tensor in (keys, values)]
        self._show()

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

    def _show(self) -> None:
        self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)


def joined(caches: list[Cache], room: int) -> DynamicCache:
    """Return the rows of several caches of one width as one cache with room for more tokens."""
    cache = DynamicCache()
    for layers in zip(*(part.layers for part in caches), strict=True):
        cache.layers.append(_joined_layer(layers, room))
    return cache


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


def _joined_layer(layers: tuple[CacheLayerMixin, ...], room: int) -> RoomyLayer:
    keys = torch.cat([layer.keys for layer in layers])
    values = torch.cat([layer.values for layer in layers])
    return RoomyLayer(keys, values, room)


def _with_room(tensor: Tensor, room: int) -> Tensor:
    batch, heads, length, width = tensor.shape
    buffer = tensor.new_empty((batch, heads, length + room, width))
    buffer[:, :, :length] = tensor
    return buffer
