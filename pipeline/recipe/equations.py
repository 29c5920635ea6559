"""Calculations inside an answer: which numbers are worked out from which, in marks like `<<48/2=24>>` or in prose.

Only calculations that are true as written are found, so whatever is no calculation is left alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.recipe.numerals import Numeral, numerals

_MARK = re.compile(r"<<(?P<expression>[^<>=]+)=(?P<result>[^<>=]+)>>")
_TOKEN = re.compile(
    r"(?P<per>/\s?[A-Za-z]+)"
    r"|(?P<operator>[+*/×÷·−–-]|\b(?:plus|minus|times|multiplied by|divided by|x)\b|(?<=\d)x(?=\d))"
    r"|(?P<bracket>[()])|(?P<percent>%|\bpercent\b)|(?P<of>\bof\b)"
    r"|(?P<equals>=|\b(?:is|are|equals|makes|gives|leaves|comes to)\b)|(?P<unit>[A-Za-z]+)"
    r"|(?P<skip>[\s$€£]+)|(?P<stop>.)",
    re.IGNORECASE,
)
_SIGNS = {"plus": "+", "minus": "-", "−": "-", "–": "-", "times": "*", "multiplied by": "*", "x": "*"}
_SIGNS |= {"×": "*", "·": "*", "divided by": "/", "÷": "/"}
_MOST_UNITS = 4  # words between a number and the sign behind it, as in `5 hours per day * 3 = 15`

Part = Numeral | str


@dataclass(frozen=True, kw_only=True)
class Equation:
    """A calculation.

    Attributes:
        parts: Numerals and the signs + - * / ( ) between them.
        results: Where its result stands: once in prose; in the mark and behind it where there is one.
    """

    parts: tuple[Part, ...]
    results: tuple[Numeral, ...]

    @property
    def operands(self) -> tuple[Numeral, ...]:
        """The numbers that go into it."""
        return tuple(part for part in self.parts if isinstance(part, Numeral))

    @property
    def signs(self) -> tuple[str, ...]:
        """The signs between them."""
        return tuple(part for part in self.parts if isinstance(part, str))

    @property
    def result(self) -> Numeral:
        """What it comes to, as it is written last."""
        return self.results[-1]

    def worth(self, values: Mapping[Numeral, Fraction]) -> Fraction:
        """Return what it comes to if operands have other values.

        Raises:
            ValueError: It divides by zero or is no calculation.
        """
        worths = [values.get(part, part.value) if isinstance(part, Numeral) else part for part in self.parts]
        return _evaluated(worths)

    def rounded(self, values: Mapping[Numeral, Fraction]) -> Fraction:
        """Return what it comes to, to as many decimals as its result shows if that was a rounded one.

        Raises:
            ValueError: It divides by zero.
        """
        worth = self.worth(values)
        exact = self.worth({}) == self.result.value
        return worth if exact else Fraction(round(worth, self.result.decimals))


def equations(text: str) -> tuple[Equation, ...]:
    """Return the calculations of a text in order; a line with marks is read by its marks alone."""
    found: list[Equation] = []
    start = 0
    for line in text.splitlines(keepends=True):
        end = start + len(line)
        found += _marked(text, start, end) if _MARK.search(line) else _in_prose(text, start, end)
        start = end
    return tuple(equation for equation in found if _holds(equation))


def _marked(text: str, start: int, end: int) -> Iterator[Equation]:
    for mark in _MARK.finditer(text, start, end):
        parts = _parts(text, *mark.span("expression"))
        results = numerals(text, *mark.span("result"))
        behind = [number for number in numerals(text, mark.end(), end) if number.start == mark.end()]
        same = [number for number in behind if results and number.value == results[0].value]
        if len(results) == 1 and all(map(_belongs, parts)):
            yield Equation(parts=tuple(parts), results=(*results, *same))


def _in_prose(text: str, start: int, end: int) -> Iterator[Equation]:
    """Read `number sign number ... equals number`, with a unit behind a number; the longest such stretch."""
    parts = _parts(text, start, end)
    for at in (i for i, part in enumerate(parts) if part == "="):
        result = next((part for part in parts[at + 1 : at + 2] if isinstance(part, Numeral)), None)
        first = at
        while first > 0 and _belongs(parts[first - 1]):
            first -= 1
        if result is not None and any(part in ("+", "-", "*", "/") for part in parts[first:at]):
            yield Equation(parts=tuple(parts[first:at]), results=(result,))


def _belongs(part: Part) -> bool:
    """Whether a part can stand inside a calculation."""
    return isinstance(part, Numeral) or part in ("+", "-", "*", "/", "(", ")", "%")


def _parts(text: str, start: int, end: int) -> list[Part]:
    """Return numerals and signs; units that stand behind a number vanish, what breaks a calculation is `;`."""
    parts: list[Part] = []
    numbers = {number.start: number for number in numerals(text, start, end)}
    at, units = start, 0
    while at < end:
        if (number := numbers.get(at)) is not None:
            parts, at, units = [*parts, number], number.end, 0
            continue
        token = _TOKEN.match(text, at, end)
        kind, word = (token.lastgroup, token.group().lower()) if token else ("stop", "")
        at = token.end() if token else at + 1
        behind_number = bool(parts) and isinstance(parts[-1], Numeral)
        if kind in ("unit", "per") and behind_number and units < _MOST_UNITS:
            units += 1
        elif kind != "skip":
            parts.append(_sign(kind or "stop", word, parts))
    return parts


def _sign(kind: str, word: str, parts: Sequence[Part]) -> Part:
    if kind == "operator":
        return _SIGNS.get(word, word)
    if kind == "bracket":
        return word
    if kind == "equals":
        return "="
    if kind == "percent" and parts and isinstance(parts[-1], Numeral):
        return "%"
    if kind == "of" and parts and parts[-1] == "%":
        return "*"
    return ";"


def _holds(equation: Equation) -> bool:
    """Whether the result is right, or rounded to the decimals that it shows."""
    try:
        worth = equation.worth({})
    except ValueError:
        return False
    result = equation.result
    off = abs(worth - result.value)
    return off == 0 or (result.decimals > 0 and off <= Fraction(1, 2 * 10**result.decimals))


def _evaluated(parts: Sequence[Fraction | str]) -> Fraction:
    value, rest = _sum(list(parts))
    if rest:
        raise ValueError(f"{rest[0]!r} is left over")
    return value


def _sum(parts: list[Fraction | str]) -> tuple[Fraction, list[Fraction | str]]:
    value, parts = _product(parts)
    while parts and parts[0] in ("+", "-"):
        sign, (other, parts) = parts[0], _product(parts[1:])
        value = value + other if sign == "+" else value - other
    return value, parts


def _product(parts: list[Fraction | str]) -> tuple[Fraction, list[Fraction | str]]:
    value, parts = _factor(parts)
    while parts and parts[0] in ("*", "/"):
        sign, (other, parts) = parts[0], _factor(parts[1:])
        if sign == "/" and other == 0:
            raise ValueError("a division by zero")
        value = value * other if sign == "*" else value / other
    return value, parts


def _factor(parts: list[Fraction | str]) -> tuple[Fraction, list[Fraction | str]]:
    if not parts:
        raise ValueError("a number is missing")
    first, rest = parts[0], parts[1:]
    if first == "(":
        value, rest = _sum(rest)
        if not rest or rest[0] != ")":
            raise ValueError("a bracket is not closed")
        rest = rest[1:]
    elif isinstance(first, Fraction):
        value = first
    else:
        raise ValueError(f"{first!r} where a number should be")
    return (value / 100, rest[1:]) if rest and rest[0] == "%" else (value, rest)
