"""Decode the rows of one batch together, token by token; rows that have ended leave the batch, some at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache
from transformers.utils.generic import ModelOutput

from activations import Subject
from activations.forward import takes_positions
from activations.hooks import decoder_body, plain_model
from activations.resume import unembed
from steering.adapters import adapters_by_row
from steering.audit import Audit
from steering.rows import EditedRow, RowEdits
from steering.sampling import Sampling

LIVE_SHARE = 7 / 8
"""Ended rows stay in the batch, unread, until fewer than this share go on: leaving costs a copy of the cache."""

HEAD_BYTES = 256 * 2**20
"""Bound on the logits that are held at a time, in float32."""


@dataclass(frozen=True)
class Stop:
    """When an answer ends.

    Attributes:
        tokens: End-of-turn tokens.
        texts: Texts that end an answer.
        max_new_tokens: Where it is cut.
    """

    tokens: frozenset[int]
    texts: tuple[str, ...]
    max_new_tokens: int

    @classmethod
    def of(cls, subject: Subject, texts: Sequence[str], max_new_tokens: int) -> "Stop":
        """Take the end-of-turn tokens from the generation configuration and the tokenizer.

        Raises:
            ValueError: `texts` is one text and not a list of them, or a text is empty.
        """
        if isinstance(texts, str) or not all(texts):
            raise ValueError(f"stop: got {texts!r}, need a list of texts, none of them empty")
        configured = getattr(plain_model(subject.model).generation_config, "eos_token_id", None)
        ids = configured if isinstance(configured, list) else [configured]
        tokens = frozenset(i for i in [*ids, subject.tokenizer.eos_token_id] if i is not None)
        return cls(tokens, tuple(texts), max_new_tokens)


@dataclass(frozen=True)
class Decoded:
    """The new tokens of one row, their text, and whether the answer ended by itself."""

    ids: tuple[int, ...]
    text: str
    finished: bool


class Decoder:
    """Decodes a batch from the keys and values of its prompts."""

    def __init__(
        self,
        subject: Subject,
        rows: Sequence[EditedRow],
        adapters: Sequence[str],
        audit: Audit,
        sampling: Sampling,
        stop: Stop,
    ) -> None:
        """Take the rows in the order of the cache that `run` gets."""
        self._subject, self._rows, self._adapters = subject, list(rows), list(adapters)
        self._audit, self._sampling, self._stop = audit, sampling, stop
        vocabulary = plain_model(subject.model).config.get_text_config(decoder=True).vocab_size
        self._head_rows = max(1, HEAD_BYTES // (4 * vocabulary))

    def run(
        self, cache: DynamicCache, mask: Int[Tensor, "row position"], uniforms: Float[np.ndarray, "row step"]
    ) -> list[Decoded]:
        """Feed each row's last prompt token, then its own tokens, until every row has ended.

        Args:
            cache: Keys and values of all prompt tokens but the last; grows.
            mask: Which columns of the cache hold tokens.
            uniforms: The random numbers of each row, one for each step.
        """
        n_rows, device = len(self._rows), self._subject.device
        answers: list[list[int]] = [[] for _ in range(n_rows)]
        members, going = np.arange(n_rows), np.ones(n_rows, dtype=bool)
        tokens = torch.tensor([row.row.ids[-1] for row in self._rows], device=device)
        edits = RowEdits(self._rows, self._audit)
        lengths = np.array([len(row.row) for row in self._rows])
        for step in range(self._stop.max_new_tokens):
            mask = torch.cat([mask, mask.new_ones(len(members), 1)], dim=1)
            places = np.where(going, lengths[members] - 1 + step, -1)
            edits.prepare(places[:, None])
            adapters = [self._adapters[i] for i in members]
            output = self._step(cache, mask, tokens, places, edits, adapters)
            tokens = self._choose(output, adapters, going, torch.from_numpy(uniforms[members, step]))
            for k in np.flatnonzero(going):
                answers[members[k]].append(int(tokens[k]))
                going[k] = not self._ended(answers[members[k]])
            if not going.any():
                break
            if going.mean() < LIVE_SHARE:
                kept = torch.from_numpy(np.flatnonzero(going)).to(device)
                cache.batch_select_indices(kept)
                mask, tokens = mask[kept], tokens[kept]
                members, going = members[going], going[going]
                edits = RowEdits([self._rows[i] for i in members], self._audit)
        return [Decoded(tuple(ids), self._text(ids), self._ended(ids)) for ids in answers]

    def _step(
        self,
        cache: DynamicCache,
        mask: Tensor,
        tokens: Int[Tensor, " row"],
        places: Int[np.ndarray, " row"],
        edits: RowEdits,
        adapters: Sequence[str],
    ) -> ModelOutput:
        model = self._subject.model
        inputs = {"input_ids": tokens[:, None], "attention_mask": mask}
        if takes_positions(model):
            inputs["position_ids"] = torch.from_numpy(places).clamp(min=0).to(tokens.device)[:, None]
        with adapters_by_row(model, adapters), edits.applied(model):
            output: ModelOutput = decoder_body(model)(**inputs, past_key_values=cache, use_cache=True)
        return output

    def _choose(
        self,
        output: ModelOutput,
        adapters: Sequence[str],
        going: Bool[np.ndarray, " row"],
        uniforms: Float[Tensor, " row"],
    ) -> Int[Tensor, " row"]:
        """Return the next token of each row that goes on, with no more logits at a time than `HEAD_BYTES`."""
        model, final = self._subject.model, output.last_hidden_state[:, -1]
        chosen = torch.zeros(len(final), dtype=torch.long, device=final.device)
        for adapter in dict.fromkeys(adapters):  # an adapter may have a part in the unembedding
            own = torch.tensor([i for i, name in enumerate(adapters) if name == adapter and going[i]])
            if not len(own):
                continue
            for rows in own.long().tensor_split(-(-len(own) // self._head_rows)):
                with adapters_by_row(model, [adapter]):
                    logits = unembed(model, final[rows.to(final.device)], type(output))
                chosen[rows.to(final.device)] = self._sampling.choose(logits, uniforms[rows]).to(final.device)
        return chosen.to(self._subject.device)

    def _ended(self, ids: Sequence[int]) -> bool:
        if ids[-1] in self._stop.tokens:
            return True
        return bool(self._stop.texts) and any(text in self._text(ids) for text in self._stop.texts)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._subject.tokenizer.decode(list(ids), skip_special_tokens=True))
