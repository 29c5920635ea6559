"""Corpora of triples: load the packaged ones or your own, split them by id, and fingerprint them.

A corpus file is JSONL with the keys id, topic, prompt, aligned and misaligned; a packaged one is named after
its domain.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path

from pipeline.json_text import json_bytes
from pipeline.records import Triple, read_jsonl

PARTS = ("extract", "dev", "test")


@dataclass(frozen=True, kw_only=True)
class Split:
    """Disjoint parts of a corpus.

    Attributes:
        extract: To find directions with.
        dev: To choose layer and coefficient on.
        test: To report on.
    """

    extract: tuple[Triple, ...]
    dev: tuple[Triple, ...]
    test: tuple[Triple, ...]


@dataclass(frozen=True, kw_only=True)
class _Line:
    id: str
    topic: str
    prompt: str
    aligned: str
    misaligned: str


def corpus_domains() -> tuple[str, ...]:
    """Return the domains that have a packaged corpus, in alphabetical order."""
    names = (file.name for file in files("pipeline.corpora").iterdir())
    return tuple(sorted(name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl")))


def load_corpus(domain: str) -> tuple[Triple, ...]:
    """Return the packaged triples of a domain, in the order of the file.

    Raises:
        LookupError: No packaged corpus has this name; lists those that exist.
        ValueError: The file is empty or damaged.
    """
    if domain not in corpus_domains():
        raise LookupError(
            f"domain {domain!r} has no packaged corpus; have {', '.join(corpus_domains()) or 'none'}"
        )
    with as_file(files("pipeline.corpora") / f"{domain}.jsonl") as path:
        return read_corpus(path, domain)


def read_corpus(path: Path, domain: str) -> tuple[Triple, ...]:
    """Return the triples of a corpus file of your own, in the order of the file.

    Args:
        path: JSONL with the keys id, topic, prompt, aligned, misaligned.
        domain: The domain they belong to.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty or a line is not such a triple.
    """
    return tuple(Triple(domain=domain, **asdict(line)) for line in read_jsonl(path, _Line))


def split(
    triples: Iterable[Triple],
    *,
    extract: int | float = 0.5,
    dev: int | float = 0.25,
    test: int | float = 0.25,
    seed: int = 0,
) -> Split:
    """Divide triples into disjoint parts by a hash of domain, id and seed.

    Which part a triple is in depends on the set of triples, not on their order. Each domain is divided on its
    own, so every part has the same number from each. Within a part a domain's triples stand in the order of
    their hashes, so the first n of them are a random choice of n.

    Args:
        triples: Those to divide; what is left over is in no part.
        extract: Triples per domain as a whole number, or a fraction of each domain's triples.
        dev: As for extract; all three are numbers, or all three fractions.
        test: As for extract.
        seed: Another seed gives another division.

    Returns:
        Parts of exactly the sizes asked. Fractions are rounded so that the sum is right (largest remainder).

    Raises:
        ValueError: The sizes are negative, mixed or too large, or two triples share domain and id.
    """
    domains: dict[str, list[Triple]] = {}
    for triple in triples:
        domains.setdefault(triple.domain, []).append(triple)
    if not domains:
        raise ValueError("triples: got none to split, need at least 1")
    parts: dict[str, list[Triple]] = {part: [] for part in PARTS}
    for domain, members in sorted(domains.items()):
        if len({triple.id for triple in members}) < len(members):
            raise ValueError(
                f"domain {domain!r}: two triples have the same id; ids must be unique in a domain"
            )
        ordered = sorted(members, key=lambda triple: _order(triple, seed))
        start = 0
        for part, size in zip(PARTS, _sizes((extract, dev, test), len(members), domain), strict=True):
            parts[part] += ordered[start : start + size]
            start += size
    return Split(**{part: tuple(members) for part, members in parts.items()})


def corpus_hash(triples: Sequence[Triple]) -> str:
    """Return the SHA-256 over all fields of all triples, as hex digits; their order does not matter."""
    lines = (json_bytes(triple, f"triple {triple.id!r}") for triple in triples)
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()


def _order(triple: Triple, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{triple.domain}\0{triple.id}".encode("utf-8", "surrogatepass")).digest()


def _sizes(asked: tuple[int | float, ...], available: int, domain: str) -> list[int]:
    told = ", ".join(f"{part} {size}" for part, size in zip(PARTS, asked, strict=True))
    whole = [isinstance(size, int) for size in asked]
    if any(whole) and not all(whole):
        raise ValueError(f"sizes {told}: allowed are three whole numbers or three fractions")
    if not all(size >= 0 and math.isfinite(size) for size in asked):
        raise ValueError(f"sizes {told}: allowed are numbers from 0 up")
    total, limit = sum(asked), available if all(whole) else 1.0
    if total > limit + 1e-9:
        raise ValueError(f"sizes {told}: add up to {total:g}, domain {domain!r} has {limit:g}")
    if all(whole):
        return [int(size) for size in asked]
    return _rounded([size * available for size in asked], round(total * available))


def _rounded(exact: list[float], total: int) -> list[int]:
    floors = [math.floor(size + 1e-9) for size in exact]
    by_remainder = sorted(range(len(exact)), key=lambda part: floors[part] - exact[part])
    for part in by_remainder[: total - sum(floors)]:
        floors[part] += 1
    return floors
