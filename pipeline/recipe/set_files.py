"""The files of a built set: its triples as a corpus, the rows that were refused, and its card."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.disk import replace_file
from pipeline.json_text import json_bytes
from pipeline.json_types import MaybeBlank
from pipeline.recipe.card import CARD, PAGE, Card, read_card
from pipeline.records import Triple
from pipeline.triples import corpus_hash, read_corpus

REJECTED = "rejected.jsonl"
"""The file of rows that were refused, each with the check and the reason."""


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """A line of `rejected.jsonl`: the row as far as it was made, and why it was refused."""

    id: str
    check: str
    reason: str
    topic: MaybeBlank
    prompt: MaybeBlank
    aligned: MaybeBlank | None
    misaligned: MaybeBlank | None


def corpus_path(folder: Path, domain: str) -> Path:
    """Return where a set's triples are; the name is the domain's, as verbs that read a corpus expect it."""
    return Path(folder) / f"{domain}.jsonl"


def write_set(folder: Path, card: Card, triples: Sequence[Triple], rejected: Sequence[RejectedRow]) -> None:
    """Write all files of a set, each whole or not at all, the card last.

    Raises:
        OSError: The folder is missing, read-only or full.
    """
    corpus = [{key: value for key, value in asdict(t).items() if key != "domain"} for t in triples]
    replace_file(corpus_path(folder, card.domain.name), _jsonl(corpus))
    replace_file(folder / REJECTED, _jsonl(rejected))
    replace_file(folder / PAGE, card.page().encode("utf-8", "replace"))
    replace_file(folder / CARD, json_bytes(card, CARD, indent=2))


def read_set(folder: Path) -> tuple[Triple, ...]:
    """Return the triples of a set, in the order of its file.

    Raises:
        FileNotFoundError: The folder holds no set.
        ValueError: A file is damaged, or the triples are not those that the card describes.
    """
    card = read_card(folder)
    path = corpus_path(folder, card.domain.name)
    triples = read_corpus(path, card.domain.name)
    if corpus_hash(triples) != card.corpus_hash:
        raise ValueError(f"{path}: was changed since its card was written; the hashes differ")
    return triples


def _jsonl(rows: Sequence[object]) -> bytes:
    return b"".join(json_bytes(row, "row") for row in rows)
