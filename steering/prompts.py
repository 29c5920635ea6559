"""Compute the keys and values of prompts once, for every answer and every condition that leaves them alone.

Conditions that edit the prompt branch off after the last block that they share with the unedited pass.
"""

import copy
from collections.abc import Collection, Sequence
from contextlib import suppress

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin

from activations import Subject
from activations.encode import TokenRow, pad
from activations.forward import body_inputs, takes_positions
from activations.hooks import Resid, decoder_body
from activations.resume import block_outputs, resumed
from steering.adapters import ACTIVE, adapters_by_row
from steering.kv import Copies, PromptCache, RoomyCache, StoredError
from steering.rows import RowEdits


class SharedPrompts:
    """The first tokens of some rows, run once: keys and values for each different beginning, left-padded.

    Attributes:
        index: For each row the beginning it has.
    """

    index: Int[Tensor, " row"]

    def __init__(
        self,
        subject: Subject,
        rows: Sequence[TokenRow],
        n_tokens: Sequence[int],
        *,
        adapter: str = ACTIVE,
        keep: Collection[int] = (),
        width: int | None = None,
    ) -> None:
        """Run the first `n_tokens[i]` (at least 1) tokens of each row, equal beginnings once.

        Args:
            subject: The model.
            rows: Where the tokens come from.
            n_tokens: How many of each row.
            adapter: Which adapter serves them.
            keep: Blocks after which a condition may branch off.
            width: Pad to this many columns, if the longest beginning is shorter.
        """
        beginnings = [row.ids[:n] for row, n in zip(rows, n_tokens, strict=True)]
        unique = list(dict.fromkeys(beginnings))
        places = {ids: i for i, ids in enumerate(unique)}
        self.index = torch.tensor([places[ids] for ids in beginnings], device=subject.device)
        blank = [TokenRow("", ids, ((0, 0),) * len(ids), "", (), len(ids)) for ids in unique]
        self._batch = pad(blank, subject.device, width=width)
        self._model, self._adapter = subject.model, adapter
        self._outputs: dict[int, Resid] = {}
        last = subject.facts.n_layers - 1
        self._cache = PromptCache(None if last in keep else last)

        def note(layer: int, resid: Resid) -> None:
            if layer in keep:
                self._outputs[layer] = resid

        with (
            adapters_by_row(self._model, [adapter] * len(unique)),
            block_outputs(self._model, note) as self._kinds,
            suppress(StoredError),
        ):
            decoder_body(self._model)(
                **body_inputs(self._model, self._batch), past_key_values=self._cache, use_cache=True
            )

    @property
    def width(self) -> int:
        """Columns of the padded prompts."""
        return self._batch.input_ids.shape[1]

    def mask_for(self, rows: Int[Tensor, " chosen"]) -> Int[Tensor, "chosen position"]:
        """Return the prompts' attention mask for some of the rows."""
        return self._batch.attention_mask[self.index[rows]]

    def cache_for(self, rows: Int[Tensor, " chosen"], from_layer: int = 0) -> DynamicCache:
        """Return a cache for some of the rows, to be used by blocks `from_layer` and above only."""
        cache = DynamicCache()
        cache.layers = [
            self._layer_for(i, rows) if i >= from_layer else copy.copy(layer)
            for i, layer in enumerate(self._cache.layers)
        ]
        return cache

    def fill(
        self, whole: RoomyCache, rows: Sequence[int], targets: Sequence[int], n_layers: int | None = None
    ) -> None:
        """Copy some rows' keys and values, of the lowest `n_layers` blocks or of all, into a roomy cache."""
        sources = [int(self.index[row]) for row in rows]
        lengths = self._batch.attention_mask.sum(dim=1).tolist()
        copies = Copies(sources, targets, [lengths[i] for i in sources], right=True)
        for i, layer in enumerate(self._cache.layers[:n_layers]):
            whole.fill(i, layer.keys, layer.values, copies)

    def resume(
        self, rows: Sequence[int], span: tuple[int, int], start: int, edits: RowEdits, cache: PromptCache
    ) -> None:
        """Run some rows' tokens with edits, from the output of block `start` on; right-padded.

        Args:
            rows: Which rows.
            span: The first token, and the place after the last; rows that are shorter end before.
            start: The last block that is skipped; -1 skips none.
            edits: Of these rows.
            cache: Takes keys and values of blocks above `start`, and holds those of the tokens before.
        """
        prompts = self.index[torch.tensor(list(rows), device=self.index.device)]
        lengths = self._batch.attention_mask.sum(dim=1)[prompts, None]
        first, end = span[0], min(span[1], int(lengths.max()))
        places = torch.arange(first, end, device=prompts.device)[None].expand(len(prompts), -1)
        inside = places < lengths
        edits.prepare(torch.where(inside, places, -1).cpu().numpy())
        columns = (self.width - lengths + places).clamp(max=self.width - 1)
        inputs = {"input_ids": self._batch.input_ids[prompts[:, None], columns]}
        inputs["attention_mask"] = torch.cat([inside.new_ones(len(prompts), first), inside], dim=1).long()
        if takes_positions(self._model):
            inputs["position_ids"] = torch.where(inside, places, 0)
        kept = self._outputs.get(start)
        resid = None
        if kept is not None:
            resid = kept[prompts[:, None].to(kept.device), columns.to(kept.device)]
        with (
            adapters_by_row(self._model, [self._adapter] * len(prompts)),
            resumed(self._model, start, resid, self._kinds),
            edits.applied(self._model),
            suppress(StoredError),
        ):
            decoder_body(self._model)(**inputs, past_key_values=cache, use_cache=True)

    def _layer_for(self, layer: int, rows: Int[Tensor, " chosen"]) -> CacheLayerMixin:
        own = copy.copy(self._cache.layers[layer])
        own.batch_select_indices(self.index[rows].to(own.keys.device))
        return own
