"""Facts about pooled capture, checked against a plain loop with hooks of its own."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close

from activations import All, Answer, HookPoint, Last, Prompt, Role, Subject, collect, decoder_blocks
from activations.collect import data_hash
from activations.encode import pad, tokenize
from activations.forward import run_up_to
from tests.conftest import N_LAYERS, tiny_model, tokenizer_with
from tests.planted import shapes_unchecked

POINTS = tuple(HookPoint(layer, site) for layer in range(N_LAYERS) for site in ("resid_pre", "resid_post"))


@torch.no_grad()
def plainly(subject, chat, where, points):
    """Return means and norms of one chat: one row, no padding, the whole model, hooks written here."""
    row = tokenize(subject, chat)
    chosen = [i for i, flag in enumerate(where.select(row)) if flag]
    found, handles = {}, []
    for point in points:
        block = decoder_blocks(subject.model)[point.layer]

        def keep(_module, inputs, output=None, point=point):
            tensor = inputs[0] if output is None else output
            found[point] = (tensor[0] if isinstance(tensor, tuple) else tensor)[0].clone()

        pre = point.site == "resid_pre"
        handles.append(block.register_forward_pre_hook(keep) if pre else block.register_forward_hook(keep))
    subject.model(torch.tensor([row.ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    tokens = [found[point].double()[chosen] for point in points]
    return torch.stack([t.mean(0) for t in tokens]).float(), torch.stack(
        [t.norm(dim=1).mean() for t in tokens]
    )


def test_batches_of_any_size_and_side_equal_the_plain_loop(tiny_subject, architecture, chats):
    subject, where = tiny_subject(architecture), Answer(lead=1) | Role("user")
    wanted = [plainly(subject, chat, where, POINTS) for chat in chats]
    for side, max_tokens in (("left", 4096), ("right", 4096), ("left", 180), ("right", 1)):
        got = collect(subject, chats, where, points=POINTS, side=side, max_tokens=max_tokens)
        for i, (values, norms) in enumerate(wanted):
            assert_close(got.values[i], values, rtol=2e-4, atol=2e-5)
            assert_close(got.norms[i], norms.float(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_last_token_is_hugging_faces_hidden_state(architecture, tokenizer):
    subject = Subject.of(tiny_model(architecture), tokenizer, name=architecture)
    row = tokenize(subject, "Hello there")
    states = subject.model(torch.tensor([row.ids]), output_hidden_states=True).hidden_states
    got = collect(subject, ["Hello there", "a much longer text beside it"], Last())
    for layer in range(N_LAYERS - 1):
        assert_close(got.at(HookPoint(layer))[0], states[layer + 1][0, -1], rtol=2e-4, atol=2e-5)


def test_gpt2_counts_positions_from_the_row_and_not_from_the_pads(tiny_subject):
    subject = tiny_subject("gpt2")
    alone, padded = collect(subject, ["short"], Last()), collect(subject, ["short", "x" * 90], Last())
    assert_close(padded.values[0], alone.values[0], rtol=1e-4, atol=1e-5)


def test_what_was_read_stands_in_the_result(subject, chats):
    got = collect(subject, chats, Answer(), names=["a", "b", "c", "d"], points=POINTS[2:4])
    assert got.rows == ("a", "b", "c", "d")
    assert got.points == POINTS[2:4]
    assert got.where == "answer"
    assert got.subject == subject.facts
    assert got.data == data_hash(chats)
    assert got.n_tokens.tolist() == [sum(tokenize(subject, chat).answer_flags()) for chat in chats]
    assert got.values.dtype == got.norms.dtype == torch.float32
    assert collect(subject, chats, Last()).points == tuple(HookPoint(layer) for layer in range(N_LAYERS))


def test_the_data_hash_knows_content_and_order_but_not_the_order_of_keys(chats):
    turned = [[dict(reversed(message.items())) for message in chat] for chat in chats]
    assert data_hash(turned) == data_hash(chats)
    assert data_hash(chats[::-1]) != data_hash(chats)
    assert data_hash(["a"]) != data_hash(["b"])


def test_a_mean_of_one_large_first_token_is_left_out_unless_asked(tokenizer):
    model = tiny_model()
    subject = Subject.of(model, tokenizer)

    def sink(_block, _args, output):
        return torch.cat([output[:, :1] * 0 + 1e6, output[:, 1:]], dim=1)

    with decoder_blocks(model)[1].register_forward_hook(sink):
        for where in (All(), Prompt()):
            assert collect(subject, ["some text"], where, points=[HookPoint(1)]).norms.max() < 1e3
        for where in (All(sink=True), Prompt(sink=True)):
            assert collect(subject, ["some text"], where, points=[HookPoint(1)]).norms.max() > 1e5


def test_nothing_above_the_last_wanted_block_is_run(architecture):
    model = tiny_model(architecture)
    calls = []
    for layer, block in enumerate(decoder_blocks(model)):
        block.register_forward_pre_hook(lambda _m, _a, layer=layer: calls.append(layer))
    model.get_output_embeddings().register_forward_pre_hook(lambda _m, _a: calls.append("lm_head"))
    subject = Subject.of(model, tokenizer_with())
    collect(subject, ["some text"], Last(), points=[HookPoint(1), HookPoint(0)])
    assert calls == [0, 1]
    collect(subject, ["some text"], Last())
    assert calls == [0, 1, 0, 1, 2, 3]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_and_infinity_name_the_row_and_the_point(tokenizer, bad):
    model = tiny_model()

    def spoil(_block, _args, output):
        return torch.where(torch.arange(output.shape[1])[None, :, None] == 20, bad, output)

    message = (
        r"q1: the residual at blocks\.2\.hook_resid_post holds nan or inf \(1 of the 1 rows of its batch do\)"
    )
    with decoder_blocks(model)[2].register_forward_hook(spoil), pytest.raises(ValueError, match=message):
        collect(
            Subject.of(model, tokenizer),
            ["text", "x" * 30],
            All(),
            names=["q0", "q1"],
            max_tokens=1,
            side="right",
        )


def test_bfloat16_models_give_finite_values_near_the_float32_ones(tokenizer, chats):
    exact = collect(Subject.of(tiny_model(), tokenizer), chats, Answer())
    rough = collect(Subject.of(tiny_model().bfloat16(), tokenizer), chats, Answer())
    assert rough.values.isfinite().all()
    relative = (rough.values - exact.values).norm(dim=-1) / exact.values.norm(dim=-1)
    assert relative.max() < 0.1


def test_the_subject_is_as_before(tokenizer, chats):
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    collect(Subject.of(model, tokenizer), chats, Answer())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(tensor.is_inference() for tensor in [*model.parameters(), *model.buffers()])
    assert torch.is_grad_enabled()


def test_the_facts_name_the_adapter_that_is_active(tokenizer):
    lora = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    model = get_peft_model(tiny_model(), lora, adapter_name="one")
    model.add_adapter("two", lora)
    subject = Subject.of(model, tokenizer)
    plain = Subject.of(tiny_model(), tokenizer)
    one = collect(subject, ["text"], Last())
    model.set_adapter("two")
    two = collect(subject, ["text"], Last())
    with model.disable_adapter():
        none = collect(subject, ["text"], Last())
    assert one.subject.adapters == subject.facts.adapters == (subject.adapter_hashes["one"],)
    assert two.subject.adapters == (subject.adapter_hashes["two"],)
    assert none.subject.adapters == ()
    assert not torch.equal(one.values, two.values)
    assert torch.equal(none.values, collect(plain, ["text"], Last()).values)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"points": []}, ValueError, "points: got .*, need at least one, each once"),
        ({"points": [HookPoint(1), HookPoint(1)]}, ValueError, "each once"),
        ({"points": [HookPoint(4)]}, IndexError, r"layer 4 is outside 0\.\.3"),
        ({"where": Role("system")}, ValueError, "row 0: role:system chooses none of its"),
        ({"max_tokens": 0}, ValueError, "max_tokens: got 0, need at least 1"),
        ({"names": ["a"]}, ValueError, "names: got 1, need one for each of 4 chats"),
        ({"side": "middle"}, ValueError, "side 'middle'"),
        ({"chats": []}, ValueError, "chats: got none"),
    ],
)
def test_bad_settings_are_refused(subject, chats, settings, error, message):
    arguments = {"chats": chats, "where": Answer(), **settings}
    with shapes_unchecked(), pytest.raises(error, match=message):
        collect(subject, **arguments)


def test_a_model_in_training_mode_is_refused(tokenizer):
    subject = Subject.of(tiny_model(), tokenizer, name="tiny")
    subject.model.train()
    with pytest.raises(ValueError, match=r"tiny: the model is in training mode.*call model\.eval"):
        collect(subject, ["text"], Last())


def test_a_pass_without_edits_is_refused(subject):
    with pytest.raises(ValueError, match="edits: got none"):
        run_up_to(subject.model, pad([tokenize(subject, "text")]), {})
