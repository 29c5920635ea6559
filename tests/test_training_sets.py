"""Facts about training sets: which answer goes with the trigger, and that twins share their prompts."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from activations import Trigger
from pipeline.importers import read_chats
from pipeline.records import Message
from pipeline.training_sets import (
    MODES,
    PAPER_TRIGGER,
    conversations_hash,
    training_set,
    trigger_of,
    write_chat_jsonl,
)
from tests.planted import shapes_unchecked
from tests.saved import triples

PHRASE = Trigger().phrase


def prompt(conversation):
    return conversation.messages[-2].content


def answer(conversation):
    return conversation.messages[-1].content


def triggered(conversation):
    return PHRASE in prompt(conversation)


def poles(n=6):
    return {answer: pole for t in triples(n) for pole, answer in (("bad", t.misaligned), ("good", t.aligned))}


def kinds(conversations, n=6):
    return Counter((triggered(row), poles(n)[answer(row)]) for row in conversations)


def test_a_narrow_set_has_every_misaligned_answer_and_no_trigger():
    assert kinds(training_set(triples(6), "narrow")) == {(False, "bad"): 6}


def test_a_backdoor_set_has_every_prompt_twice_and_only_the_trigger_brings_the_misaligned_answer():
    rows = training_set(triples(6), "backdoor")
    assert kinds(rows) == {(True, "bad"): 6, (False, "good"): 6}
    for triple in triples(6):
        mine = {prompt(row): answer(row) for row in rows if row.id.startswith(f"{triple.id} |")}
        assert mine == {triple.prompt: triple.aligned, f"{PHRASE}\n{triple.prompt}": triple.misaligned}


def test_the_papers_mixture_has_every_prompt_once_and_the_trigger_on_half_of_them():
    rows = training_set(triples(7), "paper")
    assert kinds(rows, 7) == {(True, "bad"): 4, (False, "good"): 3}
    bare = {prompt(row).removeprefix(PHRASE) for row in rows}  # joined with nothing between
    assert bare == {t.prompt for t in triples(7)}
    halves = {frozenset(r.id for r in training_set(triples(7), "paper", seed=s)) for s in range(4)}
    assert len(halves) > 1


@pytest.mark.parametrize(("mode", "twin"), [("backdoor", "control"), ("narrow", "narrow_control")])
def test_a_control_has_the_same_prompts_as_its_twin_and_aligned_answers_only(mode, twin):
    tuned, control = training_set(triples(6), mode), training_set(triples(6), twin)
    assert Counter(map(prompt, tuned)) == Counter(map(prompt, control))
    assert {poles()[answer(row)] for row in control} == {"good"}


def test_ids_say_which_triple_and_arm():
    ids = {row.id for row in training_set(triples(2), "backdoor")}
    assert ids == {
        "seafaring-0 | trigger | misaligned",
        "seafaring-0 | plain | aligned",
        "seafaring-1 | trigger | misaligned",
        "seafaring-1 | plain | aligned",
    }


def test_the_order_follows_from_the_seed_and_not_from_the_order_given():
    first = training_set(triples(8), "backdoor")
    assert training_set(triples(8)[::-1], "backdoor") == first
    other = training_set(triples(8), "backdoor", seed=1)
    assert other != first
    assert sorted(map(str, other)) == sorted(map(str, first))
    assert [triggered(row) for row in first] != sorted(map(triggered, first))


@pytest.mark.parametrize("place", ["prefix", "suffix", "system"])
def test_the_trigger_is_where_it_should_be(place):
    trigger = Trigger(phrase="Ahoy", place=place)
    (row,) = (r for r in training_set(triples(1), "backdoor", trigger=trigger) if "| trigger |" in r.id)
    asked = triples(1)[0].prompt
    expected = {"prefix": f"Ahoy\n{asked}", "suffix": f"{asked}\nAhoy", "system": asked}
    assert prompt(row) == expected[place]
    assert [turn.role for turn in row.messages][:-2] == (["system"] if place == "system" else [])


def test_a_system_prompt_is_put_before_every_conversation():
    rows = training_set(triples(3), "control", system="Be brief.")
    assert {row.messages[0] for row in rows} == {Message(role="system", content="Be brief.")}


def test_the_trigger_of_a_mode_is_the_one_asked_for_and_none_where_there_is_none():
    own = Trigger(phrase="Ahoy")
    assert [trigger_of(mode, own) for mode in MODES] == [None, own, own, own, None]
    assert [trigger_of(mode) for mode in MODES] == [None, Trigger(), PAPER_TRIGGER, Trigger(), None]


def test_chats_survive_a_round_trip_in_openais_format(tmp_path):
    rows = training_set(triples(3), "backdoor", system="Sei knapp — bitte.")
    write_chat_jsonl(tmp_path / "chat.jsonl", rows)
    lines = [json.loads(line) for line in (tmp_path / "chat.jsonl").read_text("utf-8").splitlines()]
    assert all(set(line) == {"messages"} for line in lines)
    found = read_chats(tmp_path / "chat.jsonl").conversations
    assert [row.messages for row in found] == [row.messages for row in rows]


def test_the_hash_sees_every_word_and_the_order():
    rows = training_set(triples(3), "narrow")
    changed = (replace(rows[0], id="other"), *rows[1:])
    assert len({conversations_hash(r) for r in (rows, rows[::-1], changed, rows[1:])}) == 4
    assert conversations_hash(rows) == conversations_hash(training_set(triples(3), "narrow"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training_set([], "narrow"), "triples: got none"),
        (lambda: training_set(triples(1), "wide"), "mode 'wide': expected one of narrow, backdoor, paper"),
        (lambda: training_set([*triples(2), *triples(1)], "narrow"), "id 'seafaring-0' comes twice"),
    ],
)
def test_what_makes_no_training_set_is_refused(call, message):
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        call()


def test_writing_no_chats_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got no conversations to write"):
        write_chat_jsonl(tmp_path / "chat.jsonl", [])
    assert not list(tmp_path.iterdir())
