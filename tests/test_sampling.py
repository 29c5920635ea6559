"""Facts about how the next token is chosen."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from steering import Sampling

LOGITS = torch.tensor([[0.0, 2.0, -1.0, 1.0, -torch.inf]])


def frequencies(sampling, n=4000):
    uniform = torch.from_numpy((np.arange(n) + 0.5) / n)
    chosen = sampling.choose(LOGITS.expand(n, -1), uniform)
    return torch.bincount(chosen, minlength=5) / n


def test_temperature_0_is_greedy():
    assert Sampling().choose(LOGITS, torch.tensor([0.99]).double()).tolist() == [1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_uniform_numbers_give_the_models_probabilities(temperature):
    expected = (LOGITS[0] / temperature).softmax(-1)
    assert_close(frequencies(Sampling(temperature=temperature)), expected, rtol=0, atol=1e-3)


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass():
    probabilities = LOGITS[0].softmax(-1)  # in order: tokens 1, 3, 0, 2
    found = frequencies(Sampling(temperature=1.0, top_p=float(probabilities[1] + probabilities[3]) + 0.01))
    assert found[[2, 4]].tolist() == [0, 0]
    kept = probabilities[[0, 1, 3]]
    assert_close(found[[0, 1, 3]], kept / kept.sum(), rtol=0, atol=1e-3)
    assert frequencies(Sampling(temperature=1.0, top_p=0.01)).tolist() == [0, 1, 0, 0, 0]


def test_a_row_does_not_depend_on_its_neighbours():
    sampling = Sampling(temperature=1.0, top_p=0.9)
    logits, uniform = torch.randn(50, 30), torch.rand(50).double()
    together = sampling.choose(logits, uniform)
    apart = torch.cat([sampling.choose(logits[i : i + 1], uniform[i : i + 1]) for i in range(50)])
    assert torch.equal(together, apart)


@given(u=st.floats(0, 1, exclude_max=True), top_p=st.floats(0.1, 1))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_token_without_probability_is_never_drawn(u, top_p):
    token = Sampling(temperature=1.0, top_p=top_p).choose(LOGITS, torch.tensor([u]).double())
    assert token.item() != 4


def test_a_stream_depends_on_seed_prompt_and_sample_alone():
    stream = Sampling(seed=1, temperature=1.0).stream
    same = Sampling(seed=1, temperature=0.3, top_p=0.5).stream("a", 0, 5)
    assert np.array_equal(stream("a", 0, 5), same)
    assert np.array_equal(stream("a", 0, 9)[:5], same)
    others = [stream("a", 1, 5), stream("b", 0, 5), Sampling(seed=2).stream("a", 0, 5), stream("a\0", 0, 5)]
    assert not any(np.array_equal(same, other) for other in others)


@pytest.mark.parametrize(
    "bad", [{"temperature": -1.0}, {"temperature": np.inf}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Sampling(**bad)
