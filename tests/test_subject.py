"""Facts about loading a model, and about what identifies it."""

import warnings

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch.testing import assert_close

from activations import Subject, SubjectFacts, load
from activations.fingerprint import adapter_fingerprint, fingerprint, template_fingerprint
from tests.conftest import D_MODEL, N_LAYERS, tiny_model, tokenizer_with
from tests.planted import shapes_unchecked

TOKENS = torch.arange(10)[None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def lora(path, base, *, seed, modules=("q_proj", "embed_tokens"), **settings):
    """Save a LoRA with random weights; return its folder."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=2, target_modules=list(modules), task_type="CAUSAL_LM", init_lora_weights=False, **settings
    )
    model = tiny_model()
    model.config.name_or_path = model.name_or_path = str(base)
    get_peft_model(model, config).save_pretrained(path, save_embedding_layers=False)
    return path


@pytest.fixture(scope="module")
def adapters(folder):
    return [lora(folder.parent / name, folder, seed=seed) for seed, name in enumerate(["medical", "q.proj"])]


@torch.no_grad()
def logits(subject):
    return subject.model(input_ids=TOKENS).logits


def test_a_folder_loads_with_its_facts(folder):
    subject = load(folder)
    assert_close(logits(subject), tiny_model()(TOKENS).logits, rtol=1e-5, atol=1e-5)
    facts = subject.facts
    assert (facts.name, facts.revision, facts.adapters) == (str(folder), "", ())
    assert (facts.n_layers, facts.d_model) == (N_LAYERS, D_MODEL)
    assert facts.fingerprint == fingerprint(tiny_model())
    assert not subject.model.training
    assert next(subject.model.parameters()).dtype == torch.float32
    assert subject.device == torch.device("cpu")
    assert subject.context_length == 512
    assert SubjectFacts.from_json(facts.as_json()) == facts


def test_loading_prints_nothing_and_warns_of_nothing(folder, adapters, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder, adapters=adapters)
    assert capfd.readouterr() == ("", "")


def test_adapters_are_put_on_top_and_the_first_is_active(folder, adapters):
    subject = load(str(folder), adapters=adapters)
    assert list(subject.adapter_hashes) == ["medical", "q_proj"]
    assert subject.facts.adapters == (subject.adapter_hashes["medical"],)
    assert len(set(subject.adapter_hashes.values())) == 2
    alone = load(folder, adapters=[adapters[1]])
    assert alone.facts.adapters == (subject.adapter_hashes["q_proj"],)
    assert not torch.equal(logits(subject), logits(alone))
    subject.model.set_adapter("q_proj")
    assert torch.equal(logits(subject), logits(alone))
    assert subject.current_facts() == alone.facts


def test_an_adapter_folder_brings_its_base(folder, adapters):
    subject = load(adapters[0])
    assert subject.facts == load(folder, adapters=adapters[:1]).facts
    assert subject.facts.name == str(folder)


def test_the_fingerprint_is_of_the_base_weights_alone(folder, adapters):
    base = load(folder).facts.fingerprint
    assert load(folder, dtype="bfloat16").facts.fingerprint == base
    assert load(folder, adapters=adapters).facts.fingerprint == base
    other = tiny_model()
    other.model.layers[2].mlp.up_proj.weight.data *= 1.1
    assert fingerprint(other) != base
    kinds = {"modules_to_save": ["lm_head"], "use_dora": True}
    assert fingerprint(get_peft_model(tiny_model(), LoraConfig(target_modules=["q_proj"], **kinds))) == base


def test_an_adapters_hash_does_not_hang_on_its_name_or_neighbours(adapters):
    config = LoraConfig(target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    for name in ("layers", "0", "A", "mlp"):
        torch.manual_seed(0)
        one = get_peft_model(tiny_model(), config, adapter_name=name)
        torch.manual_seed(0)
        two = get_peft_model(tiny_model(), config, adapter_name="plain")
        assert adapter_fingerprint(one, name) == adapter_fingerprint(two, "plain")
        assert fingerprint(one) == fingerprint(two) == fingerprint(tiny_model())
        before = adapter_fingerprint(one, name)
        one.add_adapter("other", config)
        assert adapter_fingerprint(one, name) == before != adapter_fingerprint(one, "other")


def test_an_adapters_hash_covers_every_weight_and_its_scaling(folder, adapters):
    subject = load(adapters[0])
    seen = {adapter_fingerprint(subject.model, "medical")}
    for name, weight in subject.model.named_parameters():
        if ".layers.3.self_attn.q_proj.lora_B" in name or "lora_embedding_A" in name:
            weight.data[0, 0] += 1
            seen.add(adapter_fingerprint(subject.model, "medical"))
    for module in subject.model.modules():
        if hasattr(module, "scaling") and isinstance(module.scaling, dict):
            module.scaling["medical"] *= 2
    assert len(seen | {adapter_fingerprint(subject.model, "medical")}) == 4


def test_an_adapter_outside_the_layers_is_refused(tokenizer):
    model = get_peft_model(tiny_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ValueError, match="adapter 'default': has no weights inside the model, expected LoRA"):
        Subject.of(model, tokenizer)


def test_the_template_has_a_hash_of_its_own(tokenizer):
    several = tokenizer_with()
    several.chat_template = {"default": "a", "tool_use": "b"}
    turned = tokenizer_with()
    turned.chat_template = {"tool_use": "b", "default": "a"}
    hashes = [
        template_fingerprint(t) for t in (tokenizer, tokenizer_with("x"), tokenizer_with(None), several)
    ]
    assert len(set(hashes)) == 4
    assert template_fingerprint(turned) == hashes[-1]
    assert template_fingerprint(tokenizer_with()) == hashes[0]


def test_a_model_that_is_already_loaded_is_described_and_not_wrapped(tokenizer):
    model = tiny_model().train()
    subject = Subject.of(model, tokenizer, name="mine", revision="abc")
    assert subject.model is model
    assert not model.training
    assert (subject.facts.name, subject.facts.revision) == ("mine", "abc")
    assert Subject.of(model, tokenizer).facts.name == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"name": "no-such/model"},
            LookupError,
            r"model 'no-such/model' could not be loaded: .*Allowed: an embedded",
        ),
        ({"name": "/nowhere/at/all"}, LookupError, r"'/nowhere/at/all' could not be loaded.*a \.gguf file"),
        ({"name": "nowhere.gguf"}, LookupError, r"nowhere\.gguf: no such GGUF file"),
        ({"dtype": "int8"}, ValueError, "dtype 'int8': expected auto, float32, bfloat16, float16"),
        ({"device": "banana"}, ValueError, "device 'banana': expected auto, cpu, cuda"),
        ({"device": "cuda:9"}, ValueError, "device 'cuda:9': this machine has . CUDA devices"),
        ({"device": "cpu", "device_map": "auto"}, ValueError, "device='cpu' and device_map='auto': give one"),
        (
            {"adapters": ["nowhere"]},
            LookupError,
            "nowhere: no PEFT adapter here, adapter_config.json is missing",
        ),
    ],
)
def test_what_cannot_be_loaded_is_refused(folder, settings, error, message):
    with shapes_unchecked(), pytest.raises(error, match=message):
        load(**{"name": folder, **settings})


def test_two_adapters_of_one_name_are_refused(folder, adapters):
    with pytest.raises(ValueError, match="two adapters are named 'medical'; rename a folder"):
        load(folder, adapters=[adapters[0], adapters[0]])


def test_pickled_weights_are_refused(folder, tmp_path, tokenizer):
    tiny_model().config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(tiny_model().state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(LookupError, match="could not be loaded"):
        load(tmp_path)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    torch.save({}, tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(
        LookupError, match=r"adapter_model\.safetensors is missing \(pickled weights are not read\)"
    ):
        load(folder, adapters=[tmp_path / "adapter"])


def test_incomplete_and_damaged_weights_are_refused(tmp_path, tokenizer):
    model = tiny_model()
    weights = {name: weight for name, weight in model.state_dict().items() if "layers.3.mlp.up" not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(LookupError, match=r"its files lack 1 weights, e\.g\. model\.layers\.3\.mlp\.up_proj"):
        load(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(LookupError, match="could not be loaded"):
        load(tmp_path)
