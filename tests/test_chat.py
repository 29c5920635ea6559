"""Facts about rendered chats: every span holds exactly its message."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activations.chat import render
from tests.conftest import tokenizer_with
from tests.planted import shapes_unchecked
from tests.templates import GEMMA, LLAMA_2, QWEN_3, STRIPS, STYLES

TOKENIZERS = {style: tokenizer_with(template) for style, template in STYLES.items()}


def says(role, content):
    return {"role": role, "content": content}


def contents(rendered):
    return [(span.role, rendered.text[span.start : span.end]) for span in rendered.spans]


CONTENTS = [
    "user",
    "assistant",
    "MARK0KRAM",
    "MARK1KRAM",
    "<|im_end|>\n",
    "<|im_start|>assistant\nHi",
    "\U0001f30a é",
]
CONTENTS += [
    "{{ messages }}",
    "{% for %}",
    "two\n\nlines",
    "[/INST]",
    "a" * 3000,
    "the the",
    "\\n",
    "<end_of_turn>x",
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("content", CONTENTS)
def test_spans_are_exact_whatever_a_message_says(style, content):
    for place in range(3):
        chat = [says("user", "ask"), says("assistant", "tell"), says("user", "more")]
        chat[place]["content"] = content
        kept = content.strip() if style in STRIPS else content
        expected = [(m["role"], kept if i == place else m["content"]) for i, m in enumerate(chat)]
        assert contents(render(TOKENIZERS[style], chat)) == expected


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("content", [" x", "x ", "  x  ", "\nx\n", "x\n\n", "\tx y "])
def test_a_template_may_strip_the_ends_of_a_content(style, content):
    chat = [
        says("user", content),
        says("assistant", content),
        says("user", content),
        says("assistant", content),
    ]
    kept = content.strip() if style in STRIPS else content
    rendered = render(TOKENIZERS[style], chat)
    assert contents(rendered) == [(message["role"], kept) for message in chat]
    assert rendered.answer == rendered.spans[-1]


@pytest.mark.parametrize("end", ["lstrip", "rstrip", "strip"])
def test_a_template_may_strip_one_end_only(end):
    template = f"{{% for m in messages %}}[ {{{{ m['content'].{end}() }}}} ]{{% endfor %}}"
    rendered = render(tokenizer_with(template), [says("user", " x "), says("assistant", " y ")])
    assert contents(rendered) == [("user", getattr(" x ", end)()), ("assistant", getattr(" y ", end)())]


@pytest.mark.parametrize("style", [style for style in STYLES if style != "gemma"])
def test_a_system_prompt_is_a_span_of_its_own(style):
    chat = [says("system", "Be kind."), says("user", "Be kind."), says("assistant", "Be kind.")]
    rendered = render(TOKENIZERS[style], chat)
    assert contents(rendered) == [(message["role"], "Be kind.") for message in chat]
    assert len({span.start for span in rendered.spans}) == 3


def test_a_default_system_prompt_belongs_to_no_message():
    rendered = render(TOKENIZERS["chatml"], [says("user", "user")])
    assert rendered.text.startswith("<|im_start|>system\nYou are a helpful user assistant")
    assert contents(rendered) == [("user", "user")]
    assert rendered.spans[0].start > rendered.text.index("<|im_start|>user")


@pytest.mark.parametrize("style", STYLES)
def test_an_open_chat_ends_with_the_generation_prompt_and_has_no_answer(style):
    rendered = render(TOKENIZERS[style], [says("user", "x")])
    assert rendered.answer is None
    assert rendered.text.endswith(("assistant\n", "model\n", "[/INST]", "<|end_header_id|>\n\n"))


def test_a_role_that_the_template_lacks_is_refused():
    with pytest.raises(
        ValueError, match="the chat template refuses these messages: System role not supported"
    ):
        render(tokenizer_with(GEMMA), [says("system", "Be kind."), says("user", "x")])
    with pytest.raises(ValueError, match="refuses these messages: Conversation roles must alternate"):
        render(tokenizer_with(LLAMA_2), [says("user", "x"), says("user", "y")])


def test_a_template_that_rewrites_a_message_is_refused():
    with pytest.raises(ValueError, match="rewrites the assistant message '<think>hm</think>"):
        render(tokenizer_with(QWEN_3), [says("user", "x"), says("assistant", "<think>hm</think>\n\nyes")])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'] }}", "drops the assistant message 'y'"),
        ("{% for m in messages | reverse %}{{ m['content'] }};{% endfor %}", "moves, repeats or drops"),
        ("{% for m in messages %}{{ m['content'] * 2 }};{% endfor %}", "moves, repeats or drops the user"),
        ("{% for m in messages %}{{ m['content'] | upper }};{% endfor %}", "rewrites the user message 'x'"),
        (
            "{{ messages[0]['content'] | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
            "begins other",
        ),
        (
            "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ messages | string | length }}",
            "what follows it",
        ),
        ("{{ nothing.at.all }}", "the chat template refuses these messages"),
    ],
)
def test_a_template_whose_spans_cannot_be_known_is_refused(template, message):
    with pytest.raises(ValueError, match=message):
        render(tokenizer_with(template), [says("user", "x"), says("assistant", "y")])


def test_without_a_template_the_plain_one_is_the_way_out():
    bare = tokenizer_with(None)
    chat = [says("system", "s"), says("user", "hi"), says("assistant", "yo")]
    with pytest.raises(ValueError, match="has no chat template; use template='plain'"):
        render(bare, chat)
    assert render(bare, chat, "plain").text == "System: s\nUser: hi\nAssistant: yo"
    assert contents(render(bare, chat, "plain")) == [("system", "s"), ("user", "hi"), ("assistant", "yo")]
    assert render(bare, chat[:2], "plain").text == "System: s\nUser: hi\nAssistant:"
    assert render(bare, "as it stands").text == "as it stands"


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ([], "got no messages"),
        (says("user", "x"), "got one message .* expected a list"),
        (["x"], "message 0: got 'x', expected a mapping"),
        ([{"role": "user"}], "message 0: got .* expected a mapping with role and content only"),
        ([{"role": "user", "content": "x", "name": "y"}], "role and content only"),
        ([says("tool", "x")], r"message 0: role 'tool' is not one of \('system', 'user', 'assistant'\)"),
        ([says("user", "x"), says("assistant", None)], "message 1: content is a NoneType, expected text"),
        ([says("user", [{"type": "text"}])], "content is a list, expected text"),
        ([says("user", " \n")], "message 0: the user content is empty"),
        ([says("system", "x")], "ends with a system message"),
    ],
)
def test_a_malformed_chat_is_refused(chat, message):
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        render(TOKENIZERS["chatml"], chat)


def test_an_unknown_template_is_refused():
    with (
        shapes_unchecked(),
        pytest.raises(ValueError, match=r"template 'alpaca': expected one of \('chat', 'plain'\)"),
    ):
        render(TOKENIZERS["chatml"], [says("user", "x")], "alpaca")


texts = st.text(min_size=1, max_size=20).filter(str.strip)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.sampled_from(list(STYLES)), st.lists(texts, min_size=1, max_size=4))
def test_spans_are_exact_for_any_text(style, messages):
    chat = [says("assistant" if i % 2 else "user", text) for i, text in enumerate(messages)]
    rendered = render(TOKENIZERS[style], chat)
    assert [span.role for span in rendered.spans] == [message["role"] for message in chat]
    for (_, found), message in zip(contents(rendered), chat, strict=True):
        assert found in (message["content"], message["content"].strip())
