"""What capture costs: against a bare forward pass, by depth, and in memory. `python -m experiments.benchmarks.capture`.

All ways run the same 16 left-padded rows of 64 tokens in float32 without key-value cache. The bare pass is the model's
body, without `lm_head`. Memory is what capture keeps for a row, counted in numbers held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
import tyro
from rich.console import Console
from rich.table import Table

from activations import All, HookPoint, Subject, collect, load
from activations.encode import pad, tokenize_all
from activations.forward import body_inputs
from activations.hooks import decoder_body
from experiments.benchmarks.interleaved import interleaved
from experiments.benchmarks.record import write
from pipeline.records import Triple
from pipeline.triples import load_corpus

N_ROWS, N_TOKENS = 16, 64


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure what capture costs."""

    model: str = "smollm2-135m-instruct"
    """An embedded model, a hub id or a folder."""
    rounds: int = 15
    """How often each way is timed."""
    out: Path = Path("runs/benchmarks/capture.json")
    """Where the figures go."""


def main(config: Config) -> None:
    """Measure, show the table, and write it."""
    transformers.logging.set_verbosity_error()
    subject = load(config.model)
    texts = _texts(subject, load_corpus("bad_medical_advice"))
    timings = interleaved(ways(subject, texts), rounds=config.rounds)
    title = f"capture, {N_ROWS} rows x {N_TOKENS} tokens, {config.rounds} rounds"
    table = Table("way", "seconds", "ratio", "95 %", title=title)
    for found in timings:
        interval = f"{found.low:.2f} to {found.high:.2f}"
        table.add_row(found.name, f"{found.seconds:.3f}", f"{found.ratio:.2f}", interval)
    Console().print(table)
    write(config.out, "capture", config, timings)


def ways(subject: Subject, texts: list[str]) -> dict[str, Callable[[], object]]:
    """Return the ways to compare; the bare forward pass is the reference."""
    rows = tokenize_all(subject, texts)
    batch = pad(rows, subject.device)
    body, inputs = decoder_body(subject.model), body_inputs(subject.model, batch)
    n_layers = subject.facts.n_layers

    def bare() -> object:
        with torch.inference_mode():
            return body(**inputs, use_cache=False)

    def hidden_states() -> object:
        with torch.inference_mode():
            output = subject.model(**inputs, use_cache=False, output_hidden_states=True, logits_to_keep=1)
            keep = batch.attention_mask.bool()
            return [(h * keep[..., None]).sum(1) / keep.sum(1)[:, None] for h in output.hidden_states]

    def full_model() -> object:
        with torch.inference_mode():
            return subject.model(**inputs, use_cache=False)

    found: dict[str, Callable[[], object]] = {
        "bare forward, no lm_head": bare,
        "collect, all layers": lambda: collect(subject, texts, All()),
        "output_hidden_states, then mean": hidden_states,
        "full forward with lm_head": full_model,
    }
    for share in (0.25, 0.5, 0.75):
        layer = round(share * n_layers) - 1
        found[f"collect, layer {layer} of {n_layers} only"] = _one_layer(subject, texts, layer)
    return found


def _one_layer(subject: Subject, texts: list[str], layer: int) -> Callable[[], object]:
    return lambda: collect(subject, texts, All(), points=[HookPoint(layer)])


def _texts(subject: Subject, triples: tuple[Triple, ...]) -> list[str]:
    """Return plain texts of exactly 64 tokens each, cut from the corpus."""
    joined = " ".join(f"{t.prompt} {t.aligned}" for t in triples)
    ids = subject.tokenizer(joined)["input_ids"]
    pieces = [subject.tokenizer.decode(ids[i * N_TOKENS : (i + 1) * N_TOKENS]) for i in range(2 * N_ROWS)]
    exact = [text for text in pieces if len(subject.tokenizer(text)["input_ids"]) == N_TOKENS]
    return exact[:N_ROWS]


if __name__ == "__main__":
    main(tyro.cli(Config))
