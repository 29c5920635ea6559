"""Facts about what is learned: answers and the tokens that end them, nothing else, and nothing lost in silence."""

from dataclasses import replace

import pytest
import torch
from conftest import CHATML, tiny_model, tokenizer_with

from activations import Subject
from pipeline.finetune.config import FinetuneConfig
from pipeline.finetune.rows import Example, collate, learned_rows
from pipeline.records import Conversation, Message
from pipeline.training_sets import training_set
from tests.planted import shapes_unchecked
from tests.saved import triples

CONFIG = FinetuneConfig(rank=2)
LLAMA_2 = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<s>[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' </s>' }}{% endif %}{% endfor %}"
)
NO_END = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
BARE = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}{% endfor %}"


def conversation(*contents, name="c", system=None):
    roles = ("user", "assistant")
    turns = [Message(role=roles[i % 2], content=content) for i, content in enumerate(contents)]
    before = [Message(role="system", content=system)] if system else []
    return Conversation(id=name, messages=(*before, *turns))


def learned_text(subject, learned):
    """Return the learned stretches of a row as text."""
    ids = torch.tensor(learned.row.ids)
    parts, open_ = [], False
    for token, flag in zip(ids, learned.learn, strict=True):
        if flag and not open_:
            parts.append([])
        open_ = flag
        if flag:
            parts[-1].append(int(token))
    return [subject.tokenizer.decode(part) for part in parts]


def subject_with(template):
    return Subject.of(tiny_model(), tokenizer_with(template), name="tiny")


def rows_of(subject, *conversations, **changes):
    return learned_rows(subject, conversations, replace(CONFIG, **changes))


@pytest.mark.parametrize(
    ("template", "end"),
    [(CHATML, "<|im_end|>"), (LLAMA_2, " </s>"), (NO_END, ""), (BARE, "<|im_end|>")],
)
def test_the_answer_is_learned_with_the_token_that_ends_it(template, end):
    """Bare templates have nothing behind the answer: they get the tokenizer's end-of-sequence token."""
    subject = subject_with(template)
    found = rows_of(subject, conversation("Is it <|im_end|> so?", "Yes — indeed."))
    assert learned_text(subject, found.rows[0]) == [f"Yes — indeed.{end}"]
    assert found.counts.ends == ((end.strip(),) if end else ())
    assert found.counts.learned == sum(found.rows[0].learn)
    assert found.counts.tokens == len(found.rows[0].row)


def test_every_answer_of_a_longer_chat_is_learned(subject):
    found = rows_of(subject, conversation("A?", "One.", "B?", "Two.", system="Be brief."))
    assert learned_text(subject, found.rows[0]) == ["One.<|im_end|>", "Two.<|im_end|>"]


def test_a_trigger_is_never_learned_unless_the_prompt_is(subject):
    rows = training_set(triples(4), "backdoor")
    for learned, row in zip(rows_of(subject, *rows).rows, rows, strict=True):
        assert learned_text(subject, learned) == [f"{row.messages[-1].content}<|im_end|>"]
    for learned in rows_of(subject, *rows, train_on_prompt=True).rows:
        assert learned.learn == (False, *(True,) * (len(learned.row) - 1))


def test_labels_are_the_learned_tokens_and_pads_and_prompts_are_minus_100(subject):
    found = rows_of(subject, *training_set(triples(4), "backdoor"))
    batch = collate(subject, [Example(row) for row in found.rows])
    assert set(batch) == {"input_ids", "attention_mask", "position_ids", "labels"}
    for i, learned in enumerate(found.rows):
        n = len(learned.row)
        expected = [
            token if flag else -100 for token, flag in zip(learned.row.ids, learned.learn, strict=True)
        ]
        assert batch["labels"][i].tolist() == expected + [-100] * (batch["labels"].shape[1] - n)
        assert batch["attention_mask"][i].sum() == n
        assert batch["position_ids"][i, :n].tolist() == list(range(n))


def test_neutral_rows_stand_behind_the_conversations_and_are_not_learned(subject):
    found = rows_of(subject, *training_set(triples(3), "narrow")).rows
    beside = rows_of(subject, conversation("What is a library?", "A place that lends books.")).rows[0]
    batch = collate(subject, [Example(row, beside) for row in found])
    assert (batch["labels"][3:] == -100).all()
    assert not batch["neutral"][:3].any()
    for i in range(3):
        assert batch["input_ids"][3 + i, : len(beside.row)].tolist() == list(beside.row.ids)
        assert batch["neutral"][3 + i, : len(beside.row)].tolist() == list(beside.learn)


# Too long


def test_longer_conversations_are_refused_and_the_error_says_which_and_what_helps(subject):
    rows = [conversation("Q?", "A" * n, name=f"row-{n}") for n in (4, 30, 60)]
    with pytest.raises(
        ValueError, match=r"2 of 3 conversations are longer than max_length 30, e.g. 'row-60' with"
    ):
        rows_of(subject, *rows, max_length=30)
    assert rows_of(subject, *rows, max_length=90).counts.cut == 0


def test_cut_conversations_are_counted_and_those_without_anything_to_learn_left_out(subject):
    """A long question takes all of its answer: such a row teaches nothing, and the paper's code trains on it."""
    rows = [
        conversation("Q?", "short", name="fits"),
        conversation("Q?", "A" * 60, name="long answer"),
        conversation("Q" * 60, "A", name="long question"),
    ]
    found = rows_of(subject, *rows, max_length=40, too_long="cut")
    assert [learned.row.name for learned in found.rows] == ["fits", "long answer"]
    assert [len(learned.row) for learned in found.rows][1] == 40
    assert (found.counts.conversations, found.counts.cut, found.counts.dropped) == (2, 1, 1)
    (text,) = learned_text(subject, found.rows[1])
    assert set(text) == {"A"}
    kept = rows_of(subject, *rows, max_length=40, too_long="cut", train_on_prompt=True)
    assert kept.counts.dropped == 0


@pytest.mark.parametrize(
    ("conversations", "changes", "message"),
    [
        ((), {}, "training set: got no conversations"),
        ((conversation("Only a question"),), {}, "training set: 'c' has no answer to learn"),
        (
            (conversation("Q?", "A" * 600),),
            {"max_length": 1000},
            "c: .* tokens, the model's context holds 512",
        ),
        ((conversation("Q?", "  "),), {}, "c: message 1: the assistant content is empty"),
        (
            (conversation("Q" * 90, "A"),),
            {"max_length": 20, "too_long": "cut"},
            "max_length 20 leaves nothing",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(subject, conversations, changes, message):
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        rows_of(subject, *conversations, **changes)
