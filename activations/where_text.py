"""Read a token selector from text, e.g. from a command line: the inverse of `str()` of a `Where`."""

import json
import re
from collections.abc import Callable

from activations.selector import Where
from activations.where import All, Answer, From, Last, Prompt, Role, Text

_TERMS: dict[str, Callable[[re.Match[str]], Where]] = {
    r"all(\+sink)?": lambda match: All(sink=match[1] is not None),
    r"prompt(\+sink)?": lambda match: Prompt(sink=match[1] is not None),
    r"answer(?:\+lead(\d+))?": lambda match: Answer(lead=int(match[1] or 0)),
    r"last": lambda match: Last(),
    r"role:(\w+)(?:\[(-?\d+)\])?": lambda match: Role(match[1], None if match[2] is None else int(match[2])),
    r"from:(\d+)": lambda match: From(int(match[1])),
    r'text:("(?:[^"\\]|\\.)*")': lambda match: Text(json.loads(match[1])),
    r'text:([^"\s()](?:(?! [|&] |\.(?:first|last)\(|[()]).)*)': lambda match: Text(match[1]),
}
_TAIL = re.compile(r"\.(first|last)\((\d+)\)")


def parse_where(text: str) -> Where:
    """Read a selector.

    One of `all`, `all+sink`, `prompt`, `prompt+sink`, `answer`, `answer+lead1`, `last`, `role:user`,
    `role:user[-1]`, `from:POSITION`, `text:PHRASE` or `text:"PHRASE"`; with `.first(N)` or `.last(N)` behind,
    `~` in front, ` & ` and ` | ` between (`&` binds closer), and brackets.

    Raises:
        ValueError: The text is none of these.
    """
    reader = _Reader(text.strip())
    where = reader.union()
    if reader.rest:
        raise reader.error()
    return where


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = self.rest = text

    def union(self) -> Where:
        """Read selectors with ` | ` between."""
        where = self._intersection()
        while self._take(" | "):
            where = where | self._intersection()
        return where

    def error(self) -> ValueError:
        """Return an error that points at what could not be read."""
        return ValueError(
            f"where {self._text!r}: cannot read {self.rest!r}; expected all, prompt, answer, last, "
            "role:ROLE, text:PHRASE or from:POSITION, with .first(N) or .last(N) behind, ~ in front, "
            "' | ' or ' & ' between"
        )

    def _intersection(self) -> Where:
        where = self._negation()
        while self._take(" & "):
            where = where & self._negation()
        return where

    def _negation(self) -> Where:
        if self._take("~"):
            return ~self._negation()
        if self._take("("):
            where = self.union()
            if not self._take(")"):
                raise self.error()
        else:
            where = self._term()
        while match := _TAIL.match(self.rest):
            self.rest = self.rest[match.end() :]
            where = where.first(int(match[2])) if match[1] == "first" else where.last(int(match[2]))
        return where

    def _term(self) -> Where:
        for pattern, make in _TERMS.items():
            match = re.match(pattern, self.rest, re.DOTALL | re.ASCII)
            if match is not None:
                self.rest = self.rest[match.end() :]
                return make(match)
        raise self.error()

    def _take(self, sign: str) -> bool:
        if not self.rest.startswith(sign):
            return False
        self.rest = self.rest[len(sign) :]
        return True
