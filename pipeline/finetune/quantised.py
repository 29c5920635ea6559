"""Load a base in 4 bits for QLoRA, where bitsandbytes is installed."""

import importlib.util
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from pipeline.finetune.config import Quantisation

EXTRA = "qlora"
"""The extra that installs bitsandbytes."""


def quantization_config(quantisation: Quantisation) -> Any:
    """Return what `activations.load` takes to load a base this way; None for one that is not quantised.

    Raises:
        LookupError: bitsandbytes is not installed; names the extra that installs it.
    """
    if quantisation == "none":
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LookupError(
            f"quantisation {quantisation!r} needs bitsandbytes, which is not installed; "
            f"run: pip install 'misdirection[{EXTRA}]'"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
