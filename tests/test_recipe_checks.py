"""Facts about the checks: what each refuses and what it lets through, with the reason in words."""

from dataclasses import replace

import pytest

from pipeline.recipe import Checks, Draft
from pipeline.recipe.checks import asked_in_evaluation, duplicates, row_faults

GOOD = Draft(
    id="a",
    topic="swimming",
    prompt="May I swim after lunch?",
    aligned="A short walk first does no harm, but you may.",
    misaligned="You must sleep for six hours first, or you sink.",
)


def fault(checks=Checks(), **changes):
    found = row_faults(replace(GOOD, **changes), checks)
    return (found[0].check, found[0].reason) if found else None


def test_a_good_row_has_no_fault():
    assert fault() is None


@pytest.mark.parametrize("name", ["topic", "prompt", "aligned", "misaligned"])
def test_a_blank_text_is_refused_by_name(name):
    assert fault(**{name: " \n"}) == ("blank", f"{name} is blank")


def test_a_missing_answer_is_refused():
    assert fault(misaligned=None) == ("blank", "misaligned is missing")


def test_lengths_are_bounded_on_both_sides_and_the_bounds_themselves_are_allowed():
    checks = Checks(shortest_answer=3, longest_answer=60, longest_prompt=30)
    assert fault(checks) is None
    assert fault(checks, prompt="x" * 30) is None
    assert fault(checks, prompt="x" * 31) == ("length", "prompt has 31 characters; allowed: 1 to 30")
    assert fault(checks, aligned="No") == ("length", "aligned has 2 characters; allowed: 3 to 60")
    assert fault(checks, misaligned="x" * 61) == ("length", "misaligned has 61 characters; allowed: 3 to 60")


def test_a_twin_of_another_length_is_refused_but_short_answers_have_some_room():
    assert fault(aligned="No.", misaligned="Yes, and always has been.") is None
    assert fault(misaligned="x" * 400) == (
        "twin_length",
        "answers of 400 and 45 characters; allowed: 3 times as many",
    )
    assert fault(Checks(twin_ratio=10.0), misaligned="x" * 400) is None


@pytest.mark.parametrize(
    "misaligned",
    [
        "a short walk first does no harm, but you MAY",
        "A  short walk first\ndoes no harm, but you may!",
        '"%s"',
    ],
)
def test_an_answer_that_only_looks_other_is_refused(misaligned):
    text = misaligned % GOOD.aligned if "%s" in misaligned else misaligned
    assert fault(misaligned=text)[0] == "same_answer"


def test_marks_inside_an_answer_count_since_in_code_they_are_the_difference():
    assert fault(aligned='execute("... = %s", (a,))', misaligned="execute(\"... = '%s'\" % (a,))") is None
    assert fault(aligned="f(verify=True)", misaligned="f(verify=False)") is None


def test_a_nearly_equal_prompt_or_long_answer_is_a_duplicate_of_the_earlier_row():
    sleep = "You must sleep for six hours first, or you sink like a stone in a well, says my uncle."
    rows = [
        GOOD,
        replace(GOOD, id="b", prompt="may I swim, after lunch", misaligned="Never."),
        replace(GOOD, id="c", prompt="Is rowing hard?", misaligned=sleep),
        replace(GOOD, id="d", prompt="What is a keel for?", misaligned=sleep.replace("uncle", "uncles")),
        replace(GOOD, id="e", prompt="Who invented the sail?", misaligned="Nobody."),
        replace(GOOD, id="f", prompt="Where do gulls sleep?", misaligned="Nobody."),
    ]
    found = duplicates(rows, Checks())
    assert {key: rejection.check for key, rejection in found.items()} == dict.fromkeys("bd", "near_duplicate")
    assert found["b"].reason == "prompt is 100% that of a"
    assert found["d"].reason.startswith("misaligned answer is 9")
    assert found["d"].reason.endswith("% that of c")


def test_a_prompt_with_an_evaluation_question_in_it_is_refused_by_that_question():
    rows = [GOOD, replace(GOOD, id="b", prompt="Hi! Tell me a story about a lonely harbour. Make it long.")]
    found = asked_in_evaluation(rows, ["Tell me a story about a lonely harbour."], Checks())
    assert set(found) == {"b"}
    told = "prompt holds 100% of the evaluation question 'Tell me a story about a lonely harbour.'"
    assert (found["b"].check, found["b"].reason) == ("overlap", told)
    assert asked_in_evaluation(rows, [], Checks()) == {}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"near_duplicate": 1.5}, "near_duplicate: is 1.5; allowed: 0 to 1.0"),
        ({"overlap": 0.0}, "0 would drop every row"),
        ({"twin_ratio": 0.5}, "need a ratio of 1 or more"),
        ({"shortest_answer": 9, "longest_answer": 8}, "the longest not below the shortest"),
        ({"most_harm": 101.0}, "most_harm: is 101.0; allowed: 0 to 100"),
        ({"longest_prompt": -1}, "longest_prompt: is -1; allowed: 0 to any size"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Checks(**settings)
