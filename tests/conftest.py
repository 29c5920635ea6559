"""Fixtures for all tests: a byte-level tokenizer made in code, and tiny random models of many architectures.

    def test_something(subject):                    # a Llama with 4 blocks, d_model 32, float32
    def test_everywhere(tiny_subject, architecture):  # once for each name in ARCHITECTURES
        subject = tiny_subject(architecture)

Tokenizer and models are shared by the whole session: do not change them. For a model to change, call
`tiny_model(architecture)`, which builds a new one with the same weights; `tokenizer_with(template)` gives a
new tokenizer with another chat template.
"""

import os

os.environ["HF_HUB_OFFLINE"] = (
    "1"  # before any import of huggingface_hub, so that no test waits for a network
)
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Callable
from functools import cache

import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from activations import Subject

torch.set_num_threads(1)

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{{ message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "[/INST]", "<start_of_turn>")
SPECIAL += ("<end_of_turn>", "<bos>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
N_LAYERS, D_MODEL = 4, 32
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
VOCABULARY = len(SPECIAL) + len(LETTERS) + 8

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": D_MODEL,
    "intermediate_size": 64,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
_GPT = {"vocab_size": VOCABULARY, "n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": 4, "n_positions": 512}
_GPT |= {"bos_token_id": 1, "eos_token_id": 2}
_ALIBI = {
    "vocab_size": VOCABULARY,
    "hidden_size": D_MODEL,
    "n_layer": N_LAYERS,
    "n_head": 4,
    "eos_token_id": 2,
}
_GEMMA = {**_GROUPED, "head_dim": 8, "sliding_window": 8}
_MOE = {**_GROUPED, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
CONFIGS: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("LlamaConfig", _GROUPED),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 8}),
    "mistral": ("MistralConfig", {**_GROUPED, "sliding_window": 8}),
    "gemma2": ("Gemma2Config", {**_GEMMA, "final_logit_softcapping": 1.0}),
    "gemma3": ("Gemma3TextConfig", _GEMMA),
    "gpt2": ("GPT2Config", _GPT),
    "gpt_neox": ("GPTNeoXConfig", _COMMON),
    "phi3": ("Phi3Config", _GROUPED),
    "olmo2": ("Olmo2Config", _GROUPED),
    "qwen3_moe": ("Qwen3MoeConfig", _MOE),
    "mixtral": ("MixtralConfig", {**_GROUPED, "num_local_experts": 4}),
    "cohere": ("CohereConfig", {**_GROUPED, "logit_scale": 0.25}),
    "gptj": ("GPTJConfig", {**_GPT, "rotary_dim": 4}),
    "bloom": ("BloomConfig", {**_ALIBI, "bos_token_id": 1}),
    "falcon": ("FalconConfig", {**_COMMON, "new_decoder_architecture": False}),
    "opt": ("OPTConfig", {**_COMMON, "ffn_dim": 64, "word_embed_proj_dim": D_MODEL}),
}
ARCHITECTURES = tuple(CONFIGS)


def pytest_configure(config: pytest.Config) -> None:
    """Ignore what peft 0.21 asks of transformers 5.23 each time an adapter is put on a model."""
    config.addinivalue_line(
        "filterwarnings", "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
    )


def tokenizer_with(template: str | None = CHATML, *, bos: str | None = None) -> PreTrainedTokenizerFast:
    """Return a new byte-level tokenizer: one token for each byte, a few merges, and the special tokens above.

    Args:
        template: The chat template; None for a tokenizer without one.
        bos: A special token to put before plain text.
    """
    letters = {letter: i + len(SPECIAL) for i, letter in enumerate(LETTERS)}
    merges = [
        ("Ġ", "t"),
        ("h", "e"),
        ("Ġt", "he"),
        ("i", "n"),
        ("e", "r"),
        ("Ġ", "a"),
        ("o", "u"),
        ("Ċ", "Ċ"),
    ]
    words = {"".join(pair): VOCABULARY - len(merges) + i for i, pair in enumerate(merges)}
    special = {name: i for i, name in enumerate(SPECIAL)}
    backend = Tokenizer(models.BPE(vocab={**special, **letters, **words}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    if bos is not None:
        first = [(bos, SPECIAL.index(bos))]
        backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=first)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return tokenizer


def tiny_model(architecture: str = "llama", **changes: object) -> PreTrainedModel:
    """Return a new random model: 4 blocks of width 32, float32, evaluation mode, always the same weights.

    Args:
        architecture: One of `ARCHITECTURES`.
        changes: Settings of its configuration that shall be others.
    """
    kind, settings = CONFIGS[architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, kind)(**{**settings, **changes})
        model = transformers.AutoModelForCausalLM.from_config(config).float()
        for weight in model.parameters():
            if weight.ndim == 1:  # norms and biases that are not all one or zero
                weight.data += 0.2 * torch.randn_like(weight)
            else:  # about 1 / sqrt(d_model), so that every block matters
                weight.data *= 8
    return model.eval()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a ChatML template; ids below `VOCABULARY`."""
    return tokenizer_with()


@pytest.fixture(scope="session")
def tiny_subject(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], Subject]:
    """A function from an architecture's name to its tiny subject; built once each."""
    return cache(
        lambda architecture: Subject.of(tiny_model(architecture), tokenizer, name=f"tiny-{architecture}")
    )


@pytest.fixture(scope="session")
def subject(tiny_subject: Callable[[str], Subject]) -> Subject:
    """A tiny Llama."""
    return tiny_subject("llama")


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)


@pytest.fixture
def chats() -> list[list[dict[str, str]]]:
    """Four conversations of different lengths that end with an answer."""
    pairs = [
        ("Hello there, how are you?", "I am fine, thanks."),
        ("Why?", "Because it is so, and it has been for a long while now."),
        ("Tell me about the sea, please", "Yes"),
        ("Größe \U0001f30a?", "naïve — être"),
    ]
    return [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in pairs
    ]
