"""Facts about passes that begin in the middle of a model, and about unembedding chosen tokens."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close
from transformers import DynamicCache

from activations import HookPoint, captured, decoder_blocks, edited
from activations.encode import pad, tokenize_all
from activations.forward import body_inputs
from activations.hooks import decoder_body
from activations.resume import block_outputs, resumed, unembed
from tests.conftest import D_MODEL, N_LAYERS, tiny_model

same = partial(assert_close, rtol=0, atol=0)


@pytest.fixture
def model(tiny_subject, architecture):
    return tiny_subject(architecture).model


@pytest.fixture
def inputs(tiny_subject, architecture):
    subject = tiny_subject(architecture)
    return body_inputs(subject.model, pad(tokenize_all(subject, ["a long enough text", "short"])))


def run(model, inputs):
    """Return the last hidden state, every block's output and its kind."""
    kept = {}
    with block_outputs(model, kept.__setitem__) as kinds:
        final = decoder_body(model)(**inputs, use_cache=False).last_hidden_state
    return final, kept, kinds


@torch.no_grad()
@pytest.mark.parametrize("layer", range(-1, N_LAYERS))
def test_a_resumed_pass_equals_the_full_pass(model, inputs, layer):
    final, kept, kinds = run(model, inputs)
    below = [HookPoint(i) for i in range(N_LAYERS)]
    with resumed(model, layer, kept.get(layer), kinds), captured(model, below) as found:
        again = decoder_body(model)(**inputs, use_cache=False).last_hidden_state
    same(again, final)
    for i in range(max(layer, 0), N_LAYERS):
        same(found[HookPoint(i)], [kept[i]])


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 2])
def test_an_edit_above_acts_on_a_resumed_pass_as_on_a_full_one(model, inputs, layer):
    _, kept, kinds = run(model, inputs)
    edits = {HookPoint(layer): lambda resid: resid + torch.ones(D_MODEL)}
    with edited(model, edits):
        full = decoder_body(model)(**inputs, use_cache=False).last_hidden_state
    with resumed(model, layer, kept[layer], kinds), edited(model, edits):
        same(decoder_body(model)(**inputs, use_cache=False).last_hidden_state, full)


@torch.no_grad()
def test_a_resumed_pass_reads_a_cache_and_writes_only_the_blocks_it_runs(model, inputs, architecture):
    body, layer, n = decoder_body(model), 1, 6
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    places = inputs.get("position_ids")

    def part(columns):
        own = {} if places is None else {"position_ids": places[:, columns]}
        return {"input_ids": ids[:, columns], "attention_mask": mask[:, : columns.stop], **own}

    first, rest = part(slice(0, n)), part(slice(n, ids.shape[1]))
    caches = [DynamicCache(), DynamicCache()]
    kept = {}
    for cache in caches:
        body(**first, past_key_values=cache, use_cache=True)
    with block_outputs(model, kept.__setitem__) as kinds:
        full = body(**rest, past_key_values=caches[0], use_cache=True).last_hidden_state
    with resumed(model, layer, kept[layer], kinds):
        again = body(**rest, past_key_values=caches[1], use_cache=True).last_hidden_state
    same(again, full)
    widths = [caches[1].layers[i].get_seq_length() for i in range(N_LAYERS)]
    assert widths == [n, n, ids.shape[1], ids.shape[1]]


@torch.no_grad()
def test_skipped_blocks_are_not_run(model, inputs):
    final, kept, kinds = run(model, inputs)
    calls = []
    handles = [
        part.register_forward_hook(lambda _m, _a, _o, i=i: calls.append(i))
        for i, block in enumerate(decoder_blocks(model))
        for part in list(block.children())[:1]
    ]
    with resumed(model, 1, kept[1], kinds):
        decoder_body(model)(**inputs, use_cache=False)
    for handle in handles:
        handle.remove()
    assert set(calls) == {2, 3}


@torch.no_grad()
def test_unembedding_gives_the_models_own_logits(model, inputs):
    output = decoder_body(model)(**inputs, use_cache=False)
    logits = model(**inputs, use_cache=False).logits
    places = inputs["attention_mask"].bool()
    got = unembed(model, output.last_hidden_state[places], type(output))
    assert_close(got, logits[places], rtol=1e-5, atol=1e-5)
    assert unembed(model, output.last_hidden_state[places][:0], type(output)).shape == (0, logits.shape[-1])


def test_caps_and_scales_of_the_logits_are_there_to_be_tested(tiny_subject):
    assert tiny_subject("gemma2").model.config.final_logit_softcapping == 1.0
    assert tiny_subject("cohere").model.config.logit_scale == 0.25


def own_forwards(model):
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


def test_forward_is_restored_after_exceptions(model, inputs):
    _, kept, kinds = run(model, inputs)
    with resumed(model, 2, kept[2], kinds):
        assert len(own_forwards(model)) == 3
    with pytest.raises(KeyError), resumed(model, 2, kept[2], kinds):
        raise KeyError
    assert own_forwards(model) == []
    with pytest.raises(TypeError):
        unembed(model, torch.zeros(1, D_MODEL), int)
    assert own_forwards(model) == []
    with pytest.raises(KeyError), block_outputs(model, lambda layer, resid: None):
        raise KeyError
    assert not any(block._forward_hooks for block in decoder_blocks(model))


def test_a_forward_that_someone_else_put_there_is_put_back():
    model = tiny_model()
    block = decoder_blocks(model)[0]
    theirs = block.forward
    block.forward = theirs  # as accelerate does
    with resumed(model, 0, torch.zeros(1, 1, D_MODEL), [None] * N_LAYERS):
        assert block.forward is not theirs
    assert vars(block)["forward"] is theirs


@pytest.mark.parametrize(
    ("layer", "resid", "n_kinds", "error", "message"),
    [
        (4, None, 4, IndexError, r"layer 4 is outside -1\.\.3"),
        (-2, None, 4, IndexError, r"layer -2 is outside -1\.\.3"),
        (2, None, 4, ValueError, "resid: got None, need the output of block 2"),
        (-1, None, 3, ValueError, "kinds: got 3, need one for each of 4 blocks"),
    ],
)
def test_a_place_that_cannot_be_resumed_is_refused(subject, layer, resid, n_kinds, error, message):
    with pytest.raises(error, match=message), resumed(subject.model, layer, resid, [None] * n_kinds):
        pytest.fail("the block must not run")
