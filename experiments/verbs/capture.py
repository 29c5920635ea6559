"""`misdirection capture`: write the residual stream of chats or of a domain's triples to safetensors files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from activations import Activations, HookPoint, collect, parse_where
from activations.chat import Template
from activations.progress import Progress
from experiments.verbs.subject import SubjectFlags
from pipeline.poles import capture_poles
from pipeline.records import Conversation, read_jsonl
from pipeline.triples import load_corpus, read_corpus


@dataclass(frozen=True, kw_only=True)
class Capture(SubjectFlags):
    """Write mean activations of chosen tokens, for every layer, to safetensors files.

    With --domain or --triples it writes misaligned.safetensors and aligned.safetensors, ready for `extract`; with
    --chats activations.safetensors.
    """

    out: Path
    """Folder for the files."""
    domain: str | None = None
    """A packaged domain, e.g. bad_medical_advice; give this, or --triples, or --chats."""
    triples: Path | None = None
    """JSONL file, each line with id, topic, prompt, aligned and misaligned."""
    chats: Path | None = None
    """JSONL file, each line with id and messages, a list of {role, content}."""
    where: str = "answer"
    """Which tokens to average: all, prompt, answer, last, role:user, text:PHRASE, with .first(N) or .last(N)."""
    layers: tuple[int, ...] = ()
    """Layers to keep, counted from 0; all by default."""
    template: Template = "chat"
    """chat is the tokenizer's own chat template; plain is for models without one."""

    def run(self, console: Console, progress: Progress) -> None:
        """Capture, save, and say what was written."""
        if sum(given is not None for given in (self.domain, self.triples, self.chats)) != 1:
            given = [
                f"--{name}" for name in ("domain", "triples", "chats") if getattr(self, name) is not None
            ]
            told = " and ".join(given) or "none of them"
            raise ValueError(f"capture: got {told}, need exactly one of --domain, --triples and --chats")
        if self.out.exists() and not self.out.is_dir():
            raise NotADirectoryError(f"--out {self.out}: is a file, need a folder")
        found = self._chats(progress) if self.chats is not None else self._poles(progress)
        for path, activations in zip(_saved(found, self.out), found.values(), strict=True):
            console.print(Text(f"{path}  {_shape(activations)}"), soft_wrap=True)

    def _chats(self, progress: Progress) -> dict[str, Activations]:
        rows = read_jsonl(self.chats or Path(), Conversation)
        chats = [row.chat() for row in rows]
        where = parse_where(self.where)
        names = [row.id for row in rows]
        found = collect(
            self.subject(),
            chats,
            where,
            points=self._points(),
            names=names,
            template=self.template,
            progress=progress,
        )
        return {"activations": found}

    def _poles(self, progress: Progress) -> dict[str, Activations]:
        triples = (
            read_corpus(self.triples, self.triples.stem) if self.triples else load_corpus(str(self.domain))
        )
        where = parse_where(self.where)
        poles = capture_poles(
            self.subject(),
            triples,
            where=where,
            points=self._points(),
            template=self.template,
            progress=progress,
        )
        return {"misaligned": poles.misaligned, "aligned": poles.aligned}

    def _points(self) -> list[HookPoint] | None:
        return [HookPoint(layer) for layer in self.layers] or None


def _saved(found: Mapping[str, Activations], folder: Path) -> list[Path]:
    """Save each under its name, all or none: a pair of poles must not come from two captures."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.safetensors" for name in found]
    with TemporaryDirectory(dir=folder, prefix=".capture.") as partial:
        for path, activations in zip(paths, found.values(), strict=True):
            activations.save(Path(partial) / path.name)
        for path in paths:
            os.replace(Path(partial) / path.name, path)
    return paths


def _shape(activations: Activations) -> str:
    n_tokens = int(activations.n_tokens.sum())
    return f"{len(activations.rows)} rows x {len(activations.points)} layers, {n_tokens} tokens at {activations.where}"
