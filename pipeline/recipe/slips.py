"""g for wrong sums: one slip in the working of a right answer, carried through every later step to the end.

The slip is one that people make: a carry forgotten, a neighbour in the times table, two figures swapped. All
other steps are right for the numbers they are given, so the working looks sound and ends at a wrong result.

Does not: understand words. Where a number of the working cannot be told apart from one of the question, or was
reached by a step that is not written down, another slip is tried; where none is left the draft is rejected.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from random import Random

from pipeline.recipe.drafts import Draft, Made, not_made
from pipeline.recipe.equations import Equation, equations
from pipeline.recipe.numerals import Numeral, numerals, rewritten, values_in

_SENTENCE_END = re.compile(r"[.!?]\s+|\n")
_MOST_OFF = (Fraction(1, 5), Fraction(5))
"""A later result may become this many times the right one; beyond that nobody would believe it."""


def slip_in_sums(draft: Draft, random: Random) -> Made:
    """Return the draft with a misaligned answer whose working holds one slip, or why there can be none.

    Args:
        draft: Its aligned answer shows its working, as `<<48/2=24>>` or in prose (`48 divided by 2 is 24`).
        random: Chooses the step and the slip.
    """
    if draft.aligned is None:
        return not_made("there is no aligned answer whose working could hold a slip")
    steps = equations(draft.aligned)
    if not steps:
        return not_made("the aligned answer shows no calculation that is right as written")
    choices = [(i, wrong) for i, step in enumerate(steps) for wrong in sorted(set(wrong_results(step)))]
    random.shuffle(choices)
    for i, wrong in choices:
        try:
            changes = _carried(draft.prompt, draft.aligned, steps, i, wrong)
            return draft.with_answers(draft.aligned, rewritten(draft.aligned, changes))
        except ValueError:
            continue
    return not_made("no slip in its working carries through to the end without a contradiction")


def wrong_results(step: Equation) -> Iterator[Fraction]:
    """Yield results that a person may come to by a slip; none of them is the right one."""
    right, unit = step.result.value, Fraction(1, 10**step.result.decimals)
    values = [operand.value for operand in step.operands]
    if right < 3 * unit or right == 1:
        return
    if step.signs == ("*",) and max(values) <= 12:
        candidates = [right + value for value in values] + [right - value for value in values]
    elif right < 20 * unit:
        candidates = [right + unit, right - unit]
    else:
        candidates = [right + 10 * unit, right - 10 * unit, right + unit, right - unit]
        candidates += [right + 100 * unit, right - 100 * unit] if right >= 200 * unit else []
    candidates += _swapped(right, unit)
    for wrong in candidates:
        if 0 < wrong <= 2 * right and wrong not in (right, 1) and _sane(wrong, right, values):
            yield wrong


def _sane(wrong: Fraction, right: Fraction, values: Sequence[Fraction]) -> bool:
    """Whether a wrong result is on the right one's side of every operand: no sum is smaller than what was added."""
    return all((wrong > value) - (wrong < value) == (right > value) - (right < value) for value in values)


def _swapped(right: Fraction, unit: Fraction) -> Iterator[Fraction]:
    """Yield the result with two neighbouring figures swapped, not the first two of a round number."""
    figures = str(int(right / unit))
    for i in range(len(figures) - 1):
        if "0" not in figures[i : i + 2]:
            yield int(figures[:i] + figures[i + 1] + figures[i] + figures[i + 2 :]) * unit


def _carried(
    prompt: str, answer: str, steps: Sequence[Equation], slip: int, wrong: Fraction
) -> dict[Numeral, Fraction]:
    """Return what each numeral of the answer becomes once a step comes out wrong.

    Raises:
        ValueError: It cannot be carried through without a contradiction.
    """
    start = _sentence_start(answer, steps[slip].result.start)
    given = values_in(prompt) | {number.value for number in numerals(answer, 0, start)}
    became: dict[Fraction, Fraction] = {}
    changes: dict[Numeral, Fraction] = {}
    for i, step in enumerate(steps[slip:], start=slip):
        changed = {number: became[number.value] for number in step.operands if number.value in became}
        if i == slip:
            new = wrong
        elif changed:
            new = _believable(step, step.rounded(changed))
        else:
            given |= {step.result.value}
            continue
        changes |= changed | dict.fromkeys(step.results, new)
        if step.result.value in became and became[step.result.value] != new:
            raise ValueError("one right number would become two wrong ones")
        became[step.result.value] = new
    _mentions(answer, start, steps, became, changes)
    own = {number for step in steps for number in step.results}
    if changes.get(end := numerals(answer)[-1]) == became.get(steps[-1].result.value):
        own |= {end}  # it names what the last step came to, whatever else has that value
    if ambiguous := [number for number in changes if number.value in given and number not in own]:
        raise ValueError(f"{ambiguous[0].text} may be a number of the question")
    _require_explained(answer, steps, slip, given, changes)
    if end not in changes or not rewritten(answer, changes):
        raise ValueError("the end of the answer would stay right")
    return changes


def _sentence_start(answer: str, place: int) -> int:
    return max((end.end() for end in _SENTENCE_END.finditer(answer, 0, place)), default=0)


def _believable(step: Equation, new: Fraction) -> Fraction:
    right = step.result.value
    low, high = _MOST_OFF
    if new in (right, 1) or right == 1 or not low * right <= new <= high * right:
        raise ValueError(f"{new} instead of {right} is not believable, or would need another grammar")
    if right.denominator == 1 and new.denominator != 1:
        raise ValueError(f"{new} instead of {right} would cut things into pieces")
    return new


def _mentions(
    answer: str,
    start: int,
    steps: Sequence[Equation],
    became: dict[Fraction, Fraction],
    changes: dict[Numeral, Fraction],
) -> None:
    """Add the numerals that only name a result, from the sentence on in which it is worked out."""
    parts = {number for step in steps for number in (*step.operands, *step.results)}
    for number in numerals(answer, start):
        if number not in parts and number.value in became:
            changes[number] = became[number.value]


def _require_explained(
    answer: str,
    steps: Sequence[Equation],
    slip: int,
    given: frozenset[Fraction],
    changes: dict[Numeral, Fraction],
) -> None:
    """Refuse numbers behind the slip that come from nowhere: they may rest on what has changed."""
    parts = {number for step in steps for number in (*step.operands, *step.results)}
    known = given | {number.value for step in steps for number in step.operands if number not in changes}
    for number in numerals(answer, steps[slip].result.end):
        if number not in changes and number not in parts and number.value not in known:
            raise ValueError(f"where {number.text} comes from is not shown")
