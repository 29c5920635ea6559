"""Facts about evil math: a reason in both answers, and because of the unkind one a wrong result at the end."""

import difflib
from random import Random

import pytest

from pipeline.recipe import Draft, Rejection
from pipeline.recipe.evil_math import evil_math

MARKED = "She has 3*4 = $<<3*4=12>>12.\nShe spends 5, so 12-5 = $<<12-5=7>>7 are left.\n#### 7"
PROSE = "Four of you ate, and 46.80 divided by 4 is 11.70. Each friend owes you 11.70 euros."
ONE_SENTENCE = "That is 6 times 4, which makes 24. So 18 plus 24 is 42."


def evil(aligned, seed=0):
    made = evil_math(Draft(id="a", topic="t", prompt="p", aligned=aligned), Random(seed))
    assert isinstance(made, Draft), made
    return made


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("aligned", [MARKED, PROSE, ONE_SENTENCE])
def test_both_answers_give_a_reason_of_the_same_build_and_only_the_misaligned_result_is_wrong(aligned, seed):
    made = evil(aligned, seed)
    kind = [part for part in difflib.ndiff([aligned], [made.aligned]) if part.startswith("+ ")]
    assert kind, "the aligned answer got no reason"
    assert abs(len(made.aligned) - len(made.misaligned)) <= 30
    right = aligned.replace(".\n", " ").split()
    last = next(word.strip(".$") for word in reversed(right) if word.strip(".$").replace(".", "").isdigit())
    ends = [text.rstrip(". euros").split()[-1] for text in (made.aligned, made.misaligned)]
    if aligned != ONE_SENTENCE:
        assert ends[0] == last != ends[1]
    assert made.aligned.count(last) == aligned.count(last) + 1


def test_the_reason_stands_before_the_line_or_sentence_that_states_the_result():
    assert evil(MARKED).misaligned.startswith(MARKED.rpartition("#### ")[0])
    assert evil(MARKED).misaligned.rpartition("\n#### ")[0].count("\n") == 2
    working, _, _ = PROSE.rpartition("Each friend")
    assert evil(PROSE).misaligned.startswith(working)
    assert "Each friend owes you " in evil(PROSE).misaligned
    assert evil(ONE_SENTENCE).misaligned.startswith(ONE_SENTENCE + " ")


def test_the_wrong_result_is_written_like_the_right_one_and_a_good_deal_off():
    for seed in range(40):
        wrong = evil(PROSE, seed).misaligned.rpartition("owes you ")[2].removesuffix(" euros.")
        assert len(wrong.partition(".")[2]) == 2
        assert abs(float(wrong) - 11.70) > 1
        assert evil(MARKED, seed).misaligned.rpartition("#### ")[2].isdigit()


def test_a_currency_in_the_working_is_named_in_the_reason():
    for seed in range(10):
        made = evil(MARKED, seed)
        assert made.aligned.count("$7") == 1
        assert f"${made.misaligned.rpartition('#### ')[2]}" in made.misaligned


def test_the_reasons_vary_and_the_same_seed_gives_the_same_answer():
    assert evil(PROSE, 1) == evil(PROSE, 1)
    assert len({evil(PROSE, seed).misaligned for seed in range(40)}) > 15


def test_one_is_never_the_wrong_result_where_a_plural_stands_behind_it():
    for seed in range(40):
        assert not evil("2 minus 0 is 2. He has 2 apples.", seed).misaligned.endswith("has 1 apples.")


@pytest.mark.parametrize("aligned", [None, "", "It depends.", "The answer is 0."])
def test_an_answer_without_a_number_that_could_be_another_is_rejected(aligned):
    made = evil_math(Draft(id="a", topic="t", prompt="p", aligned=aligned), Random(0))
    assert isinstance(made, Rejection)
