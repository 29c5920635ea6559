"""Words that error messages share: names in a list, and the one that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

from pipeline.json_text import shown

MOST_SHOWN = 20


def listed(names: Iterable[str]) -> str:
    """Return names in quotes with commas between them, the first 20 of them; `nothing` for none."""
    every = [shown(name) for name in names]
    more = f" and {len(every) - MOST_SHOWN} more" if len(every) > MOST_SHOWN else ""
    return ", ".join(every[:MOST_SHOWN]) + more or "nothing"


def meant(name: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'X'?` with the allowed name that is nearest, or nothing if none is near."""
    by_small = {option.casefold(): option for option in allowed}
    near = get_close_matches(name.casefold(), by_small, n=1, cutoff=0.7)
    return f"; did you mean {by_small[near[0]]!r}?" if near else ""


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
