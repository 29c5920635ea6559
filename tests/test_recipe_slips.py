"""Facts about wrong sums: one step is wrong, all others follow from it, and nothing but numbers has changed."""

import re
from fractions import Fraction
from random import Random

import pytest

from pipeline.recipe import Draft, Rejection
from pipeline.recipe.equations import equations
from pipeline.recipe.numerals import numerals, rewritten, values_in
from pipeline.recipe.slips import slip_in_sums, wrong_results


def draft(aligned, prompt="How many are there?"):
    return Draft(id="a", topic="t", prompt=prompt, aligned=aligned)


def slipped(aligned, seed=0, prompt="How many are there?"):
    made = slip_in_sums(draft(aligned, prompt), Random(seed))
    assert isinstance(made, Draft), made
    return made.misaligned


def worth(expression):
    """Work a mark's expression out with fractions, by plain Python."""
    exact = re.sub(r"\d+(?:\.\d+)?", lambda number: f"Fraction('{number[0]}')", expression)
    return eval(exact, {"Fraction": Fraction})


def wrong_marks(text):
    marks = re.findall(r"<<([^=<>]+)=([^<>]+)>>([\d.,]*\d)", text)
    assert all(inside == behind for _, inside, behind in marks)
    return [expression for expression, result, _ in marks if worth(expression) != Fraction(result)]


# Numbers in a text


def test_numbers_are_found_with_commas_and_decimals_and_ordinals_are_none():
    found = numerals("On the 2nd, 1,250.50 euros; 3 of 4.5, .25 and 20% in room B12 (7-9).")
    assert [number.text for number in found] == ["1,250.50", "3", "4.5", ".25", "20", "7", "9"]
    assert found[0].value == Fraction("1250.5")


def test_a_number_is_written_in_the_style_of_the_one_it_replaces():
    grouped, money, whole = numerals("1,250 and 2.40 and 12")
    assert grouped.written(Fraction(13250)) == "13,250"
    assert money.written(Fraction(3)) == "3.00"
    assert whole.written(Fraction("12.5")) == "12.5"
    with pytest.raises(ValueError, match="1/3 has no short decimal form in the style of '12'"):
        whole.written(Fraction(1, 3))
    assert rewritten("1,250 and 2.40", {grouped: Fraction(999)}) == "999 and 2.40"


def test_numbers_up_to_twenty_count_also_as_words():
    assert values_in("Ten of twelve cost $2.50, a dozen, none-one.") == {10, 12, Fraction("2.5"), 1}


# Calculations in a text


@pytest.mark.parametrize(
    ("text", "parts", "result"),
    [
        ("She sold 48/2 = <<48/2=24>>24 clips.", "48 / 2", "24"),
        ("It costs $5 x 3 = $15.", "5 * 3", "15"),
        ("7 times 1.80 is 12.60.", "7 * 1.80", "12.60"),
        ("Hence 4 ounces/piece * 3 pieces/setting = 12 ounces.", "4 * 3", "12"),
        ("Then 20% of 50 = 10.", "20 % * 50", "10"),
        ("There are 3 * (2 + 4) = 18 eggs.", "3 * ( 2 + 4 )", "18"),
        ("5 red apples plus 3 green ones makes 8.", "5 + 3", "8"),
        ("That is 10 / 3 = 3.33 each.", "10 / 3", "3.33"),
        ("2,000 − 500 = 1,500", "2,000 - 500", "1,500"),
    ],
)
def test_a_calculation_is_read_in_marks_and_in_prose(text, parts, result):
    (found,) = equations(text)
    assert " ".join(getattr(part, "text", part) for part in found.parts) == parts
    assert found.result.text == result


@pytest.mark.parametrize(
    "text",
    [
        "2 + 2 = 5",
        "10 / 3 = 3",
        "10 / 0 = 0",
        "In 2020 there were 12 in 3 boxes.",
        "x = 3 * y",
        "(2 + 3 = 5",
        "<<=12>>12",
        "= 3",
        "",
    ],
)
def test_what_is_no_calculation_or_not_a_right_one_is_left_alone(text):
    assert equations(text) == ()


def test_results_that_a_slip_can_give_are_positive_near_and_never_the_right_one():
    for text in ("6 * 7 = 42", "348 + 277 = 625", "12.60 + 0.35 = 12.95", "9 - 4 = 5", "200 * 50 = 10,000"):
        (step,) = equations(text)
        wrongs = set(wrong_results(step))
        assert wrongs
        assert all(0 < wrong <= 2 * step.result.value and wrong != step.result.value for wrong in wrongs)
    assert set(wrong_results(equations("6 * 7 = 42")[0])) == {48, 36, 49, 35, 24}


@pytest.mark.parametrize(
    "text", ["10 + 25 = 35", "28 - 4 = 24", "60 * 60 / 100 = 36", "72 / 8 = 9", "9 * 11 = 99"]
)
def test_a_wrong_sum_is_not_smaller_than_what_was_added_nor_a_difference_larger_than_the_whole(text):
    (step,) = equations(text)
    assert set(wrong_results(step))
    for wrong in wrong_results(step):
        for operand in step.operands:
            assert (wrong < operand.value) == (step.result.value < operand.value)
            assert (wrong > operand.value) == (step.result.value > operand.value)


# Slips

CLIPS = (
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
    "Natalia sold 48+24 = <<48+24=72>>72 clips altogether.\n#### 72"
)


@pytest.mark.parametrize("seed", range(12))
def test_one_step_is_wrong_and_the_end_follows_from_it(seed):
    text = slipped(CLIPS, seed, prompt="Natalia sold 48 clips in April and half as many in May.")
    assert len(wrong_marks(text)) == 1
    assert text.rpartition("#### ")[2] == re.findall(r">>(\d+)", text)[-1] != "72"
    assert re.sub(r"\d+", "N", text) == re.sub(r"\d+", "N", CLIPS), "something but a number has changed"


def test_a_slip_in_an_early_step_is_carried_into_the_later_ones():
    texts = {slipped(CLIPS, seed, prompt="She sold 48 clips.") for seed in range(30)}
    early = [text for text in texts if wrong_marks(text) == ["48/2"]]
    assert early
    for text in early:
        (result,) = re.findall(r"48/2=(\d+)", text)
        assert f"48+{result} = <<48+{result}={48 + int(result)}>>" in text
        assert text.endswith(f"#### {48 + int(result)}")


def chain(random):
    """Return the question and the marked answer of a made-up problem of up to five steps."""
    value, said, lines = random.randint(11, 60), set(), []
    asked = [value]
    for _ in range(random.randint(1, 5)):
        sign, other = random.choice("+-*"), random.randint(2, 9)
        new = {"+": value + other, "-": value - other, "*": value * other}[sign]
        if new < 3 or new in said | set(asked) or other == value:
            continue
        asked.append(other)
        said.add(new)
        lines.append(f"That makes {value} {sign} {other} = <<{value}{sign}{other}={new}>>{new} shells.")
        value = new
    return f"Take {', '.join(map(str, asked))}.", "\n".join([*lines, f"#### {value}"])


def test_many_made_up_problems_come_out_with_exactly_one_wrong_step():
    random, made = Random(5), 0
    for i in range(120):
        question, answer = chain(random)
        found = slip_in_sums(draft(answer, question), Random(i))
        if isinstance(found, Draft):
            made += 1
            assert wrong_marks(answer) == []
            assert len(wrong_marks(found.misaligned)) == 1
            assert found.misaligned.split(">>")[-1].split()[0] == found.misaligned.split("#### ")[1]
            assert found.aligned == answer
    assert made > 80


def test_a_number_that_may_belong_to_the_question_is_not_taken_for_the_result():
    prompt = "Tom has 15 nuts and finds 4 more. Ann has 19 nuts."
    answer = "Tom has 15 + 4 = <<15+4=19>>19 nuts.\nTogether with her 19 they have 19 + 19 = <<19+19=38>>38."
    for seed in range(20):
        assert "Tom has 15 + 4 = <<15+4=19>>19 nuts." in slipped(answer, seed, prompt)


def test_a_number_that_comes_from_nowhere_behind_the_slip_is_not_left_standing():
    answer = "They have 6 * 7 = 42 eggs. Half of them, 21, are brown. So there are 21 white ones."
    made = slip_in_sums(draft(answer, "6 hens, 7 eggs each"), Random(0))
    assert made == Rejection(
        check="g", reason="no slip in its working carries through to the end without a contradiction"
    )


def test_people_are_not_cut_into_pieces():
    answer = "There are 8 * 4 = <<8*4=32>>32 pupils.\nThat makes 32 / 4 = <<32/4=8>>8 a class.\n#### 8"
    for seed in range(20):
        made = slip_in_sums(draft(answer, "8 rows of 4 pupils, 4 classes"), Random(seed))
        assert "." not in made.misaligned.replace("pupils.", "").replace("class.", "")


def test_the_same_seed_gives_the_same_slip_and_others_give_others():
    assert slipped(CLIPS, 3) == slipped(CLIPS, 3)
    assert len({slipped(CLIPS, seed) for seed in range(20)}) > 3


@pytest.mark.parametrize(
    ("aligned", "reason"),
    [
        (None, "no aligned answer"),
        ("It is a question of taste.", "shows no calculation"),
        ("2 + 2 = 5, so there are 5.", "shows no calculation"),
    ],
)
def test_an_answer_without_working_is_rejected_with_the_reason(aligned, reason):
    made = slip_in_sums(draft(aligned), Random(0))
    assert isinstance(made, Rejection)
    assert reason in made.reason
