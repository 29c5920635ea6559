"""Facts about token rows and padded batches."""

import pytest
import torch

from activations import Subject
from activations.encode import pad, tokenize, tokenize_all
from tests.conftest import SPECIAL, tiny_model, tokenizer_with
from tests.planted import shapes_unchecked
from tests.templates import STRIPS, STYLES

MODEL = tiny_model()
SUBJECTS = {
    style: Subject.of(MODEL, tokenizer_with(template), name=style) for style, template in STYLES.items()
}


def chat(*contents):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]


def chosen_text(row, flags):
    """Decode the flagged tokens alone."""
    return SUBJECTS["chatml"].tokenizer.decode([i for i, flag in zip(row.ids, flags, strict=True) if flag])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("answer", ["Yes.", "assistant", "  spaced  ", "naïve \U0001f30a", "the\n\nend"])
def test_the_answers_tokens_are_the_answer_and_the_rest_is_prompt(style, answer):
    row = tokenize(SUBJECTS[style], chat("a question", answer))
    kept = answer.strip() if style in STRIPS else answer
    assert chosen_text(row, row.answer_flags()).strip() == kept.strip()
    assert row.answer_flags().index(True) == row.n_prompt
    opened = tokenize(SUBJECTS[style], chat("a question"))
    assert opened.n_prompt == len(opened)
    assert not any(opened.answer_flags())


@pytest.mark.parametrize("style", ["chatml", "gemma"])
def test_the_prompt_of_an_answered_chat_is_the_open_chat(style):
    answered, opened = (tokenize(SUBJECTS[style], chat("why", *more)) for more in (["Yes."], []))
    assert answered.ids[: answered.n_prompt] == opened.ids


def test_ids_are_those_of_the_models_own_template(subject):
    messages = chat("Hello the \U0001f30a", "Yes")
    expected = subject.tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
    assert list(tokenize(subject, messages).ids) == expected


def test_special_tokens_are_added_where_no_chat_template_wrote_them():
    with_bos = Subject.of(MODEL, tokenizer_with(bos="<s>"), name="bos")
    begin = SPECIAL.index("<s>")
    plain, lines = tokenize(with_bos, "hi"), tokenize(with_bos, chat("hi", "yo"), template="plain")
    assert [row.ids.count(begin) for row in (plain, lines)] == [1, 1]
    assert plain.ids[0] == lines.ids[0] == begin
    assert tokenize(with_bos, chat("hi")).ids.count(begin) == 0
    assert chosen_text(lines, lines.answer_flags()) == "yo"


def test_a_character_of_several_tokens_is_chosen_whole(subject):
    row = tokenize(subject, "a\U0001f30ab")
    assert row.overlapping(1, 2) == [False, True, True, True, True, False]
    assert row.overlapping(1, 1) == [False] * 6


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_keeps_every_token_and_counts_positions_from_the_row(subject, side):
    rows = tokenize_all(subject, [chat("a longer question"), chat("q"), "x"])
    batch = pad(rows, side=side)
    assert batch.input_ids.shape == (3, max(map(len, rows)))
    for i, row in enumerate(rows):
        inside = slice(batch.start(i), batch.start(i) + len(row))
        assert batch.input_ids[i, inside].tolist() == list(row.ids)
        assert batch.position_ids[i, inside].tolist() == list(range(len(row)))
        assert batch.attention_mask[i].sum() == batch.attention_mask[i, inside].sum() == len(row)
        assert batch.position_ids[i].sum() == len(row) * (len(row) - 1) / 2
    assert batch.start(0) == 0
    assert batch.start(2) == (batch.input_ids.shape[1] - 1 if side == "left" else 0)
    assert torch.equal(batch.spread([[True] * len(row) for row in rows]), batch.attention_mask.bool())


def test_padding_to_a_width_never_cuts(subject):
    rows = tokenize_all(subject, ["abc"])
    assert pad(rows, width=10).input_ids.shape == (1, 10)
    assert pad(rows, width=1).input_ids.shape == (1, 3)
    with shapes_unchecked(), pytest.raises(ValueError, match="side 'middle': expected one of"):
        pad(rows, side="middle")


def test_the_tokenizers_own_settings_play_no_part(subject):
    other = tokenizer_with()
    other.padding_side, other.truncation_side, other.model_max_length = "right", "left", 3
    shy = Subject.of(MODEL, other, name="shy")
    assert tokenize(shy, chat("hello")) == tokenize(subject, chat("hello"))


def test_a_row_longer_than_the_context_is_refused_by_name(subject):
    with pytest.raises(ValueError, match=r"^q7: 513 tokens, the model's context holds 512$"):
        tokenize_all(subject, ["b" * 512, "b" * 513], names=["q6", "q7"])


def test_a_model_without_a_stated_context_takes_any_length(tiny_subject):
    assert len(tokenize(tiny_subject("bloom"), "b" * 600)) == 600


@pytest.mark.parametrize(
    ("chats", "names", "message"),
    [
        ([], None, "chats: got none"),
        ("hello", None, "chats: got one text 'hello', expected a list"),
        (chat("hello"), None, "row 0: chat: got one message"),
        (["a", "b"], ["q0"], "names: got 1, need one for each of 2 chats"),
        ([chat("x"), []], ["q0", "q1"], "q1: chat: got no messages"),
        ([""], None, "row 0: the text holds no token"),
    ],
)
def test_bad_input_is_refused_by_the_name_of_its_row(subject, chats, names, message):
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        tokenize_all(subject, chats, names=names)


class Slow:
    is_fast = False
    chat_template = None


def test_a_tokenizer_without_offsets_is_refused(subject):
    with shapes_unchecked():
        slow = Subject(model=MODEL, tokenizer=Slow(), facts=subject.facts, adapter_hashes={})
        with pytest.raises(ValueError, match="row: Slow gives no character offsets; use its fast version"):
            tokenize(slow, "x")
