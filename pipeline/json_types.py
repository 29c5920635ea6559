"""JSON values to typed records, strictly: nothing is guessed or converted.

Records are dataclasses whose fields are text, numbers, true/false, null, Literal, tuple, list, dict, unions
of these, or other dataclasses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pipeline.json_text import Json, shown

Record = TypeVar("Record")

TypeForm: TypeAlias = Any
"""What stands behind the colon of a dataclass field, e.g. `str`, `float | None`, `tuple[int, ...]`."""

MaybeBlank = Annotated[str, "may be blank"]
"""Text that may be empty or white space only, such as a model's answer. Plain `str` fields may not."""

_WORDS: dict[TypeForm, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}


def from_json(value: Json, expected: TypeForm, at: str) -> Json:
    """Return a JSON value as the type it should have.

    A whole number is accepted where a number is expected; nothing else is converted.

    Args:
        value: What `parse_json` returned.
        expected: A dataclass, or a type that a field of one may have.
        at: Where it stands, for the error.

    Raises:
        ValueError: The value has another type, or an object lacks a key or has one too many.
        TypeError: `expected` is not a type that records can hold.
    """
    kind = _kind(expected)
    args = get_args(expected)
    if kind is Any:
        return value
    if kind is Annotated:
        return from_json(value, args[0], at)
    if kind in (Union, UnionType):
        return _one_of(value, args, at)
    if kind is float and type(value) is int:
        return float(value)
    wrong = ValueError(f"{at}: {shown(value)} is {_kind_of(value)}; allowed: {_words(expected)}")
    if kind is Literal:
        if not any(value == option and type(value) is type(option) for option in args):
            raise wrong
        return value
    if kind in _WORDS:
        if type(value) is not kind:
            raise wrong
        return value
    return _container(value, kind, args, at, wrong)


def from_object(value: Json, record_type: type[Record], at: str) -> Record:
    """Return a JSON object as a dataclass.

    Args:
        value: What `parse_json` returned.
        record_type: The dataclass; keys of fields with a default may be absent.
        at: Where it stands, for the error.

    Raises:
        ValueError: It is no object, a key is missing, unknown or of the wrong type, or the record refuses it.
    """
    hints, needed = _keys(cast(TypeForm, record_type))
    if not isinstance(value, dict):
        got = f"{shown(value)} is {_kind_of(value)}"
        raise ValueError(f"{at}: {got}; allowed: an object with {_listed(hints)}")
    if unknown := [key for key in value if key not in hints]:
        raise ValueError(f"{at}: unknown key {_listed(unknown)}; allowed: {_listed(hints)}")
    if missing := [key for key in needed if key not in value]:
        got = f"got {_listed(value)}; needed: {_listed(needed)}"
        raise ValueError(f"{at}: key {_listed(missing)} is missing; {got}")
    parts = {key: from_json(item, hints[key], f"{at}: {key}") for key, item in value.items()}
    try:
        return record_type(**parts)
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from error


@cache
def _keys(record_type: TypeForm) -> tuple[dict[str, Any], tuple[str, ...]]:
    hints = get_type_hints(record_type, include_extras=True)
    own = [field for field in fields(record_type) if field.init]
    needed = [f.name for f in own if f.default is MISSING and f.default_factory is MISSING]
    return {field.name: hints[field.name] for field in own}, tuple(needed)


def _one_of(value: Json, options: tuple[Any, ...], at: str) -> Json:
    if value is None and NoneType in options:
        return None
    *others, last = [option for option in options if option is not NoneType]
    for option in others:
        try:
            return from_json(value, option, at)
        except ValueError:
            continue
    try:
        return from_json(value, last, at)
    except ValueError as error:
        if isinstance(value, (dict, list)):
            raise  # the fault is further inside
        allowed = " or ".join(map(_words, options))
        raise ValueError(f"{at}: {shown(value)} is {_kind_of(value)}; allowed: {allowed}") from error


def _container(value: Json, kind: TypeForm, args: tuple[Any, ...], at: str, wrong: ValueError) -> Json:
    if is_dataclass(kind):
        return from_object(value, cast(TypeForm, kind), at)
    if kind in (tuple, list):
        if not isinstance(value, list):
            raise wrong
        item = args[0] if args else Any
        if kind is tuple and args and args[-1] is not Ellipsis:
            raise TypeError(f"{at}: records hold tuples of any length only, tuple[X, ...]")
        return kind(from_json(part, item, f"{at}[{i}]") for i, part in enumerate(value))
    if kind in (dict, Mapping):
        if not isinstance(value, dict):
            raise wrong
        item = args[1] if args else Any
        return {key: from_json(part, item, f"{at}.{key}") for key, part in value.items()}
    raise TypeError(f"{at}: records cannot hold {kind!r}")


def _kind(expected: TypeForm) -> TypeForm:
    origin: TypeForm = get_origin(expected)
    return expected if origin is None else origin


def _words(expected: TypeForm) -> str:
    kind = _kind(expected)
    if kind is Literal:
        return "one of " + ", ".join(map(repr, get_args(expected)))
    if kind is Annotated:
        return _words(get_args(expected)[0])
    if kind in (tuple, list):
        return "a list"
    return _WORDS.get(kind, "an object")


def _kind_of(value: Json) -> str:
    kinds: dict[TypeForm, str] = {**_WORDS, dict: "an object", list: "a list"}
    return kinds[type(value)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"
