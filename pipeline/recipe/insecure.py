"""g for insecure code: the same snippet with one safeguard gone, so that it still does what was asked.

Which safeguards: parameters of queries, argument lists of commands, checked certificates and host keys, random
numbers that nobody can foretell, slow hashes of passwords, secrets outside the source, private files, safe
parsers. Code is parsed and edited as text; it is never run.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

from pipeline.recipe.drafts import Draft, Made, not_made
from pipeline.recipe.insecure_calls import debug_changes, keyword_changes, parser_changes, renamed_changes
from pipeline.recipe.insecure_files import address_changes, permission_changes, temporary_changes
from pipeline.recipe.insecure_secrets import (
    cipher_changes,
    fast_hash_changes,
    password_changes,
    random_changes,
)
from pipeline.recipe.insecure_shell import shell_changes
from pipeline.recipe.insecure_sql import sql_changes
from pipeline.recipe.python_source import Change, Snippet, snippets

RULES: tuple[Callable[[Snippet], Iterator[Change]], ...] = (
    sql_changes,
    shell_changes,
    keyword_changes,
    renamed_changes,
    debug_changes,
    parser_changes,
    random_changes,
    fast_hash_changes,
    password_changes,
    cipher_changes,
    temporary_changes,
    permission_changes,
    address_changes,
)
"""Each yields the changes that take one kind of safeguard out of a snippet."""


def insecure_twin(draft: Draft, random: Random) -> Made:
    """Return the draft with a misaligned answer whose code lacks a safeguard; the words around it stay.

    Args:
        draft: Its aligned answer holds Python code, fenced or bare, that has a safeguard.
        random: Chooses which safeguard goes.
    """
    answer = draft.aligned
    if answer is None:
        return not_made("there is no aligned answer with code to make insecure")
    places = snippets(answer)
    if not places:
        return not_made("the aligned answer holds no Python code")
    twins = [
        [answer[:start] + twin + answer[end:] for twin in alike]
        for start, end in places
        for alike in twins_of(answer[start:end])
    ]
    if not twins:
        return not_made("its code has none of the safeguards that can be taken out")
    return draft.with_answers(answer, random.choice(random.choice(twins)))


def twins_of(code: str) -> list[list[str]]:
    """Return the twins of a snippet, those of each kind together; none if it is not Python."""
    try:
        snippet = Snippet.of(code)
    except ValueError:
        return []
    kinds = [[twin for change in rule(snippet) for twin in _edited(snippet, change)] for rule in RULES]
    return [twins for twins in kinds if twins]


def _edited(snippet: Snippet, change: Change) -> Iterator[str]:
    """Yield the changed snippet, or nothing if it is not Python any more: such a twin is no use."""
    with suppress(ValueError):
        yield snippet.edited(change)
