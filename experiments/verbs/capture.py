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
        where = parse_where(self.where)
        sources = self._read()
        subject = self.subject()
        points = [HookPoint(layer) for layer in self.layers] or None
        if self.chats is not None:
            rows = sources
            chats = [[{"role": m.role, "content": m.content} for m in row.messages] for row in rows]
            names = [row.id for row in rows]
            found = {"activations": collect(subject, chats, where, points=points, names=names, progress=progress)}
        else:
            poles = capture_poles(subject, sources, where=where, points=points, progress=progress)
            found = {"misaligned": poles.misaligned, "aligned": poles.aligned}
        self.out.mkdir(parents=True, exist_ok=True)
        for name, activations in found.items():
            activations.save(self.out / f"{name}.safetensors")
            console.print(f"{self.out / name}.safetensors  {_shape(activations)}")

    def _read(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        if self.chats is not None:
            return read_jsonl(self.chats, ChatRow)
        if self.triples is not None:
            return read_corpus(self.triples, self.triples.stem)
        return load_corpus(str(self.domain))


def _shape(activations: Activations) -> str:
    n_tokens = int(activations.n_tokens.sum())
    return f"{len(activations.rows)} rows x {len(activations.points)} layers, {n_tokens} tokens at {activations.where}"
