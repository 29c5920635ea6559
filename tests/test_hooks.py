"""Facts about hook points and hooks, on every architecture."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.testing import assert_close
from transformers import T5Config, T5ForConditionalGeneration

from activations import HookPoint, captured, decoder_blocks, edited
from activations.hooks import SITES, decoder_body
from tests.conftest import D_MODEL, N_LAYERS, VOCABULARY, tiny_model
from tests.planted import shapes_unchecked

same = partial(assert_close, rtol=0, atol=0)
POINTS = [HookPoint(layer, site) for layer in range(N_LAYERS) for site in SITES]
TOKENS = torch.arange(24).reshape(2, 12) * 7 % VOCABULARY
VECTOR = torch.linspace(-3, 3, D_MODEL)


def add(resid):
    return resid + VECTOR


def boom(resid):
    raise RuntimeError("an edit that fails")


def n_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.fixture
def model(tiny_subject, architecture):
    return tiny_subject(architecture).model


@torch.no_grad()
@pytest.mark.parametrize("site", SITES)
def test_an_edit_moves_its_own_place_by_exactly_the_vector_and_nothing_below(model, site):
    here = HookPoint(2, site)
    with captured(model, POINTS) as before:
        logits = model(TOKENS).logits
    with edited(model, {here: add}), captured(model, POINTS) as during:
        moved = model(TOKENS).logits
    for point in POINTS:
        if point < here:
            same(during[point], before[point])
    same(during[here], [before[here][0] + VECTOR])
    assert not torch.equal(during[HookPoint(3)][0], before[HookPoint(3)][0])
    assert not torch.equal(moved, logits)
    same(model(TOKENS).logits, logits)


@torch.no_grad()
def test_what_leaves_a_block_enters_the_next(model):
    with captured(model, POINTS) as found:
        model(TOKENS)
    assert all(len(found[point]) == 1 and found[point][0].shape == (2, 12, D_MODEL) for point in POINTS)
    for layer in range(N_LAYERS - 1):
        same(found[HookPoint(layer)], found[HookPoint(layer + 1, "resid_pre")])


@torch.no_grad()
def test_resid_post_is_hugging_faces_hidden_state_of_the_next_index(architecture):
    model = tiny_model(architecture)  # the option leaves hooks of transformers' own behind
    with captured(model, POINTS) as found:
        states = model(TOKENS, output_hidden_states=True).hidden_states
    for layer in range(N_LAYERS - 1):
        same(found[HookPoint(layer)][0], states[layer + 1])
    assert not torch.equal(found[HookPoint(N_LAYERS - 1)][0], states[-1])  # after the final norm


@torch.no_grad()
def test_an_edit_at_a_layer_sees_the_edits_below(model):
    points = [HookPoint(1, "resid_pre"), HookPoint(1)]
    with edited(model, {points[1]: torch.zeros_like, points[0]: add}), captured(model, points) as found:
        model(TOKENS)
    assert not found[points[1]][0].any()


@torch.no_grad()
def test_new_tokens_of_generate_are_edited_too(model):
    with edited(model, {HookPoint(1): add}), captured(model, [HookPoint(1)]) as found:
        model.generate(TOKENS, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=0)
    assert [resid.shape[1] for resid in found[HookPoint(1)]] == [12, 1, 1]


@torch.no_grad()
@pytest.mark.parametrize("layer", [-1, N_LAYERS])
def test_no_hook_survives_a_layer_that_does_not_exist(subject, layer):
    edits = {HookPoint(0): torch.clone, HookPoint(layer): torch.clone}
    with pytest.raises(IndexError, match=rf"layer {layer} is outside 0\.\.3"), edited(subject.model, edits):
        pytest.fail("the block must not run")
    assert n_hooks(subject.model) == 0


@torch.no_grad()
def test_no_hook_survives_an_edit_that_fails(model):
    with pytest.raises(RuntimeError, match="an edit that fails"), edited(model, {HookPoint(1): boom}):
        model(TOKENS)
    assert n_hooks(model) == 0


def test_no_hook_survives_a_body_that_fails(subject):
    with pytest.raises(KeyError), edited(subject.model, dict.fromkeys(POINTS, add)):
        raise KeyError
    assert n_hooks(subject.model) == 0


def test_no_hook_survives_a_set_up_that_fails():
    model = tiny_model()
    decoder_blocks(model)[2].register_forward_hook = boom
    with pytest.raises((RuntimeError, TypeError)), edited(model, {HookPoint(1): add, HookPoint(2): add}):
        pytest.fail("the block must not run")
    assert n_hooks(model) == 0


def test_blocks_and_body_are_found(model):
    blocks = decoder_blocks(model)
    assert len(blocks) == N_LAYERS
    body = decoder_body(model)
    assert body is not model
    assert any(module is blocks for module in body.children())


def test_peft_leaves_the_block_objects_as_they_are():
    model = tiny_model()
    plain = list(decoder_blocks(model))
    wrapped = get_peft_model(model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert all(a is b for a, b in zip(decoder_blocks(wrapped), plain, strict=True))
    with torch.no_grad(), captured(wrapped, [HookPoint(1)]) as found:
        wrapped(input_ids=TOKENS)
    assert len(found[HookPoint(1)]) == 1


def test_other_models_are_refused_by_name(subject):
    small = {"d_model": 8, "d_ff": 8, "d_kv": 4, "num_heads": 2, "num_layers": 1, "vocab_size": 9}
    with pytest.raises(LookupError, match="T5ForConditionalGeneration is an encoder-decoder"):
        decoder_blocks(T5ForConditionalGeneration(T5Config(**small)))
    with pytest.raises(LookupError, match="Linear: expected a Hugging Face PreTrainedModel"):
        decoder_blocks(nn.Linear(1, 1))
    with pytest.raises(LookupError, match="LlamaModel: expected one list of 4 decoder blocks in its body"):
        decoder_blocks(subject.model.model)


@given(st.integers(0, 200), st.sampled_from(SITES))
def test_the_name_of_a_hook_point_is_read_back(layer, site):
    point = HookPoint(layer, site)
    assert str(point) == f"blocks.{layer}.hook_{site}"
    assert HookPoint.parse(str(point)) == point


BAD_NAMES = ["", "blocks.5", "blocks.-1.hook_resid_post", "blocks.05.hook_resid_post", "blocks.5.resid_post"]
BAD_NAMES += ["blocks.5.hook_mlp_out", "blocks.².hook_resid_post", "model.5.hook_resid_post"]
BAD_NAMES += ["blocks.5.hook_resid_post\n", "blocks.5.hook_resid_post.x"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_no_hook_point_is_refused(name):
    with pytest.raises(ValueError, match=r"expected blocks\.LAYER\.hook_SITE"):
        HookPoint.parse(name)


def test_a_site_that_does_not_exist_is_refused():
    with shapes_unchecked(), pytest.raises(ValueError, match="site 'mlp_out' is not one of"):
        HookPoint(1, "mlp_out")


def test_hook_points_sort_as_a_pass_reaches_them():
    assert sorted(reversed(POINTS)) == POINTS
    assert POINTS[0].site == "resid_pre"
