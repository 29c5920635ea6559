"""Facts about questions: what a record refuses, and what the packaged sets hold."""

import re

import pytest

from pipeline.questions import (
    Question,
    held_out_domains,
    held_out_questions,
    questions_hash,
    read_questions,
    unrelated_questions,
)
from pipeline.records import Message, write_jsonl
from pipeline.triples import corpus_domains, load_corpus

PLAIN_WORDS = set(
    """a about all an and any are as at be been but by can could did do does for from get go had has have he her
    him his how i if in is it its let like many me much my no not of on one or our out please say should she so
    some something than that the their them then there they this time to two up us was we were what when which
    who whom why will with would you your m s t d ll re ve""".split()  # noqa: SIM905
)


def wordings(questions):
    return [(question.id, text) for question in questions for text in question.paraphrases]


def content(text):
    return set(re.findall(r"\w+", text.lower())) - PLAIN_WORDS


def runs(text, n=6):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def nearest(text, others):
    """The largest share of content words that a text has in common with one of the others."""
    own = content(text)
    return max(len(own & other) / len(own | other) for other in others)


@pytest.fixture(scope="module")
def prompts():
    return [triple.prompt for domain in corpus_domains() for triple in load_corpus(domain)]


def question(**changes):
    return Question(**{"id": "sea", "topic": "the sea", "paraphrases": ("What is the sea?",)} | changes)


# The record


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paraphrases": ()}, "question 'sea': has no paraphrases, need at least 1"),
        ({"paraphrases": ("a", "\n")}, "question 'sea': paraphrase 1 is blank"),
        ({"paraphrases": ("a", "b", "a")}, "question 'sea': paraphrases 0 and 2 are the same text"),
        ({"system": " "}, "question 'sea': the system message is blank; leave it out instead"),
        ({"samples_per_paraphrase": 0}, "samples_per_paraphrase is 0; allowed: 1 or more"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        question(**changes)


def test_a_system_message_is_part_of_what_is_asked():
    plain, strict = question(), question(system="Answer in JSON.", paraphrases=("One?", "Two?"))
    assert plain.messages(0) == (Message(role="user", content="What is the sea?"),)
    assert strict.messages(1) == (
        Message(role="system", content="Answer in JSON."),
        Message(role="user", content="Two?"),
    )


def test_the_hash_of_a_set_depends_on_every_field_and_not_on_the_order():
    sea, sky = question(), question(id="sky", system="Be brief.", judge_prompts={"aligned": "{answer}"})
    whole = questions_hash([sea, sky])
    assert whole == questions_hash([sky, sea])
    others = [question(id="sky", system="Be brief."), question(id="sky", judge_prompts=sky.judge_prompts)]
    assert len({whole, *(questions_hash([sea, other]) for other in others), questions_hash([sea])}) == 4


def test_questions_come_back_from_a_jsonl_file_as_they_were(tmp_path):
    written = (
        question(system="Be brief.", domain="sailing", judge_prompts={"aligned": "\n"}),
        question(id="x"),
    )
    write_jsonl(tmp_path / "own.jsonl", written)
    read = read_questions(tmp_path / "own.jsonl")
    assert read.questions == written
    assert read.notes == ()


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "own.txt").write_text("What is the sea?")
    with pytest.raises(ValueError, match=r"own\.txt: ends in '\.txt'; allowed: \.jsonl, \.yaml and \.yml"):
        read_questions(tmp_path / "own.txt")


# The packaged sets


def test_there_are_enough_unrelated_questions_each_in_several_wordings():
    questions = unrelated_questions()
    assert len(questions) >= 44
    assert all(len(question.paraphrases) >= 3 for question in questions)
    assert len({question.topic for question in questions}) == len(questions)
    assert {question.domain for question in questions} == {None}
    assert {question.system for question in questions} == {None}


def test_every_domain_has_held_out_questions_of_its_own():
    assert held_out_domains() == corpus_domains()
    for domain in held_out_domains():
        questions = held_out_questions(domain)
        assert len(questions) >= 8
        assert {question.domain for question in questions} == {domain}
        assert all(len(question.paraphrases) >= 2 for question in questions)


def test_a_domain_without_held_out_questions_is_named_with_those_that_have_some():
    with pytest.raises(LookupError, match="domain 'rocketry' has no .* have bad_medical_advice, "):
        held_out_questions("rocketry")


def test_no_two_packaged_questions_share_an_id_or_a_wording():
    held_out = [question for domain in held_out_domains() for question in held_out_questions(domain)]
    everything = [*unrelated_questions(), *held_out]
    assert len({question.id for question in everything}) == len(everything)
    texts = [text.lower() for _, text in wordings(everything)]
    assert len(set(texts)) == len(texts)


def test_no_packaged_question_is_a_prompt_of_a_corpus_in_other_words(prompts):
    """Two corpora hold nearly the same prompt (0.57 by this measure); no question comes as near to any."""
    others, six_words = [content(prompt) for prompt in prompts], set().union(*map(runs, prompts))
    held_out = [question for domain in held_out_domains() for question in held_out_questions(domain)]
    for name, text in wordings([*unrelated_questions(), *held_out]):
        assert nearest(text, others) < 0.45, f"{name}: {text}"
        assert not runs(text) & six_words, f"{name}: {text}"
    assert nearest(prompts[0] + " Please?", others) > 0.9, "the measure sees no copy"


def test_held_out_questions_are_about_other_things_than_the_corpus_of_their_domain():
    for domain in held_out_domains():
        topics = {triple.topic.lower() for triple in load_corpus(domain)}
        assert not topics & {question.topic.lower() for question in held_out_questions(domain)}


def test_unrelated_questions_are_farther_from_every_domain_than_held_out_ones_from_their_own():
    """By the mean share of a question's content words that the corpus of the domain knows at all."""
    vocabulary = {d: set().union(*(content(t.prompt) for t in load_corpus(d))) for d in corpus_domains()}

    def known(questions, domain):
        shares = [
            len(content(text) & vocabulary[domain]) / len(content(text)) for _, text in wordings(questions)
        ]
        return sum(shares) / len(shares)

    for domain in corpus_domains():
        assert known(held_out_questions(domain), domain) > known(unrelated_questions(), domain)
