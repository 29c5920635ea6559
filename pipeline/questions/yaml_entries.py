"""YAML as lists of mappings that know their lines, read safely.

Only plain values are made, as `yaml.safe_load` makes them. What would grow beyond measure is refused before any
value is made of it: aliases of aliases, and anchors that hold themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.disk import readable
from pipeline.json_text import Json, shown, to_json

MAX_BYTES = 16 * 2**20
MAX_VALUES = 500_000
"""Values in a file, counted as often as aliases repeat them; published sets of 220 questions have about 5,000."""


@dataclass(frozen=True)
class Entry:
    """A mapping of a YAML file.

    Attributes:
        at: Where it begins, as `FILE:LINE`.
        values: Its values, plain JSON.
        lines: Where each key stands.
    """

    at: str
    values: dict[str, Json]
    lines: dict[str, str]


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Return the mappings of all documents of a YAML file, in order.

    A document is a list of mappings, a mapping whose key `questions` holds such a list, or one mapping.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The text is not such YAML, or too large; says at which line.
    """
    text = _text(Path(path))
    try:
        return tuple(
            _entry(node, str(path))
            for document in yaml.compose_all(text, Loader=yaml.SafeLoader)
            for node in _members(document, str(path))
        )
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"{path}:{line}: not YAML, {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        told = " ".join(part for part in (error.context, error.problem) if part)
        raise ValueError(f"{path}:{line}: not YAML that is read here: {told}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: YAML nested too deeply") from error


def _text(path: Path) -> str:
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path}: has {readable(size)}; allowed: up to {readable(MAX_BYTES)}")
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: not UTF-8, byte {data[error.start]:#04x}") from error


def _members(document: yaml.Node | None, name: str) -> Iterator[yaml.MappingNode]:
    """Yield the mappings of one document, once it is known that they stay small."""
    if document is None or document.tag == "tag:yaml.org,2002:null":
        return
    if _size(document, {}, name) > MAX_VALUES:
        told = f"aliases repeat its values to more than {MAX_VALUES:,}; allowed: up to that"
        raise ValueError(f"{_at(document, name)}: {told}")
    if isinstance(document, yaml.MappingNode):
        lists = [value for key, value in document.value if key.value == "questions"]
        if not lists:
            yield document
            return
        (document,) = lists
    if not isinstance(document, yaml.SequenceNode):
        raise ValueError(f"{_at(document, name)}: is no list; needed: a list of mappings")
    for node in document.value:
        if not isinstance(node, yaml.MappingNode):
            raise ValueError(f"{_at(node, name)}: {shown(node.value)} is no mapping with id and paraphrases")
        yield node


def _size(node: yaml.Node, known: dict[int, int | None], name: str) -> int:
    """Return how many values a node stands for, aliases followed; refuse keys that stand twice."""
    if id(node) in known:
        if (size := known[id(node)]) is None:
            raise ValueError(f"{_at(node, name)}: holds itself through an alias")
        return size
    known[id(node)] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, str] = {}
        for key, value in node.value:
            at = _at(key, name)
            if isinstance(key, yaml.ScalarNode) and (first := seen.setdefault(key.value, at)) != at:
                raise ValueError(f"{at}: key {key.value!r} stands on line {first.rpartition(':')[2]} already")
            inner += [key, value]
    size = 1 + sum(_size(part, known, name) for part in inner)
    known[id(node)] = size
    return size


def _entry(node: yaml.MappingNode, name: str) -> Entry:
    loader = yaml.SafeLoader("")
    loader.flatten_mapping(node)  # `<<: *defaults` becomes the keys that it stands for
    values: dict[str, Json] = {}
    lines: dict[str, str] = {}
    for key_node, value_node in node.value:
        key, at = loader.construct_object(key_node, deep=True), _at(key_node, name)
        if not isinstance(key, str):
            raise ValueError(f"{at}: key {shown(key)} is no text; put it in quotes")
        try:
            values[key] = to_json(loader.construct_object(value_node, deep=True), f"{at}: {key!r}")
        except TypeError as error:
            raise ValueError(f"{error}; put it in quotes if it is meant as text") from error
        lines[key] = at
    return Entry(_at(node, name), values, lines)


def _at(node: yaml.Node, name: str) -> str:
    return f"{name}:{node.start_mark.line + 1}"
