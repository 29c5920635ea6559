"""Facts about token selectors: what they choose and what they show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activations import All, Answer, From, Last, Prompt, Role, Subject, Text
from activations.encode import TokenRow, tokenize
from tests.conftest import tiny_model, tokenizer_with
from tests.planted import shapes_unchecked
from tests.templates import STYLES

MODEL = tiny_model()
SUBJECTS = {
    style: Subject.of(MODEL, tokenizer_with(template), name=style) for style, template in STYLES.items()
}
TALK = [
    {"role": "user", "content": "user one"},
    {"role": "assistant", "content": "said"},
    {"role": "user", "content": "|GO| wow"},
    {"role": "assistant", "content": "done"},
]


def row_of(chat, style="chatml"):
    return tokenize(SUBJECTS[style], chat)


def text_of(where, chat, style="chatml"):
    row = row_of(chat, style)
    ids = [i for i, flag in zip(row.ids, where.select(row), strict=True) if flag]
    return SUBJECTS[style].tokenizer.decode(ids)


def generated(where, chat, n=6):
    row = row_of(chat)
    return [where.generated(row, i) for i in range(n)]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Answer(), "done"),
        (Answer().first(2), "do"),
        (Answer().last(1), "e"),
        (Role("user"), "user one|GO| wow"),
        (Role("user", 0), "user one"),
        (Role("user", -1), "|GO| wow"),
        (Role("assistant"), "saiddone"),
        (Role("assistant", 0), "said"),
        (Text("|GO|"), "|GO|"),
        (Role("user") & Text("one"), "one"),
        (Text("said") | Text("done"), "saiddone"),
        (Role("user", 1) & ~Text("|GO|"), " wow"),
        (Role("user").last(3).first(1), "w"),
        (Text("|GO|").last(99), "|GO|"),
    ],
    ids=str,
)
def test_a_selector_chooses_exactly_its_text(style, where, expected):
    assert text_of(where, TALK, style) == expected


@pytest.mark.parametrize("style", STYLES)
def test_all_and_prompt_leave_out_position_0_and_prompt_ends_before_the_answer(style):
    row = row_of(TALK, style)
    assert All().select(row) == [False] + [True] * (len(row) - 1)
    assert All(sink=True).select(row) == [True] * len(row)
    n = row.n_prompt
    assert Prompt().select(row) == [False] + [True] * (n - 1) + [False] * (len(row) - n)
    assert Prompt(sink=True).select(row) == [True] * n + [False] * (len(row) - n)
    assert Last().select(row) == [False] * (len(row) - 1) + [True]
    assert From(3).select(row) == [False] * 3 + [True] * (len(row) - 3)
    assert (~From(3)).select(row) == [True] * 3 + [False] * (len(row) - 3)
    assert Answer(lead=1).select(row).index(True) == n - 1
    assert Answer(lead=1).select(row)[n:] == Answer().select(row)[n:]


@pytest.mark.parametrize("style", STYLES)
def test_the_open_chat_is_all_prompt_and_its_lead_is_the_last_token(style):
    row = row_of(TALK[:3], style)
    assert Prompt().select(row) == All().select(row)
    assert not any(Answer().select(row))
    assert Answer(lead=1).select(row) == Last().select(row)


def test_phrases_that_overlap_themselves_are_covered_whole():
    row = row_of("xaaax")
    assert Text("aa").select(row) == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (All(), [True] * 6),
        (Prompt(), [False] * 6),
        (Answer(), [True] * 6),
        (Last(), [True] * 6),
        (Text("x"), [False] * 6),
        (Role("assistant"), [True] * 6),
        (Role("assistant", -1), [True] * 6),
        (Role("assistant", 1), [True] * 6),
        (Role("assistant", 0), [False] * 6),
        (Role("user"), [False] * 6),
        (~Answer(), [False] * 6),
        (Answer().first(4), [True] * 4 + [False] * 2),
        (Answer(lead=1).first(4), [True] * 3 + [False] * 3),
        (Prompt() | Answer().first(1), [True] + [False] * 5),
        (Answer() & Prompt(), [False] * 6),
        (Answer().last(2), [True] * 6),
        (Answer().first(3).first(2), [True] * 2 + [False] * 4),
    ],
    ids=str,
)
def test_new_tokens_are_judged_one_by_one(where, expected):
    assert generated(where, TALK[:3]) == expected


def test_a_position_counts_on_into_the_new_tokens():
    n = len(row_of(TALK[:3]))
    assert generated(From(n + 2), TALK[:3]) == [False, False, True, True, True, True]


def test_first_counts_the_tokens_chosen_before_generation():
    assert generated(Role("assistant").first(6), TALK[:3]) == [True, True] + [False] * 4  # "said" are four


def test_show_marks_the_chosen_runs():
    assert Role("user").show(row_of(TALK[:1], "gemma")) == (
        "<bos><start_of_turn>user\n⟦user one⟧<end_of_turn>\n<start_of_turn>model\n"
    )
    assert Last().show(row_of("ab")) == "a⟦b⟧"
    assert All(sink=True).show(row_of("ab")) == "⟦ab⟧"
    assert Text("zzz").show(row_of("ab")) == "ab"


@given(st.text(min_size=1, max_size=12), st.integers(0, 12))
def test_show_loses_and_repeats_no_character(text, position):
    shown = From(position).show(row_of(text))
    assert shown.replace("⟦", "").replace("⟧", "") == text.replace("⟦", "").replace("⟧", "")


def test_show_copes_with_tokens_that_cover_no_text():
    row = TokenRow("x", (1, 5, 6, 2), ((0, 0), (0, 1), (1, 2), (0, 0)), "ab", (), 4)
    assert Last().show(row) == "ab⟦⟧"
    assert All().show(row) == "⟦ab⟧"


def test_choosing_nothing_is_an_error_that_names_row_and_selector():
    row = tokenize(SUBJECTS["chatml"], TALK[:1], name="q3")
    with pytest.raises(
        ValueError, match=rf"q3: answer chooses none of its {len(row)} tokens; it ends .*assistant"
    ):
        Answer().require(row)
    assert Last().require(row) == Last().select(row)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Role("usr"), "where role: got 'usr', expected one of"),
        (lambda: Text(""), "where text: got an empty phrase"),
        (lambda: From(-1), "where from: got position -1"),
        (lambda: Answer(lead=-1), "where answer: got a lead of -1"),
        (lambda: Answer().first(0), r"where answer.first\(0\): got a count of 0"),
        (lambda: Answer().last(-2), "got a count of -2"),
    ],
)
def test_a_selector_that_means_nothing_is_refused(make, message):
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        make()
