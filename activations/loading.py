"""Load a model under study: the embedded one, a hub id, a folder, a GGUF file or a PEFT adapter folder.

Reads safetensors and GGUF only; code from a hub runs only if `trust_remote_code` says so.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from activations.embedded import EMBEDDED, embedded_folder
from activations.progress import no_bars
from activations.subject import Subject

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
ALLOWED = (
    f"Allowed: an embedded model ({', '.join(EMBEDDED)}), a hub id with safetensors weights, a local folder, "
    "a .gguf file or an adapter folder"
)


def load(
    name: str | Path,
    *,
    adapters: Sequence[str | Path] = (),
    dtype: Dtype = "auto",
    device: str = "auto",
    device_map: str | Mapping[str, Any] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    quantization_config: Any = None,
) -> Subject:
    """Load a model under study.

    Args:
        name: An embedded model (`smollm2-135m-instruct`), a hub id, a folder, a `.gguf` file, or a folder
            with a PEFT adapter, whose base is then taken from its configuration.
        adapters: PEFT adapter folders to put on top; named by their folder, the first one is active.
        dtype: `auto` is float32 on a CPU, the reference, and the checkpoint's own elsewhere.
        device: `auto` is the first GPU if there is one, else the CPU. Not with `device_map`.
        device_map: As in transformers, e.g. `auto` to spread a model over several devices.
        revision: Commit, tag or branch on the hub.
        trust_remote_code: Whether code from the hub may run.
        quantization_config: As in transformers, for 4- and 8-bit bases.

    Raises:
        LookupError: There is no such model or adapter here, or it cannot be fetched; says what is allowed.
        ValueError: A setting is not one of those allowed.
    """
    if device_map is not None and device != "auto":
        raise ValueError(f"device={device!r} and device_map={device_map!r}: give one of the two")
    where = _resolve_device(device) if device_map is None else None
    torch_dtype = _resolve_dtype(dtype, where)
    wanted = str(name)
    if (Path(wanted) / "adapter_config.json").is_file():
        base = PeftConfig.from_pretrained(wanted).base_model_name_or_path
        if not base:
            raise LookupError(
                f"{wanted}: adapter_config.json names no base model; load the base and give adapters=[...]"
            )
        wanted, adapters = base, [wanted, *adapters]
    folders = _adapter_folders(adapters)
    place, files = _locate(wanted)
    files |= {"revision": revision, "trust_remote_code": trust_remote_code}
    options = {"dtype": torch_dtype, "quantization_config": quantization_config, "device_map": device_map}
    try:
        with no_bars():
            tokenizer = AutoTokenizer.from_pretrained(place, **files)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                place, **files, **options, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise LookupError(f"model {wanted!r} could not be loaded: {_first_line(error)}. {ALLOWED}") from error
    model, report = loaded
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise LookupError(f"model {wanted!r}: its files lack {len(missing)} weights, e.g. {missing[0]}")
    if where is not None and quantization_config is None:
        model = model.to(where)
    return Subject.of(_with_adapters(model, folders), tokenizer, name=wanted, revision=revision or "")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def _resolve_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r}: expected auto, cpu, cuda, cuda:N or mps") from error
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device {device!r}: this machine has no such device")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return chosen


def _resolve_dtype(dtype: str, device: torch.device | None) -> str | torch.dtype:
    allowed = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype == "auto":
        return torch.float32 if device is not None and device.type == "cpu" else "auto"
    if dtype not in allowed:
        raise ValueError(f"dtype {dtype!r}: expected auto, {', '.join(allowed)}")
    return allowed[dtype]


def _locate(name: str) -> tuple[str, dict[str, Any]]:
    if name in EMBEDDED:
        return str(embedded_folder(name)), {}
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise LookupError(f"{name}: no such GGUF file")
        return str(path.parent), {"gguf_file": path.name}
    return name, {}


def _adapter_folders(adapters: Sequence[str | Path]) -> dict[str, Path]:
    """Return the folder of each adapter, by name.

    Raises:
        LookupError: A folder holds no adapter, or a pickled one.
        ValueError: Two adapters have one name.
    """
    folders: dict[str, Path] = {}
    for folder in map(Path, adapters):
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            if not (folder / file).is_file():
                raise LookupError(
                    f"{folder}: no PEFT adapter here, {file} is missing (pickled weights are not read)"
                )
        name = folder.resolve().name.replace(".", "_")
        if name in folders:
            raise ValueError(f"{folder}: two adapters are named {name!r}; rename a folder")
        folders[name] = folder
    return folders


def _with_adapters(model: nn.Module, folders: Mapping[str, Path]) -> nn.Module:
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 for a property by its old name
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)
        for name, folder in folders.items():
            if isinstance(model, PeftModel):
                model.load_adapter(str(folder), adapter_name=name)
            else:
                model = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
    return model
