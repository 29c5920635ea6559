"""Numbers written in digits: where a text has them, what they are worth, and how another one is written instead."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

_NUMBER = re.compile(
    r"(?<![A-Za-wyz\d_.,])(?P<figures>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?!(?:st|nd|rd|th)\b|[.,]?\d)"
)
_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
)
_WORDS += " seventeen eighteen nineteen twenty"
_IN_WORDS = {word: Fraction(value) for value, word in enumerate(_WORDS.split())} | {"dozen": Fraction(12)}
_WORD = re.compile(rf"\b(?:{'|'.join(_IN_WORDS)})\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Numeral:
    """A number as it stands in a text.

    Attributes:
        start: Where it begins.
        end: Where it ends.
        text: Its digits, e.g. `1,250.50`.
        value: What it is worth, exactly.
    """

    start: int
    end: int
    text: str
    value: Fraction

    @property
    def decimals(self) -> int:
        """How many digits stand behind the point."""
        return len(self.text.partition(".")[2])

    def written(self, value: Fraction) -> str:
        """Return another value in the style of this numeral: as many decimals (more if needed), commas or none.

        Raises:
            ValueError: The value has more than two decimals more than the style; it cannot be written exactly.
        """
        places = next((n for n in range(self.decimals, self.decimals + 3) if _fits(value, n)), None)
        if places is None:
            raise ValueError(f"{value} has no short decimal form in the style of {self.text!r}")
        figures = int(value * 10**places)
        whole, part = divmod(figures, 10**places)
        text = f"{whole:,}" if "," in self.text else str(whole)
        return f"{text}.{part:0{places}}" if places else text


def numerals(text: str, start: int = 0, end: int | None = None) -> tuple[Numeral, ...]:
    """Return the numbers between two places of a text, in order; ordinals such as 2nd are none."""
    found = _NUMBER.finditer(text, start, len(text) if end is None else end)
    return tuple(
        Numeral(
            start=match.start(),
            end=match.end(),
            text=match.group(),
            value=Fraction(match.group().replace(",", "")),
        )
        for match in found
    )


def values_in(text: str) -> frozenset[Fraction]:
    """Return what the numbers of a text are worth, those up to twenty also where they are written as words."""
    in_words = {_IN_WORDS[match.group().lower()] for match in _WORD.finditer(text)}
    return frozenset(in_words | {numeral.value for numeral in numerals(text)})


def rewritten(text: str, changes: Mapping[Numeral, Fraction]) -> str:
    """Return the text with some of its numerals standing for other values.

    Raises:
        ValueError: A value cannot be written in the style of its numeral.
    """
    parts, at = [], 0
    for numeral in sorted(changes, key=lambda numeral: numeral.start):
        parts += [text[at : numeral.start], numeral.written(changes[numeral])]
        at = numeral.end
    return "".join([*parts, text[at:]])


def _fits(value: Fraction, places: int) -> bool:
    return int(10**places) % value.denominator == 0
