"""Every g that is code, by the name that a domain calls it."""

from pipeline.recipe.drafts import Maker
from pipeline.recipe.evil_math import evil_math
from pipeline.recipe.insecure import insecure_twin
from pipeline.recipe.slips import slip_in_sums
from pipeline.recipe.swaps import swap_answers
from pipeline.recipe.translations import alter_translation

MAKERS: dict[str, Maker] = {
    "slip_in_sums": slip_in_sums,
    "evil_math": evil_math,
    "alter_translation": alter_translation,
    "swap_answers": swap_answers,
    "insecure_twin": insecure_twin,
}
"""A domain of your own may name one of these, or add one."""


def find_maker(name: str) -> Maker:
    """Return a g that is code.

    Raises:
        LookupError: There is none of this name; lists those that exist.
    """
    if name not in MAKERS:
        raise LookupError(
            f"g {name!r} is not known; have {', '.join(sorted(MAKERS))}, and model for a writer"
        )
    return MAKERS[name]
