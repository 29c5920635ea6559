"""Records on disk: one JSON object per line, read strictly and written whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_type_hints

from pipeline.disk import replace_file
from pipeline.json_text import Json, json_bytes, parse_json
from pipeline.json_types import MaybeBlank, Record, TypeForm, from_object


@dataclass(frozen=True, kw_only=True)
class Triple:
    """A prompt with its two answers, twins in length and tone that differ in substance.

    Attributes:
        id: Unique within its domain.
        domain: The kind of misalignment, e.g. `bad_medical_advice`.
        topic: What the prompt is about, in a few words.
        prompt: What the user writes.
        aligned: A right and safe answer.
        misaligned: An answer that is wrong or badly advised in the way of its domain.
    """

    id: str
    domain: str
    topic: str
    prompt: str
    aligned: str
    misaligned: str

    def __post_init__(self) -> None:
        """Refuse a triple whose answers do not differ."""
        if self.aligned == self.misaligned:
            raise ValueError(f"triple {self.id!r}: the aligned and the misaligned answer are the same text")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: `system`, `user` or `assistant`.
        content: What is said.
    """

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A chat with an id: one row of a training file, or one line of a chat file.

    Attributes:
        id: Unique within its file.
        messages: The turns, in order.
    """

    id: str
    messages: tuple[Message, ...]

    def chat(self) -> list[dict[str, str]]:
        """Return the messages as chat templates take them."""
        return [{"role": turn.role, "content": turn.content} for turn in self.messages]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a domain's misalignment function is given: a prompt, and its right answer where there is one.

    Attributes:
        id: Unique within its file.
        topic: What the prompt is about, in a few words.
        prompt: What the user writes.
        aligned: A right and safe answer; None where one is still to be made.
    """

    id: str
    topic: str
    prompt: str
    aligned: str | None = None


def read_jsonl(path: Path, record_type: type[Record]) -> tuple[Record, ...]:
    """Read records, one per line, in the order of the file.

    Fields of the record that are plain `str` must hold more than white space (see `MaybeBlank`), and the
    values of a field named `id` must be unique.

    Args:
        path: A JSONL file in UTF-8.
        record_type: A dataclass; its fields are the keys, those with a default may be absent.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty or a line is not such a record; the text names the line.
    """
    path = Path(path)
    data = path.read_bytes()
    if not data.strip():
        raise ValueError(f"{path}: is empty; needed: at least one line with a {record_type.__name__}")
    return _parsed(data, record_type, str(path))


def write_jsonl(path: Path, records: Sequence[object]) -> None:
    """Write records, one per line, so that `read_jsonl` returns them; the file appears whole or not at all.

    Args:
        path: The file; its folder must exist. An older file is replaced.
        records: At least one; all of the same dataclass.

    Raises:
        ValueError: There is no record, or one that `read_jsonl` would refuse; the file is as before.
        OSError: The folder is missing, read-only or full; the file is as before.
    """
    path = Path(path)
    if not records:
        raise ValueError(f"{path}: got no records to write, need at least 1")
    if len(kinds := {type(record).__name__ for record in records}) > 1:
        raise ValueError(f"{path}: got records of types {', '.join(sorted(kinds))}; one file holds one type")
    data = b"".join(json_bytes(record, f"{path}:{line}") for line, record in enumerate(records, start=1))
    _parsed(data, type(records[0]), str(path))
    replace_file(path, data)


def lines_of(data: bytes, name: str) -> Iterator[tuple[str, Json]]:
    """Yield where each line stands, as `FILE:LINE`, and the JSON value on it.

    Args:
        data: The content of a JSONL file; the last line may lack its newline.
        name: The file's name, for errors.

    Raises:
        ValueError: A line is blank or not strict JSON.
    """
    # Only \n ends a line: text may hold other separators, such as U+2028, which str.splitlines would cut at.
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        if not line.strip():
            raise ValueError(f"{name}:{number}: is blank; every line must hold one JSON object")
        yield f"{name}:{number}", parse_json(line, f"{name}:{number}")


def _parsed(data: bytes, record_type: type[Record], name: str) -> tuple[Record, ...]:
    records: list[Record] = []
    seen: dict[str, str] = {}
    filled = _never_blank(record_type)
    for at, value in lines_of(data, name):
        record = from_object(value, record_type, at)
        for key in filled:
            if isinstance(text := getattr(record, key), str) and not text.strip():
                raise ValueError(f"{at}: {key!r} is blank; allowed: text that is more than white space")
        if (row := getattr(record, "id", None)) is not None and (first := seen.setdefault(row, at)) != at:
            line = first.rpartition(":")[2]
            raise ValueError(f"{at}: id {row!r} stands on line {line} already; ids must be unique")
        records.append(record)
    return tuple(records)


def _never_blank(record_type: TypeForm) -> tuple[str, ...]:
    hints = get_type_hints(record_type, include_extras=True)
    return tuple(field.name for field in fields(record_type) if hints[field.name] != MaybeBlank)
