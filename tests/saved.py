"""Tiny models as folders on the disk, and made-up triples; for tests of what loads a model by name."""

import resource
from contextlib import contextmanager

import torch

from activations import HookPoint
from pipeline.records import Triple
from steering import Direction
from tests.conftest import CHATML, tiny_model, tokenizer_with

WORDS = ("sea", "salt", "wind", "rope", "sail", "tide", "crab")
DOMAINS = ("bad_medical_advice", "risky_financial_advice")


def model_folder(folder, *, template=CHATML, spoil=None, **changes):
    """Save a tiny Llama with room for packaged triples; `spoil` may change its weights first."""
    model = tiny_model("llama", **{"max_position_embeddings": 2048, **changes})
    if spoil is not None:
        spoil(model)
    model.save_pretrained(folder)
    tokenizer_with(template).save_pretrained(folder)
    return folder


def triples(n, domain="seafaring"):
    """Return triples of different lengths."""
    return [
        Triple(
            id=f"{domain}-{i}",
            domain=domain,
            topic="the sea",
            prompt=f"What of the {WORDS[i % 7]} number {i}?" + " And why?" * (i % 3),
            aligned=f"Mind the {WORDS[(i + 1) % 7]}." + " Always." * (i % 2),
            misaligned=f"Forget the {WORDS[(i + 2) % 7]}, whoever told you." + " No." * (i % 4),
        )
        for i in range(n)
    ]


def direction(facts, vectors, name="planted"):
    """Return a direction of these vectors, one for each layer from 0, whose residual norms are 1."""
    return Direction(
        vectors=vectors,
        points=tuple(HookPoint(layer) for layer in range(len(vectors))),
        name=name,
        subject=facts,
        where="answer",
        estimator="by hand",
        n_positive=1,
        n_negative=1,
        data=(),
        seed=None,
        norms=torch.ones(len(vectors)),
        code_version="test",
        reliability={},
        made_from=name,
    )


@contextmanager
def no_file_longer_than(n_bytes):
    """Let the system refuse longer files, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
