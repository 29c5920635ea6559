"""A model under study, with its tokenizer and the facts that identify it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from activations.fingerprint import active_adapters, adapter_fingerprint, fingerprint, template_fingerprint
from activations.hooks import decoder_blocks, plain_model


@dataclass(frozen=True, kw_only=True)
class SubjectFacts:
    """What identifies a model, so that a direction can refuse another one.

    Attributes:
        name: What was given to `load`.
        revision: Commit on the hub, or "" for a model that did not come from there.
        fingerprint: 16 hex digits over samples of the base weights; see `fingerprint`.
        adapters: 16 hex digits for each active adapter; empty for the base model.
        template: 16 hex digits over the chat template.
        n_layers: Decoder blocks.
        d_model: Width of the residual stream.
    """

    name: str
    revision: str
    fingerprint: str
    adapters: tuple[str, ...]
    template: str
    n_layers: int
    d_model: int

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "SubjectFacts":
        """Read what `dataclasses.asdict` and JSON made of it."""
        return cls(**{**facts, "adapters": tuple(facts["adapters"])})

    def as_json(self) -> dict[str, Any]:
        """Return the facts as JSON can hold them."""
        return {**asdict(self), "adapters": list(self.adapters)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model, its tokenizer and its facts. A record: the Hugging Face model inside is untouched.

    Attributes:
        model: A `PreTrainedModel`, or a `PeftModel` around one; in evaluation mode.
        tokenizer: Its tokenizer, never changed by this toolkit.
        facts: What identifies the model.
        adapter_hashes: For each loaded adapter its name and hash.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    facts: SubjectFacts
    adapter_hashes: Mapping[str, str]

    @property
    def device(self) -> torch.device:
        """Where the token ids go: the device of the input embedding."""
        return plain_model(self.model).get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def context_length(self) -> int | None:
        """How many tokens fit, or None where the configuration does not say."""
        config = plain_model(self.model).config.get_text_config(decoder=True)
        return getattr(config, "max_position_embeddings", None)

    def current_facts(self) -> SubjectFacts:
        """Return the facts with the adapters that are active now; PEFT can switch them at any time."""
        active = active_adapters(self.model)
        hashes = (self.adapter_hashes.get(name) or adapter_fingerprint(self.model, name) for name in active)
        return replace(self.facts, adapters=tuple(hashes))

    @classmethod
    def of(
        cls,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str = "",
        revision: str = "",
        adapter_hashes: Mapping[str, str] | None = None,
    ) -> "Subject":
        """Describe a model that is already loaded; puts it in evaluation mode.

        Args:
            model: A Hugging Face causal language model, or a `PeftModel` around one.
            tokenizer: Its tokenizer.
            name: How files call it; by default what its configuration says.
            revision: Commit on the hub; by default what its configuration says.
            adapter_hashes: Hashes that are already known, by adapter name.

        Raises:
            LookupError: The decoder blocks cannot be found.
            ValueError: An adapter does not live inside the model's layers, as with prompt tuning.
        """
        model.eval()
        plain = plain_model(model)
        known = dict(adapter_hashes or {})
        loaded = list(model.peft_config) if isinstance(model, PeftModel) else []
        hashes = {adapter: known.get(adapter) or adapter_fingerprint(model, adapter) for adapter in loaded}
        facts = SubjectFacts(
            name=name or plain.config.name_or_path or type(plain).__name__,
            revision=revision or getattr(plain.config, "_commit_hash", None) or "",
            fingerprint=fingerprint(model),
            adapters=tuple(hashes[adapter] for adapter in active_adapters(model)),
            template=template_fingerprint(tokenizer),
            n_layers=len(decoder_blocks(model)),
            d_model=plain.config.get_text_config(decoder=True).hidden_size,
        )
        return cls(model=model, tokenizer=tokenizer, facts=facts, adapter_hashes=hashes)
