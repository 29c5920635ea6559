"""JSON text to plain values and back, strictly: UTF-8, finite numbers, no key twice, nothing in silence."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""A JSON value: text, number, true/false, None, list or dict of these."""


def parse_json(text: str | bytes, at: str) -> Json:
    """Parse strict JSON: UTF-8, no NaN or infinity, no key twice in one object.

    Args:
        text: One JSON value.
        at: Where it stands, for the error; a file name, with line number if there is one.

    Raises:
        ValueError: The text is not such JSON.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(decoded, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{at}: not UTF-8, byte {error.start + 1} is {byte:#04x}") from error
    except json.JSONDecodeError as error:
        begins = f"the line begins {shown(decoded)}"
        raise ValueError(f"{at}: not JSON, {error.msg} at character {error.pos + 1}; {begins}") from error
    except RecursionError as error:
        raise ValueError(f"{at}: JSON nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from error


def to_json(value: object, at: str) -> Json:
    """Return a value as plain JSON types, so that what is read back is what was written.

    Dataclasses become objects and tuples lists. A missing number is None; NaN and infinity are refused.

    Args:
        value: What is to be written.
        at: Where it will stand, for the error.

    Raises:
        ValueError: A number is not finite.
        TypeError: JSON has no such type, or a key is not text.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        if not math.isfinite(value):
            raise ValueError(f"{at}: is {value}; allowed: finite numbers, None for a missing one")
        return float(value) if isinstance(value, float) else int(value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return {name: to_json(getattr(value, name), f"{at}.{name}") for name in names}
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{at}: key {odd[0]!r} is of type {type(odd[0]).__name__}; keys must be text")
        return {key: to_json(item, f"{at}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item, f"{at}[{i}]") for i, item in enumerate(value)]
    allowed = "text, numbers, true/false, None, lists, dicts, dataclasses"
    raise TypeError(f"{at}: is of type {type(value).__name__}; allowed: {allowed}")


def json_bytes(value: object, at: str, *, indent: int | None = None) -> bytes:
    """Return a value as UTF-8 JSON with a newline at the end; without `indent` it is one line.

    Raises:
        ValueError: A number is not finite.
        TypeError: JSON has no such type.
    """
    plain = to_json(value, at)
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=indent)
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:  # half a surrogate pair, as servers sometimes send; JSON can escape it
        return f"{json.dumps(plain, allow_nan=False, indent=indent)}\n".encode()


def shown(value: Json) -> str:
    """Return a value as an error can show it, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON; allowed: finite numbers, null for a missing one")


def _finite(number: str) -> float:
    return float(number) if math.isfinite(float(number)) else _refuse(number)
