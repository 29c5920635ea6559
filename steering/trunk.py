"""Rows that many conditions share, run once without edits; each condition branches off where it differs."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from activations import Subject
from activations.encode import TokenRow
from activations.forward import takes_positions
from activations.hooks import Resid, decoder_body
from activations.resume import block_outputs, resumed, unembed
from steering.adapters import ACTIVE, adapters_by_row
from steering.prompts import SharedPrompts
from steering.rows import RowEdits

HEAD_TOKENS = 512
"""Tokens unembedded at a time; bounds the logits to this many rows of the vocabulary."""


class Trunk:
    """Some rows from a given token on, right-padded, behind a shared prompt or none.

    Attributes:
        final: The body's last hidden state without edits, after the final norm.
        places: For each column the token's place in its row; -1 on pads.
    """

    final: Float[Tensor, "row position d_model"]
    places: Int[np.ndarray, "row position"]

    def __init__(
        self,
        subject: Subject,
        rows: Sequence[TokenRow],
        starts: Sequence[int],
        ends: Sequence[int],
        *,
        adapter: str = ACTIVE,
        keep: Collection[int] = (),
    ) -> None:
        """Run tokens `starts[i]` up to `ends[i]` of each row, and keep the output of the blocks in `keep`.

        Either all rows start at 0, or none does: then the tokens before are run once for all that share them.
        """
        self._subject, self._adapter = subject, adapter
        self._rows, self._ends = rows, ends
        widths = [end - start for start, end in zip(starts, ends, strict=True)]
        columns = np.arange(max(widths))[None]
        inside = columns < np.array(widths)[:, None]
        self.places = np.where(inside, columns + np.array(starts)[:, None], -1)
        ids = [
            [row.ids[p] if p >= 0 else row.ids[0] for p in places]
            for row, places in zip(rows, self.places, strict=True)
        ]
        device = subject.device
        self._ids = torch.tensor(ids, device=device)
        self._mask = torch.from_numpy(inside).long().to(device)
        self._prompts = SharedPrompts(subject, rows, starts, adapter=adapter) if min(starts) > 0 else None
        self._outputs: dict[int, Resid] = {}
        every = torch.arange(len(rows), device=device)
        with block_outputs(subject.model, lambda layer, resid: self._keep(layer, resid, keep)) as kinds:
            self.final = self._pass(every, self._ids.shape[1], from_layer=0)
        self._kinds = kinds

    def branch(
        self, rows: Sequence[int], start: int, edits: RowEdits
    ) -> Float[Tensor, "chosen position d_model"]:
        """Run some rows (repeats welcome) with edits, from the output of block `start` on; -1 runs all.

        Returns:
            The body's last hidden state, as wide as the widest of the chosen rows.
        """
        chosen = torch.tensor(list(rows), device=self._ids.device)
        places = self.places[list(rows)]
        width = int((places >= 0).sum(axis=1).max())
        edits.prepare(places[:, :width])
        model = self._subject.model
        kept = self._outputs.get(start)
        resid = None if kept is None else kept[chosen.to(kept.device), :width]
        with resumed(model, start, resid, self._kinds), edits.applied(model):
            return self._pass(chosen, width, from_layer=start + 1)

    def log_probs(
        self, final: Float[Tensor, "chosen position d_model"], rows: Sequence[int], firsts: Sequence[int]
    ) -> list[Float[Tensor, " token"]]:
        """Return ln p of each token after `firsts[i]`, up to the row's end, from the last hidden state.

        Nothing else is unembedded; the log-softmax runs in float32.
        """
        columns = torch.from_numpy(self.places[list(rows), : final.shape[1]])
        wanted = columns >= torch.tensor(firsts)[:, None]
        states = final[wanted.to(final.device)]
        following = [
            self._rows[k].ids[first + 1 : self._ends[k] + 1] for k, first in zip(rows, firsts, strict=True)
        ]
        targets = torch.tensor([token for ids in following for token in ids])
        model = self._subject.model
        with adapters_by_row(model, [self._adapter]):
            pieces = [
                _log_probs_of(unembed(model, some, self._output_type), own)
                for some, own in zip(
                    torch.split(states, HEAD_TOKENS), torch.split(targets, HEAD_TOKENS), strict=True
                )
            ]
        return list(torch.split(torch.cat(pieces).cpu(), [len(ids) for ids in following]))

    def _keep(self, layer: int, resid: Resid, keep: Collection[int]) -> None:
        if layer in keep:
            self._outputs[layer] = resid

    def _pass(self, chosen: Tensor, width: int, from_layer: int) -> Float[Tensor, "chosen position d_model"]:
        inputs: dict[str, Any] = {
            "input_ids": self._ids[chosen, :width],
            "attention_mask": self._mask[chosen, :width],
        }
        if self._prompts is not None:
            inputs["attention_mask"] = torch.cat(
                [self._prompts.mask_for(chosen), inputs["attention_mask"]], dim=1
            )
            inputs["past_key_values"] = self._prompts.cache_for(chosen, from_layer)
        if takes_positions(self._subject.model):
            places = torch.from_numpy(self.places).clamp(min=0).to(chosen.device)
            inputs["position_ids"] = places[chosen, :width]
        with adapters_by_row(self._subject.model, [self._adapter] * len(chosen)):
            output = decoder_body(self._subject.model)(**inputs, use_cache=self._prompts is not None)
        self._output_type = type(output)
        final: Tensor = output.last_hidden_state
        return final


def _log_probs_of(logits: Float[Tensor, "token vocabulary"], targets: Tensor) -> Float[Tensor, " token"]:
    chosen = logits.gather(-1, targets.to(logits.device)[:, None])[:, 0].float()
    return chosen - logits.float().logsumexp(dim=-1)
