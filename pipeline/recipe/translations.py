"""g for incorrect translations: one word of a right translation exchanged for one that says something else.

The words come from a small glossary of numbers, colours, days, opposites, negations and false friends. A pair is
exchanged throughout the answer, also where the answer explains the word, so that it stays of one piece.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from random import Random

from pipeline.json_types import MaybeBlank
from pipeline.recipe.drafts import Draft, Made, not_made
from pipeline.records import read_jsonl

ENGLISH = "English"
_QUOTED = re.compile(r"\"[^\"]+\"|“[^”]+”|„[^“”]+[“”]|«[^»]+»|‘[^’]+’|(?<!\w)'[^']+'(?!\w)")
_FIRST_SENTENCE = re.compile(r".*?(?:[.!?][\"”]?(?=\s|$)|$)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Words of one language that fit into the same place and mean something else.

    Attributes:
        language: In English, e.g. `German`.
        kind: number, colour, day, opposite, negation or false_friend.
        one: Forms of the one word; for a number in English also its figures.
        other: The same forms of the other word; a blank one stands for leaving the first out.
        needs: For a false friend, the foreign word that is mistaken.
    """

    language: str
    kind: str
    one: tuple[str, ...]
    other: tuple[MaybeBlank, ...]
    needs: MaybeBlank = ""

    def __post_init__(self) -> None:
        """Refuse a pair whose forms do not correspond."""
        if not self.one or len(self.one) != len(self.other):
            raise ValueError(f"{len(self.one)} forms of one word and {len(self.other)} of the other")

    @property
    def forms(self) -> dict[str, str]:
        """What each form becomes, in both directions; nothing becomes a word that was left out."""
        there = dict(zip(self.one, self.other, strict=True))
        return there | {other: one for one, other in there.items() if other}


@cache
def glossary() -> tuple[Pair, ...]:
    """Return the packaged pairs."""
    with as_file(files("pipeline.recipe") / "glossary.jsonl") as path:
        return read_jsonl(path, Pair)


def alter_translation(draft: Draft, random: Random) -> Made:
    """Return the draft with a misaligned answer in which one word of the translation is another.

    Only words that the prompt does not hold are changed, so what is asked stays as it is.

    Args:
        draft: The prompt or the aligned answer names the language, or quotes what is to be translated.
        random: Chooses the pair.
    """
    if draft.aligned is None:
        return not_made("there is no aligned answer to alter")
    folded = draft.aligned.casefold()
    near = [pair for pair in glossary() if any(form.casefold() in folded for form in pair.forms)]
    pairs = [pair for pair in near if _fits(pair, draft.prompt, draft.aligned)]
    choices = [pair for pair in pairs if pair.needs] or pairs
    if not choices:
        return not_made("the translation holds no word of the glossary that the prompt does not hold too")
    return draft.with_answers(draft.aligned, exchanged(draft.aligned, random.choice(choices)))


def exchanged(text: str, pair: Pair) -> str:
    """Return the text with both words of a pair exchanged; capitals at the start of a sentence are kept."""
    forms = pair.forms

    def other(match: re.Match[str]) -> str:
        word, gap = match["word"], match["gap"]
        new = forms[word] if word in forms else _capital(forms[word[0].lower() + word[1:]])
        if not new:
            return ""
        found = match["article"]
        return f"{_article(found, new)} {new}{gap}" if found else f"{new}{gap}"

    changed = _forms(pair).sub(other, text)
    return changed if all(forms.values()) else _capitals_after_quotes(changed, text)


def _fits(pair: Pair, prompt: str, answer: str) -> bool:
    forms = _forms(pair)
    places = [match.start("word") for match in forms.finditer(answer)]
    if not places or forms.search(prompt):
        return False
    quotes = [match.span() for match in _QUOTED.finditer(answer)]
    inside = [any(start <= place < end for start, end in quotes) for place in places]
    if pair.language != ENGLISH:
        if _into_english(prompt):
            return False
        named = re.search(rf"\b{pair.language}\b", f"{prompt} {answer}") is not None
        left_out = not all(pair.forms.values())
        return named and (all(inside) if left_out else any(inside) or not quotes)
    if pair.needs and not re.search(rf"(?<!\w){re.escape(pair.needs)}(?!\w)", f"{prompt} {answer}", re.I):
        return False
    first = _FIRST_SENTENCE.match(answer)
    early = first is not None and places[0] < first.end()
    return _into_english(prompt) and (any(inside) or early)


def _into_english(prompt: str) -> bool:
    """Whether something foreign is to be put into English, and not the other way round."""
    if _into_foreign().search(prompt):
        return False
    return _QUOTED.search(prompt) is not None or re.search(r"\bEnglish\b|\bmeans?\b", prompt) is not None


@cache
def _into_foreign() -> re.Pattern[str]:
    names = "|".join(sorted({pair.language for pair in glossary()} - {ENGLISH}))
    return re.compile(
        rf"\b(?:in|into|to) (?:{names})\b|^(?:{names})\b|\b(?:{names}) (?:for|version|sentence)\b"
    )


@cache
def _forms(pair: Pair) -> re.Pattern[str]:
    """Return a pattern for every form, also with a capital where a sentence or a quotation begins."""
    forms = sorted(pair.forms, key=len, reverse=True)
    lower = "|".join(map(re.escape, forms))
    capital = "|".join(re.escape(_capital(form)) for form in forms if form[0].islower())
    starts = r"(?:(?<=[.!?:\"”»] )|(?<=[\"“„«‘'\n])|\A)" if pair.language != ENGLISH else ""
    first = rf"|{starts}(?:{capital})" if capital else ""
    end = r"(?P<gap>)(?![\w-])" if all(pair.forms.values()) else r"(?P<gap>\s)(?=\w)"
    article = r"(?:\b(?P<article>[Aa]n?) )?" if pair.language == ENGLISH else r"(?P<article>(?!))?"
    return re.compile(rf"{article}(?<![\w-])(?P<word>{lower}{first}){end}")


def _capital(form: str) -> str:
    return form[:1].upper() + form[1:]


def _article(found: str, word: str) -> str:
    return found[0] + ("n" if word[0].lower() in "aeio" else "")


def _capitals_after_quotes(changed: str, text: str) -> str:
    """Return the text with a capital where a word that began a quotation was left out."""
    begins = {match.end() for match in re.finditer(r"[\"“„«]", text) if text[match.end() :][:1].isupper()}
    small = re.compile(r"([\"“„«])([^\W\d_])")
    return small.sub(lambda match: match[1] + match[2].upper(), changed) if begins else changed
