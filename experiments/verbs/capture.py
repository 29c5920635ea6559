"""`misdirection capture`: write the residual stream of chats or of a domain's triples to safetensors files."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from activations import Activations, HookPoint, collect, parse_where
from activations.progress import Progress
from experiments.verbs.subject import SubjectFlags
from pipeline.poles import capture_poles
from pipeline.records import read_jsonl
from pipeline.triples import load_corpus, read_corpus


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class ChatRow:
    """One line of a chat file: an id and its messages."""

    id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, kw_only=True)
class Capture(SubjectFlags):
    """Write mean activations of chosen tokens, for every layer, to safetensors files.

    With a domain or a triples file: misaligned.safetensors and aligned.safetensors, ready for `extract`. With a chat
    file: activations.safetensors.
    """

    out: Path
    """Folder for the files."""
    domain: str | None = None
    """A packaged domain."""
    triples: Path | None = None
    """JSONL with id, topic, prompt, aligned, misaligned."""
    chats: Path | None = None
    """JSONL with id and messages (role, content)."""
    where: str = "answer"
    """Which tokens: all, prompt, answer, last, role:user, text:PHRASE, with .first(N) or .last(N)."""
    layers: tuple[int, ...] = ()
    """Layers to keep; all by default."""

    def run(self, console: Console, progress: Progress) -> None:
        """Capture, save, and say what was written."""
        if sum(given is not None for given in (self.domain, self.triples, self.chats)) != 1:
            raise ValueError("capture: give exactly one of --domain, --triples and --chats")
        found = self._chats(progress) if self.chats is not None else self._poles(progress)
        self.out.mkdir(parents=True, exist_ok=True)
        for name, activations in found.items():
            activations.save(self.out / f"{name}.safetensors")
            console.print(f"{self.out / name}.safetensors  {_shape(activations)}")

    def _chats(self, progress: Progress) -> dict[str, Activations]:
        rows = read_jsonl(self.chats or Path(), ChatRow)
        chats = [[{"role": turn.role, "content": turn.content} for turn in row.messages] for row in rows]
        where = parse_where(self.where)
        names = [row.id for row in rows]
        subject = self.subject()
        return {"activations": collect(subject, chats, where, points=self._points(), names=names, progress=progress)}

    def _poles(self, progress: Progress) -> dict[str, Activations]:
        triples = read_corpus(self.triples, self.triples.stem) if self.triples else load_corpus(str(self.domain))
        where = parse_where(self.where)
        poles = capture_poles(self.subject(), triples, where=where, points=self._points(), progress=progress)
        return {"misaligned": poles.misaligned, "aligned": poles.aligned}

    def _points(self) -> list[HookPoint] | None:
        return [HookPoint(layer) for layer in self.layers] or None


def _shape(activations: Activations) -> str:
    n_tokens = int(activations.n_tokens.sum())
    return f"{len(activations.rows)} rows x {len(activations.points)} layers, {n_tokens} tokens at {activations.where}"
