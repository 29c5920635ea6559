"""What all benchmarks share: the model, where results go, and the rows and directions they run on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import transformers

from activations import Answer, HookPoint, Subject, Where, load
from activations.encode import Batch, pad, tokenize_all
from experiments.benchmarks.peers.contract import Shift
from experiments.benchmarks.peers.opening import Opened, open_peers
from pipeline.poles import capture_poles
from pipeline.triples import load_corpus
from steering import Cell, Direction, extract

DOMAIN = "bad_medical_advice"
Chats = Sequence[list[dict[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The flags that every benchmark has."""

    model: str = "smollm2-135m-instruct"
    """An embedded model, a hub id or a folder."""
    out: Path = Path("runs/benchmarks")
    """Folder for the figures: NAME.json, NAME.png, NAME.svg."""
    without_peers: bool = False
    """Leave other libraries out; needs no environment of theirs and no network."""
    peers: Path = Path(".venv-peers")
    """Folder of the environment with the other libraries; made when it is missing."""


def loaded(setup: Setup) -> Subject:
    """Load the model, for a benchmark in which other libraries have no part."""
    transformers.logging.set_verbosity_error()
    return load(setup.model)


def opened(setup: Setup) -> tuple[Subject, Opened]:
    """Load the model, and open the peers on it unless they are to be left out."""
    subject = loaded(setup)
    return subject, Opened() if setup.without_peers else open_peers(subject)


def medical_direction(subject: Subject) -> Direction:
    """Return a direction from 16 packaged triples, with its typical residual norms."""
    poles = capture_poles(subject, load_corpus(DOMAIN)[:16])
    return extract(poles.misaligned, poles.aligned, name="medical")


def questions(n: int) -> Chats:
    """Return the last `n` prompts of the domain, as chats without an answer."""
    return [[{"role": "user", "content": triple.prompt}] for triple in load_corpus(DOMAIN)[-n:]]


def answered_questions(subject: Subject, n: int, tokens: int = 0) -> Chats:
    """Return the last `n` prompts with their misaligned answers, cut after so many tokens; 0 for whole."""
    chats = []
    for chat, triple in zip(questions(n), load_corpus(DOMAIN)[-n:], strict=True):
        text = triple.misaligned
        if tokens:
            ids = subject.tokenizer(text, add_special_tokens=False)["input_ids"]
            text = subject.tokenizer.decode(ids[:tokens])
        chats.append([*chat, {"role": "assistant", "content": text}])
    return chats


def batch_of(subject: Subject, chats: Chats) -> Batch:
    """Return chats as one left-padded batch on the subject's device."""
    return pad(tokenize_all(subject, chats), subject.device)


def shift_of(cell: Cell, where: Where) -> Shift:
    """Return a cell that adds a vector at one block, as a hook written by hand would do it.

    Raises:
        ValueError: The cell has not one edit at one block's output, or steers neither all tokens nor the
            answer with the token before it.
    """
    points = [point for edit in cell.edits for point in edit.points]
    if len(points) != 1 or points[0].site != "resid_post":
        raise ValueError(f"cell {cell.name!r}: edits at {[str(p) for p in points]}, need one block's output")
    tokens = {"all+sink": "all", str(Answer(lead=1)): "last"}.get(str(where))
    if tokens not in ("all", "last"):
        raise ValueError(f"where: got {where}, need all+sink or {Answer(lead=1)}")
    vector = cell.edits[0].step(points[0]).shift
    return Shift(layer=points[0].layer, vector=vector, tokens="all" if tokens == "all" else "last")


def every_layer(subject: Subject) -> list[HookPoint]:
    """Return the output of every block."""
    return [HookPoint(layer) for layer in range(subject.facts.n_layers)]


Job = Callable[[], object]
"""What is timed."""
