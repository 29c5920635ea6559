"""What the header of a direction file says, and how it is read back without trusting it.

Does not: touch the disk (`activations.store` writes a file whole or not at all) or know the record
(`direction.py`).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from activations import HookPoint, SubjectFacts

FORMAT = "misdirection.direction/1"
INDEX_CONVENTION = "layers count decoder blocks from 0; resid_post of layer l is hidden_states[l + 1]"
UNIT = "residual stream: adding a vector once moves the stream by exactly that vector"

TENSORS = ("vectors", "norms")

T = TypeVar("T")


def facts_to_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field but the tensors, as JSON can hold them, with the conventions spelled out."""
    return {
        **{name: value for name, value in facts.items() if name not in TENSORS},
        "points": [str(point) for point in facts["points"]],
        "subject": facts["subject"].as_json(),
        "index_convention": INDEX_CONVENTION,
        "unit": UNIT,
    }


def facts_from_json(header: object) -> dict[str, Any]:
    """Return the fields of a direction from what `facts_to_json` wrote.

    Raises:
        ValueError: A fact is missing, unknown, of the wrong type, or under another convention; says which.
    """
    if not isinstance(header, dict):
        raise ValueError(f"the header is {type(header).__name__}, need an object of facts")
    if missing := sorted(set(_READERS) - set(header)):
        raise ValueError(f"the header lacks {', '.join(missing)}")
    if unknown := sorted(set(header) - set(_READERS)):
        raise ValueError(f"the header has unknown facts {', '.join(unknown)}")
    facts = {}
    for name, read in _READERS.items():
        try:
            facts[name] = read(header[name])
        except (ValueError, OverflowError) as error:
            raise ValueError(f"fact {name!r}: {error}") from error
    return {name: value for name, value in facts.items() if name not in _CONVENTIONS}


def _of_type(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"got {value!r} of type {type(value).__name__}, need {kind.__name__}")
    return value


def _text(value: object) -> str:
    return _of_type(value, str)


def _count(value: object) -> int:
    return _of_type(value, int)


def _count_or_none(value: object) -> int | None:
    return None if value is None else _count(value)


def _number(value: object) -> float:
    return float(_of_type(value, int)) if isinstance(value, int) else _of_type(value, float)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in _of_type(value, list))


def _points(value: object) -> tuple[HookPoint, ...]:
    return tuple(HookPoint.parse(name) for name in _texts(value))


def _subject(value: object) -> SubjectFacts:
    facts = _of_type(value, dict)
    if set(facts) != set(_SUBJECT_READERS):
        raise ValueError(f"got {sorted(facts)}, need {sorted(_SUBJECT_READERS)}")
    return SubjectFacts(**{name: read(facts[name]) for name, read in _SUBJECT_READERS.items()})


def _reliability(value: object) -> dict[str, tuple[float, ...]]:
    measures = _of_type(value, dict)
    return {name: tuple(map(_number, _of_type(numbers, list))) for name, numbers in measures.items()}


def _same_as(expected: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value != expected:
            raise ValueError(f"got {value!r}, this version reads {expected!r}")
        return expected

    return read


_CONVENTIONS = ("index_convention", "unit")

_SUBJECT_READERS: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "name": _text,
        "revision": _text,
        "fingerprint": _text,
        "adapters": _texts,
        "template": _text,
        "n_layers": _count,
        "d_model": _count,
    }
)

_READERS: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "points": _points,
        "name": _text,
        "subject": _subject,
        "where": _text,
        "estimator": _text,
        "n_positive": _count,
        "n_negative": _count,
        "data": _texts,
        "seed": _count_or_none,
        "code_version": _text,
        "reliability": _reliability,
        "made_from": _text,
        "index_convention": _same_as(INDEX_CONVENTION),
        "unit": _same_as(UNIT),
    }
)
