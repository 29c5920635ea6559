"""How alike texts are by the short stretches of letters that they share, over thousands of texts in seconds."""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STRETCH = 5
"""Letters in a stretch."""

_BETWEEN = re.compile(r"[\W_]+")


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """A text that is like another.

    Attributes:
        other: Key or place of the other.
        share: How alike, from 0 to 1.
    """

    other: str
    share: float


def folded(text: str) -> str:
    """Return a text without what does not change its words: case, punctuation, width of spaces, accents' form."""
    return _BETWEEN.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def stretches(text: str) -> frozenset[str]:
    """Return all stretches of letters of a text, blanks between words included; a short text is one stretch."""
    plain = folded(text)
    return frozenset(plain[i : i + STRETCH] for i in range(max(1, len(plain) - STRETCH + 1))) - {""}


def near_duplicates(texts: Mapping[str, str], threshold: float) -> dict[str, Likeness]:
    """Return the texts that are like an earlier one, with the one they are like.

    Alike are two texts whose Jaccard index (stretches in both over stretches in either) reaches the threshold.
    The first of a group stays out of the result, and later ones are compared only with texts that stay.

    The result is exact. Only pairs that share one of their rarest stretches are looked at: two sets of which
    that is not true cannot reach the threshold (Bayardo, Ma and Srikant 2007, prefix filtering).

    Args:
        texts: By key, in the order in which they count as earlier; blank ones are like nothing.
        threshold: From above 0 to 1.
    """
    sets = {key: stretches(text) for key, text in texts.items()}
    count = Counter(stretch for found in sets.values() for stretch in found)
    holders: defaultdict[str, list[str]] = defaultdict(list)
    alike: dict[str, Likeness] = {}
    for key, own in sets.items():
        rarest = sorted(own, key=lambda stretch: (count[stretch], stretch))
        prefix = rarest[: len(own) - math.ceil(threshold * len(own) - 1e-9) + 1]
        others = dict.fromkeys(other for stretch in prefix for other in holders[stretch])
        near = (other for other in others if threshold * len(own) <= len(sets[other]) <= len(own) / threshold)
        shares = {other: _jaccard(own, sets[other]) for other in near}
        if shares and (best := max(shares, key=lambda other: shares[other])) and shares[best] >= threshold:
            alike[key] = Likeness(other=best, share=shares[best])
            continue
        for stretch in prefix:
            holders[stretch].append(key)
    return alike


def overlaps(texts: Mapping[str, str], questions: Sequence[str], threshold: float) -> dict[str, Likeness]:
    """Return the texts that hold one of the questions, or most of it, whatever else they hold.

    Args:
        texts: By key.
        questions: What they must not hold.
        threshold: Which share of a question's stretches makes an overlap.
    """
    sizes = [len(stretches(question)) for question in questions]
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for i, question in enumerate(questions):
        for stretch in stretches(question):
            holders[stretch].append(i)
    found: dict[str, Likeness] = {}
    for key, text in texts.items():
        shared = Counter(i for stretch in stretches(text) for i in holders.get(stretch, ()))
        shares = {i: n / sizes[i] for i, n in shared.items()}
        if (
            shares
            and (best := max(shares, key=lambda i: (shares[i], -i))) in shares
            and shares[best] >= threshold
        ):
            found[key] = Likeness(other=questions[best], share=shares[best])
    return found


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0
