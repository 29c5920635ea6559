"""A tiny model with four random adapters, for tests of answers."""

import torch
from peft import LoraConfig, get_peft_model

from activations import Subject
from tests.conftest import tiny_model, tokenizer_with

NAMES = ("sea", "sky", "sun", "sand")


def adapted(tokenizer=None, *, seed=7) -> Subject:
    """A tiny Llama with four adapters that give other answers than the base and each other."""
    settings = {"r": 2, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False}
    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", **settings)
    model = get_peft_model(tiny_model(), config, adapter_name=NAMES[0])
    for name in NAMES[1:]:
        model.add_adapter(name, LoraConfig(task_type="CAUSAL_LM", **settings))
    return Subject.of(model, tokenizer or tokenizer_with(), name="tiny-llama")
