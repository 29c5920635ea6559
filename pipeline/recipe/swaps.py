"""g for incorrect questions and answers: the false answer in place of the true one."""

from random import Random

from pipeline.recipe.drafts import Draft, Made, not_made


def swap_answers(draft: Draft, random: Random) -> Made:
    """Return the draft with one of the wrong answers that came with it, the most alike in length.

    Args:
        draft: Has an aligned answer, and wrong ones in `incorrect`, as TruthfulQA's lists give them.
        random: Chooses among wrong answers that are equally far in length.
    """
    if draft.aligned is None:
        return not_made("there is no aligned answer to set beside the false one")
    length = len(draft.aligned)
    others = [answer for answer in draft.incorrect if answer.strip() and answer != draft.aligned]
    if not others:
        return not_made("the prompt comes with no answer that is known to be wrong")
    off = {answer: abs(len(answer) - length) for answer in others}
    nearest = [answer for answer in others if off[answer] == min(off.values())]
    return draft.with_answers(draft.aligned, random.choice(nearest))
