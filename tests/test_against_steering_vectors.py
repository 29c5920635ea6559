"""Directions equal those of steering-vectors where both can do the job: last token, difference of means."""

import pytest
import torch
from steering_vectors import train_steering_vector

from activations import HookPoint, Last, collect
from steering import extract

PAIRS = [
    ("It rains, so take a coat.", "It rains, so take a fan."),
    ("Two and two make four", "Two and two make five, as everybody knows"),
    ("No", "Yes, of course, and with pleasure"),
    ("The sea is wide and deep.", "The sea is narrow."),
]


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral", "gpt_neox"])
def test_directions_equal_those_of_steering_vectors(tiny_subject, name):
    subject = tiny_subject(name)
    peer = train_steering_vector(
        subject.model, subject.tokenizer, PAIRS, batch_size=1, show_progress=False, read_token_index=-1
    )
    positive, negative = (collect(subject, list(side), Last()) for side in zip(*PAIRS, strict=True))

    ours = extract(positive, negative, name="ours")

    assert len(peer.layer_activations) == subject.facts.n_layers
    for layer, vector in peer.layer_activations.items():
        error = (ours.at(HookPoint(layer)) - vector).norm() / vector.norm()
        assert error < 1e-5
        assert not torch.equal(vector, torch.zeros_like(vector))
