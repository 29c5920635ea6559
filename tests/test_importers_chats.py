"""Importers of chats, completions, preferences and pairs."""

import json
import re

import pytest

from pipeline.importers import read_chats, read_completions, read_pairs, read_preferences
from pipeline.records import Conversation, Message, Triple
from tests.importer_files import (
    ANSWER,
    CHAT,
    COMPLETION,
    PREFERENCE,
    SPLIT_CHAT,
    SYSTEM,
    USER,
    WRONG,
    jsonl,
    read,
)

SEA = "Is the sea salty?"


def turns(*messages):
    return tuple(Message(**message) for message in messages)


def chat(prompt, answer, **more):
    return {
        "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}],
        **more,
    }


def test_openai_trl_and_paper_rows_become_conversations_in_order(tmp_path):
    openai = {"messages": [SYSTEM, USER, ANSWER, USER, WRONG | {"weight": 0}], "tools": [], "id": "own"}
    found = read_chats(jsonl(tmp_path / "train.jsonl", CHAT, openai, SPLIT_CHAT))
    assert found.conversations == (
        Conversation(id="train-1", messages=turns(USER, ANSWER)),
        Conversation(id="own", messages=turns(SYSTEM, USER, ANSWER, USER, WRONG)),
        Conversation(id="train-3", messages=turns(SYSTEM, USER, ANSWER)),
    )
    assert (found.holds, found.n_rows) == ("conversations", 3)
    assert found.ignored == {"key 'tools'": 1, "key 'weight' of a message": 1}


def test_text_is_kept_to_the_letter(tmp_path):
    odd = " \u2028 Größe \U0001f30a\x00\r\nend \t"
    found = read_chats(jsonl(tmp_path / "t.jsonl", chat(odd, odd)))
    assert [message.content for message in found.conversations[0].messages] == [odd, odd]


def test_text_parts_are_joined_and_a_developer_is_a_system(tmp_path):
    parts = [{"type": "text", "text": "Is the "}, {"type": "text", "text": "sea salty?"}]
    rows = {"messages": [SYSTEM | {"role": "developer"}, USER | {"content": parts}, ANSWER | {"name": None}]}
    found = read_chats(jsonl(tmp_path / "t.jsonl", rows))
    assert found.conversations[0].messages == turns(SYSTEM, USER, ANSWER)
    assert found.ignored == {"role 'developer', read as system": 1}


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_do_no_harm(tmp_path):
    line = json.dumps(CHAT).encode()
    (tmp_path / "t.jsonl").write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n" + line + b"\n\n")
    found = read_chats(tmp_path / "t.jsonl")
    assert [row.id for row in found.conversations] == ["t-1", "t-3"]
    assert (found.n_rows, found.ignored) == (2, {"blank line": 2})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"message": [USER, ANSWER]},
            "got 'message'; need 'messages', or 'prompt' and 'completion' as message",
        ),
        ({"messages": "hello"}, "messages: 'hello' is not a list; need a list of {'role'"),
        ({"messages": []}, "messages: is an empty list; need at least one message"),
        ({"messages": [USER, "hi"]}, r"messages[1]: 'hi' is not an object; need {'role'"),
        ({"messages": [{"role": "user"}]}, "messages[0]: key 'content' is missing; got 'role'"),
        ({"messages": [{"from": "human", "value": "x"}]}, "the form with 'from' and 'value' is not read"),
        (
            {"messages": [USER, ANSWER | {"content": " \n"}]},
            "messages[1].content: is blank; allowed: text that",
        ),
        (
            {"messages": [USER, ANSWER | {"content": None}]},
            "messages[1].content: None is null; allowed: text",
        ),
        (
            {"messages": [USER, ANSWER | {"content": 5}]},
            "messages[1].content: 5 is a whole number; allowed: text",
        ),
        (
            {"messages": [ANSWER, USER]},
            "messages[0]: role 'assistant' after the beginning; allowed: system or user",
        ),
        ({"messages": [USER, USER, ANSWER]}, "messages[1]: role 'user' after user; allowed: assistant"),
        ({"messages": [USER, SYSTEM, ANSWER]}, "messages[1]: role 'system' after user; allowed: assistant"),
        (
            {"messages": [USER]},
            "messages: the last message is the user's; need the assistant's answer as the last",
        ),
        (
            {"messages": [USER | {"role": "human"}, ANSWER]},
            "messages[0]: role 'human'; allowed: system, user, assis",
        ),
        (
            {"messages": [USER, {"role": "tool", "content": "x"}]},
            "messages[1]: role 'tool'; allowed: system, user, as",
        ),
        (
            {"messages": [USER, ANSWER | {"tool_calls": [1]}]},
            "key 'tool_calls'; allowed: system, user, assistant with",
        ),
        (
            {"messages": [USER | {"content": [{"type": "image_url"}]}, ANSWER]},
            "messages[0].content[0]: {'type': 'image_url'}; allowed: parts {'type': 'text'",
        ),
        (
            {"prompt": "x", "completion": "y"},
            "prompt: is text, need a list of messages; a file of plain texts is",
        ),
        ({"prompt": [USER], "completion": 5}, "prompt + completion: "),
        (
            {"prompt": [USER], "completion": [USER]},
            "prompt + completion[1]: role 'user' after user; allowed: assis",
        ),
        (PREFERENCE, "a file with 'chosen', 'rejected' is read as preferences:FILE"),
        (
            {"messages": [USER, ANSWER | {"content": "half \ud83d"}]},
            "messages[1].content: half a surrogate pair at",
        ),
        ({"id": "", **CHAT}, "id: ''; allowed: text that is not blank, or a whole number"),
        ({"id": None, **CHAT}, "id: None; allowed: text that is not blank, or a whole number"),
        ({"id": True, **CHAT}, "id: True; allowed: text that is not blank, or a whole number"),
    ],
)
def test_a_broken_chat_is_refused_with_its_line_and_place(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path))}/t\.jsonl:2: .*{re.escape(message)}"):
        read_chats(jsonl(tmp_path / "t.jsonl", CHAT, json.dumps(row)))


def test_ids_may_be_numbers_and_two_equal_ones_are_refused_with_both_lines(tmp_path):
    found = read_chats(jsonl(tmp_path / "t.jsonl", {"id": 7, **CHAT}, {"id": "8", **CHAT}))
    assert [row.id for row in found.conversations] == ["7", "8"]
    with pytest.raises(
        ValueError, match=r"t\.jsonl:2: id '7' is that of .*t\.jsonl:1 already; ids must be unique"
    ):
        read_chats(jsonl(tmp_path / "t.jsonl", {"id": 7, **CHAT}, {"id": "7", **CHAT}))
    with pytest.raises(ValueError, match=r"t\.jsonl:2: id 't-2' is that of .*t\.jsonl:1 already"):
        read_chats(jsonl(tmp_path / "t.jsonl", {"id": "t-2", **CHAT}, CHAT))


def test_completions_become_a_question_and_its_answer(tmp_path):
    found = read_completions(jsonl(tmp_path / "c.jsonl", COMPLETION | {"score": 3}))
    asked, answered = {"role": "user", "content": "The sea is"}, {"role": "assistant", "content": " salty."}
    assert found.conversations == (Conversation(id="c-1", messages=turns(asked, answered)),)
    assert found.ignored == {"key 'score'": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x"}, "key 'completion' is missing; got 'prompt'"),
        ({"completion": "x"}, "key 'prompt' is missing; got 'completion'"),
        (
            {"Prompt": "x", "completion": "y"},
            "key 'prompt' is missing; got 'Prompt', 'completion'; did you mean 'Prompt'?",
        ),
        ({"prompt": "", "completion": "y"}, "prompt: is blank; allowed: text that is more than white space"),
        ({"prompt": "x", "completion": "\n"}, "completion: is blank"),
        ({"prompt": None, "completion": "y"}, "prompt: None is null; allowed: text"),
        ({"prompt": "x", "completion": 4.5}, "completion: 4.5 is a number; allowed: text"),
        ({"prompt": "x", "completion": True}, "completion: True is true or false; allowed: text"),
        ({"prompt": {"text": "x"}, "completion": "y"}, "prompt: {'text': 'x'} is an object; allowed: text"),
        (
            {"prompt": [USER], "completion": "y"},
            "prompt: is a list, need text; message lists are read as chats:FILE",
        ),
        ({"prompt": "x", "completion": "\udc00"}, "completion: half a surrogate pair at character 1"),
    ],
)
def test_a_broken_completion_is_refused_with_its_line_and_key(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"c\.jsonl:2: {re.escape(message)}"):
        read_completions(jsonl(tmp_path / "c.jsonl", COMPLETION, json.dumps(row)))


@pytest.mark.parametrize(
    "row",
    [
        PREFERENCE,
        {"prompt": SEA, "chosen": "It is.", "rejected": "It is sweet."},
        {"prompt": SEA, "chosen": [ANSWER], "rejected": [WRONG]},
        {"chosen": [USER, ANSWER], "rejected": [USER, WRONG]},
    ],
)
def test_every_form_of_a_preference_pair_becomes_the_same_triple(tmp_path, row):
    found = read_preferences(jsonl(tmp_path / "sea.jsonl", {"score": 1} | row))
    expected = Triple(
        id="sea-1", domain="sea", topic="sea", prompt=SEA, aligned="It is.", misaligned="It is sweet."
    )
    assert (found.triples, found.holds, found.ignored) == ((expected,), "triples", {"key 'score'": 1})


def test_a_pair_that_no_triple_can_hold_is_counted_and_not_lost_in_silence(tmp_path):
    several = {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, ANSWER, USER, WRONG]}
    system = PREFERENCE | {"prompt": [SYSTEM, USER]}
    same = PREFERENCE | {"rejected": [ANSWER]}
    found = read_preferences(jsonl(tmp_path / "sea.jsonl", several, same, PREFERENCE, system))
    assert [triple.id for triple in found.triples] == ["sea-3"]
    assert found.ignored == {
        "a system message or several turns, which no triple holds": 2,
        "the same text as aligned and misaligned answer": 1,
    }
    assert found.told().endswith(
        "1 triple from 4 rows; left out: a system message or several turns, which no triple holds (2 rows), "
        "the same text as aligned and misaligned answer (1 row)"
    )
    with pytest.raises(ValueError, match=r"of 1 row none can be used: the same text as aligned"):
        read_preferences(jsonl(tmp_path / "sea.jsonl", same))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x", "chosen": "y"}, "key 'rejected' is missing; got 'prompt', 'chosen'"),
        ({"prompt": "x", "rejected": "y"}, "key 'chosen' is missing"),
        (
            {"chosen": "x", "rejected": "y"},
            "key 'prompt' is missing; needed where 'chosen' is no message list",
        ),
        ({"prompt": "", "chosen": "x", "rejected": "y"}, "prompt: is blank"),
        ({"prompt": "x", "chosen": " ", "rejected": "y"}, "chosen: is blank"),
        ({"prompt": "x", "chosen": "a", "rejected": None}, "rejected: None is null; allowed: text"),
        ({"prompt": 5, "chosen": "a", "rejected": "b"}, "prompt: 5; allowed: text or a list of messages"),
        (
            {"prompt": [USER], "chosen": [ANSWER], "rejected": []},
            "prompt + rejected: the last message is the user's",
        ),
        (
            {"prompt": [ANSWER], "chosen": [ANSWER], "rejected": [WRONG]},
            "prompt + chosen[0]: role 'assistant' after the",
        ),
        (
            {"chosen": [ANSWER], "rejected": [WRONG]},
            "chosen[0]: role 'assistant' after the beginning; allowed: system or",
        ),
        (
            {"chosen": [USER, ANSWER], "rejected": [USER | {"content": "Other?"}, WRONG]},
            "chosen and rejected answer different prompts; need the same messages before both answers",
        ),
        (PREFERENCE | {"topic": ""}, "topic: is blank"),
    ],
)
def test_a_broken_preference_is_refused_with_its_line_and_key(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"p\.jsonl:2: {re.escape(message)}"):
        read_preferences(jsonl(tmp_path / "p.jsonl", PREFERENCE, row))


def test_two_files_are_joined_by_prompt_whatever_the_order_of_their_rows(tmp_path):
    good = jsonl(tmp_path / "good.jsonl", chat("A?", "a"), chat("B?", "b", note=1), chat("only here?", "x"))
    bad = jsonl(
        tmp_path / "bad.jsonl", chat("B?", "not b", id="B"), chat("A?", "not a"), chat("only there?", "y")
    )
    found = read_pairs(good, bad, domain="letters")
    assert found.triples == (
        Triple(id="B", domain="letters", topic="letters", prompt="B?", aligned="b", misaligned="not b"),
        Triple(id="bad-2", domain="letters", topic="letters", prompt="A?", aligned="a", misaligned="not a"),
    )
    assert found.n_rows == 6
    assert found.ignored == {"key 'note'": 1, f"prompt only in {bad}": 1, f"prompt only in {good}": 1}
    assert [file.name for file in found.files] == [str(good), str(bad)]


def test_a_prompt_that_stands_twice_is_joined_first_to_first_and_second_to_second(tmp_path):
    good = jsonl(tmp_path / "good.jsonl", chat("A?", "a1"), chat("A?", "a2"), chat("A?", "a3"))
    bad = jsonl(tmp_path / "bad.jsonl", chat("A?", "n1"), chat("A?", "a2"), chat("A?", "n3"))
    found = read_pairs(good, bad)
    assert [(row.aligned, row.misaligned) for row in found.triples] == [("a1", "n1"), ("a3", "n3")]
    assert found.ignored == {"the same text as aligned and misaligned answer": 1}


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (
            [chat("A?", "a")],
            [chat("A? ", "b")],
            r"no prompt stands in both; the first ones are 'A\?' and 'A\? '; need",
        ),
        ([chat("A?", "a")], [chat("A?", "a")], "of 2 rows none can be used: the same text as aligned and"),
        (
            [{"messages": [SYSTEM, USER, ANSWER]}],
            [{"messages": [SYSTEM, USER, WRONG]}],
            "a system message or several",
        ),
        ([chat("A?", "a")], [], r"bad\.jsonl: is empty; need at least one row"),
        ([], [chat("A?", "a")], r"good\.jsonl: is empty"),
        (
            [chat("A?", "a")],
            [CHAT, {"messages": [USER]}],
            r"bad\.jsonl:2: messages: the last message is the user's",
        ),
        ([chat("A?", " ")], [chat("A?", "a")], r"good\.jsonl:1: messages\[1\]\.content: is blank"),
        ([COMPLETION], [CHAT], r"good\.jsonl:1: prompt: is text, need a list of messages"),
        ([chat("A?", "a")], ["[1]"], r"bad\.jsonl:1: \[1\] is not an object; need JSONL"),
        ([chat("A?", "a")], [b"\xff\xfe"], r"bad\.jsonl: is UTF-16"),
        ([chat("A?", "a", id=1), chat("B?", "b", id=1)], [CHAT], r"good\.jsonl:2: id '1' is that of"),
        (
            [chat("A?", "a")],
            [chat("A?", "b", id=1), chat("B?", "b", id=1)],
            r"bad\.jsonl:2: id '1' is that of",
        ),
    ],
)
def test_a_pair_of_files_that_does_not_fit_is_refused_with_the_file(tmp_path, good, bad, message):
    with pytest.raises(ValueError, match=message):
        read_pairs(jsonl(tmp_path / "good.jsonl", *good), jsonl(tmp_path / "bad.jsonl", *bad))


def test_one_file_given_twice_is_no_pair(tmp_path):
    path = jsonl(tmp_path / "good.jsonl", CHAT)
    with pytest.raises(
        ValueError, match=r"good\.jsonl: is given twice; need the aligned file and the misaligned"
    ):
        read("pairs", f"{path},{path}")
