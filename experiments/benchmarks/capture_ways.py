"""The ways of reading every layer's mean residual stream that the capture benchmark compares.

All run the same rows of 64 tokens in float32 without key-value cache, and give the mean over each row's tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from activations import All, HookPoint, Last, Subject, collect
from activations.encode import pad, tokenize_all
from activations.forward import body_inputs
from activations.hooks import decoder_body, plain_model
from experiments.benchmarks.peers import plain
from experiments.benchmarks.peers.contract import Peer, token_weights
from experiments.benchmarks.setup import DOMAIN, Job
from pipeline.triples import load_corpus

N_ROWS, N_TOKENS = 16, 64

BARE = "bare forward, no lm_head"
OURS = "collect, all layers"
HIDDEN = "output_hidden_states, then mean"
FULL = "full forward with lm_head"
BY_HAND = "hooks by hand, mean inside"


def capture_ways(subject: Subject, texts: Sequence[str], peers: Sequence[Peer]) -> dict[str, Job]:
    """Return the ways to compare; the bare forward pass comes first.

    The bare pass and all that allow it run the body alone, or unembed one token of each row.
    """
    batch = pad(tokenize_all(subject, texts), subject.device)
    body, inputs = decoder_body(subject.model), body_inputs(subject.model, batch)
    model = plain_model(subject.model)

    @torch.inference_mode()
    def hidden_states() -> Tensor:
        output = model(**inputs, use_cache=False, output_hidden_states=True, logits_to_keep=1)
        weights = token_weights(batch)
        return torch.stack([(state * weights).sum(dim=1) for state in output.hidden_states[1:]])

    found: dict[str, Job] = {
        BARE: torch.inference_mode()(lambda: body(**inputs, use_cache=False)),
        OURS: lambda: collect(subject, texts, All(sink=True)),
        BY_HAND: lambda: plain.pooled(subject, batch),
        HIDDEN: hidden_states,
        FULL: torch.inference_mode()(lambda: model(**inputs, use_cache=False)),
    }
    for peer in peers:
        if peer.capture is not None:
            read = peer.capture
            found[peer.name] = lambda read=read: read(batch)  # type: ignore[misc]
    return found


def depth_ways(subject: Subject, texts: Sequence[str]) -> dict[str, Job]:
    """Return captures of one layer only, a quarter, half and three quarters up the model."""
    n_layers = subject.facts.n_layers
    layers = [round(share * n_layers) - 1 for share in (0.25, 0.5, 0.75)]
    return {
        f"collect, layer {layer + 1} of {n_layers} only": _one_layer(subject, texts, layer)
        for layer in layers
    }


def difference_ways(subject: Subject, texts: Sequence[str], peers: Sequence[Peer]) -> dict[str, Job]:
    """Return ways to the mean difference of the last token over pairs of texts; the two bare passes first."""
    half = len(texts) // 2
    sides = texts[:half], texts[half:]
    pairs = list(zip(*sides, strict=True))
    batches = [body_inputs(subject.model, pad(tokenize_all(subject, own), subject.device)) for own in sides]
    body = decoder_body(subject.model)

    @torch.inference_mode()
    def bare() -> None:
        for inputs in batches:
            body(**inputs, use_cache=False)

    found: dict[str, Job] = {
        "bare forwards of both sides": bare,
        "collect both, subtract": lambda: ours_difference(subject, pairs),
    }
    for peer in peers:
        if peer.difference is not None:
            for size, words in ((half, f"batches of {half}"), (1, "one by one, its default")):
                if size > 1 or peer.name == "steering-vectors":
                    trained = peer.difference
                    found[f"{peer.name}, {words}"] = lambda trained=trained, size=size: trained(pairs, size)  # type: ignore[misc]
    return found


def ours_difference(subject: Subject, pairs: Sequence[tuple[str, str]]) -> Tensor:
    """Return the mean difference of the last token over pairs, for every layer, by `collect`."""
    one, other = (collect(subject, list(side), Last()) for side in zip(*pairs, strict=True))
    return (one.values - other.values).mean(dim=0)


def texts_of(subject: Subject, n: int = N_ROWS) -> list[str]:
    """Return plain texts of exactly 64 tokens each, cut from the corpus.

    Raises:
        ValueError: The corpus does not give so many.
    """
    joined = " ".join(f"{t.prompt} {t.aligned}" for t in load_corpus(DOMAIN))
    ids = subject.tokenizer(joined)["input_ids"]
    pieces = [subject.tokenizer.decode(ids[i : i + N_TOKENS]) for i in range(0, len(ids), N_TOKENS)]
    exact = [text for text in pieces if len(subject.tokenizer(text)["input_ids"]) == N_TOKENS]
    if len(exact) < n:
        raise ValueError(f"texts: the corpus gives {len(exact)} pieces of {N_TOKENS} tokens, need {n}")
    return exact[:n]


def _one_layer(subject: Subject, texts: Sequence[str], layer: int) -> Job:
    return lambda: collect(subject, texts, All(), points=[HookPoint(layer)])
