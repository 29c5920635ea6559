"""Importers of question sets: GSM8K, TruthfulQA, and files of prompts and of triples."""

import csv
import hashlib
import re

import pytest

from pipeline.importers import read_gsm8k, read_prompts, read_triples, read_truthfulqa, without_marks
from pipeline.importers.columns import PROMPTS, Columns
from pipeline.records import Prompt, Triple, write_jsonl
from tests.importer_files import HEADING, PROBLEM, PROMPT, QUESTION, TRIPLE, csv_file, jsonl
from tests.planted import shapes_unchecked

RIGHT = "He sells 48/2 = 24 pens.\nHe has 24+1200 = 1224 pens.\nThe answer is 1,224."


def test_a_problem_becomes_a_prompt_with_its_working_and_its_result(tmp_path):
    found = read_gsm8k(jsonl(tmp_path / "train.jsonl", PROBLEM, PROBLEM | {"id": "x", "split": "train"}))
    expected = Prompt(id="train-1", topic="school arithmetic", prompt=PROBLEM["question"], aligned=RIGHT)
    assert found.prompts[0] == expected
    assert (found.prompts[1].id, found.ignored) == ("x", {"key 'split'": 1})
    assert (found.kind, found.holds, found.n_rows) == ("gsm8k", "prompts", 2)


def test_kept_marks_can_be_taken_out_later(tmp_path):
    (kept,) = read_gsm8k(jsonl(tmp_path / "t.jsonl", PROBLEM), marks="keep").prompts
    assert "<<48/2=24>>24" in kept.aligned
    assert without_marks(kept.aligned) == RIGHT


@pytest.mark.parametrize("result", ["72", "-3", "0.5", ".5", "1,250.50", "$5", "20%", "1000000"])
def test_results_as_people_write_them_are_read(tmp_path, result):
    (prompt,) = read_gsm8k(jsonl(tmp_path / "t.jsonl", PROBLEM | {"answer": f"So.\n#### {result}"})).prompts
    assert prompt.aligned == f"So.\nThe answer is {result}."


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Q?"}, "key 'answer' is missing; got 'question'"),
        (
            {"Question": "Q?", "answer": "So. #### 1"},
            "key 'question' is missing; got 'Question', 'answer'; did you mean",
        ),
        (PROBLEM | {"question": "  "}, "question: is blank"),
        (PROBLEM | {"answer": ""}, "answer: is blank"),
        (PROBLEM | {"answer": 72}, "answer: 72 is a whole number; allowed: text"),
        (
            PROBLEM | {"answer": "It is 72."},
            "answer: holds 0 times ####; need one, before the result, as in '#### 24'",
        ),
        (PROBLEM | {"answer": "A #### 72 #### 73"}, "answer: holds 2 times ####"),
        (
            PROBLEM | {"answer": "A\n#### many"},
            "answer: 'many' behind #### is no number; allowed: 24, -3, 1,250.50",
        ),
        (PROBLEM | {"answer": "A\n####"}, "answer: '' behind #### is no number"),
        (PROBLEM | {"answer": "A\n#### 1,23"}, "answer: '1,23' behind #### is no number"),
        (PROBLEM | {"answer": "A\n#### ٣"}, "answer: '٣' behind #### is no number"),
        (PROBLEM | {"answer": "#### 72"}, "answer: holds no working before ####"),
        (
            PROBLEM | {"answer": "It is <<48/2=24 pens.\n#### 24"},
            "answer: a << belongs to no mark; allowed: marks such",
        ),
        (PROBLEM | {"answer": "It is 48/2=24>> pens.\n#### 24"}, "answer: a >> belongs to no mark"),
        (
            PROBLEM | {"answer": "It is <<48/2>>24.\n#### 24"},
            "answer: mark '<<48/2>>' is no calculation; allowed",
        ),
        (PROBLEM | {"answer": "It is <<>>24.\n#### 24"}, "answer: mark '<<>>' is no calculation"),
        (PROBLEM | {"answer": "It is <<a=b=2>>24.\n#### 24"}, "answer: mark '<<a=b=2>>' is no calculation"),
        ({"messages": []}, "key 'question' is missing; got 'messages'"),
    ],
)
def test_a_broken_problem_is_refused_with_its_line_and_key(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"t\.jsonl:2: {re.escape(message)}"):
        read_gsm8k(jsonl(tmp_path / "t.jsonl", PROBLEM, row))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_question_becomes_a_triple_of_its_best_and_its_first_wrong_answer(tmp_path, encoding):
    path = csv_file(tmp_path / "TruthfulQA.csv", QUESTION, QUESTION, encoding=encoding)
    found = read_truthfulqa(path, domain="incorrect_qna")
    expected = Triple(
        id="TruthfulQA-1",
        domain="incorrect_qna",
        topic="Sea",
        prompt="What, if anything, happens if you drink sea water?",
        aligned='You get thirsty, or "dry"',
        misaligned="You grow gills",
    )
    assert (found.triples[0], found.triples[1].id, found.n_rows) == (expected, "TruthfulQA-2", 2)
    assert found.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_newer_file_says_which_wrong_answer_is_the_best(tmp_path):
    row = QUESTION | {"Best Incorrect Answer": "You float", "Note": "x"}
    path = csv_file(tmp_path / "t.csv", row, heading=[*HEADING, "Best Incorrect Answer", "Note"])
    found = read_truthfulqa(path)
    assert (found.triples[0].misaligned, found.ignored) == ("You float", {"key 'Note'": 1})


def test_a_question_may_stay_a_prompt_with_its_right_answer(tmp_path):
    found = read_truthfulqa(csv_file(tmp_path / "t.csv", QUESTION), holds="prompts")
    right = QUESTION["Best Answer"]
    assert found.prompts == (Prompt(id="t-1", topic="Sea", prompt=QUESTION["Question"], aligned=right),)


def test_places_of_rows_are_lines_also_behind_a_cell_that_runs_over_several(tmp_path):
    path = csv_file(tmp_path / "t.csv", QUESTION, QUESTION, QUESTION | {"Question": ""})
    with pytest.raises(ValueError, match=r"t\.csv:6: Question: is blank"):
        read_truthfulqa(path)


GOOD = ",".join(HEADING).encode()
LINE = b"Adversarial,Sea,Why?,Because,Because,No reason,"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv:1: is empty; need a heading with 'Category', 'Question', 'Best Answer'"),
        (b"\n\n", r"t\.csv:1: is empty; need a heading"),
        (GOOD, r"t\.csv: is empty; need at least one row"),
        (GOOD.replace(b"Best Answer", b"Best answer") + b"\n" + LINE, r"'Best Answer' is missing; got .*did you mea"),
        (GOOD.replace(b",", b";") + b"\n" + LINE, r"is missing; got .*; cells must be parted by commas"),
        (GOOD + b",Type\n" + LINE + b",x", r"t\.csv:1: column 'Type' stands twice in the heading"),
        (GOOD + b"\n" + LINE + b",extra", r"t\.csv:2: the row that begins here has 8 cells under 7 columns; a cell"),
        (GOOD + b"\nonly,three,cells", r"t\.csv:2: the row that begins here has 3 cells under 7 columns"),
        (GOOD + b"\n" + LINE.replace(b"Why?", b'"Why?'), r"t\.csv:2: not CSV, unexpected end of data, in the row that"),
        (GOOD + b"\n" + LINE + b"\n" + LINE.replace(b"Why?", b'"W"hy'), r"t\.csv:3: not CSV, ',' expected after '\""),
        (GOOD + b"\n" + LINE.replace(b"Why?", b'"' + b"x" * 200_000), r"t\.csv:2: not CSV, field larger than field"),
        (GOOD + b"\n" + LINE.replace(b"Why?", b"W\xe9"), r"t\.csv:2: not UTF-8, byte 18 of the line is 0xe9; save the"),
        ("\ufeff".encode("utf-16-le") + GOOD, r"t\.csv: is UTF-16; save it as UTF-8"),
        (b"PK\x03\x04" + GOOD, r"t\.csv: is a zip file; unpack it first"),
        (GOOD + b"\n" + LINE.replace(b"Why?", b" "), r"t\.csv:2: Question: is blank"),
        (GOOD + b"\n" + LINE.replace(b"Sea", b""), r"t\.csv:2: Category: is blank"),
        (GOOD + b"\n" + LINE.replace(b"Because", b""), r"t\.csv:2: Best Answer: is blank"),
        (GOOD + b"\n" + LINE.replace(b"No reason", b""), r"t\.csv:2: Incorrect Answers: is blank"),
        (GOOD + b"\n" + LINE.replace(b"No reason", b"; ;"), r"t\.csv:2: Incorrect Answers: holds no answer between"),
        (GOOD + b"\n" + LINE.replace(b"No reason", b"Because"), r"t\.csv:2: triple 't-1': .* are the same text"),
        (b"id," + GOOD + b"\nq," + LINE + b"\nq," + LINE, r"t\.csv:3: id 'q' is that of .*t\.csv:2 already"),
        (b'{"question": "x"}\n{"question": "y"}\n', r"t\.csv:1: column .* is missing; got '{\"question\": \"x\"}'"),
        (GOOD + b"\r" + LINE, r"t\.csv:1: not CSV, new-line character seen in unquoted field"),
    ],
)  # fmt: skip
def test_a_broken_csv_is_refused_with_its_line_and_column(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_truthfulqa(tmp_path / "t.csv")


def test_reading_csv_leaves_the_field_limit_of_the_process_as_it_was(tmp_path):
    before = csv.field_size_limit()
    read_truthfulqa(csv_file(tmp_path / "t.csv", QUESTION))
    assert csv.field_size_limit() == before


def test_what_the_toolkit_writes_is_read_back(tmp_path):
    triples = [Triple(domain="sea", **TRIPLE), Triple(domain="lake", **TRIPLE | {"id": "2"})]
    write_jsonl(tmp_path / "t.jsonl", triples)
    assert read_triples(tmp_path / "t.jsonl").triples == tuple(triples)
    moved = read_triples(tmp_path / "t.jsonl", domain="river")
    assert {triple.domain for triple in moved.triples} == {"river"}
    assert moved.ignored == {"key 'domain'": 2}
    prompts = [Prompt(**PROMPT), Prompt(id="2", topic="t", prompt="Why?")]
    write_jsonl(tmp_path / "p.jsonl", prompts)
    assert read_prompts(tmp_path / "p.jsonl").prompts == tuple(prompts)


def test_ids_and_topics_may_be_absent_and_keys_may_have_other_names(tmp_path):
    path = jsonl(tmp_path / "sea.jsonl", {"q": "Why?", "good": "a", "bad": "b", "n": 7})
    columns = Columns(prompt="q", answer="good", misaligned="bad")
    triple = Triple(id="sea-1", domain="sea", topic="sea", prompt="Why?", aligned="a", misaligned="b")
    assert read_triples(path, columns=columns).triples == (triple,)
    named = Columns(prompt="q", id="n", topic="good")
    assert read_prompts(path, columns=named).prompts == (Prompt(id="7", topic="a", prompt="Why?"),)


SECOND = PROMPT | {"id": "p-2"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "x"}, "key 'prompt' is missing; got 'id'"),
        (SECOND | {"prompt": "\t"}, "prompt: is blank"),
        (SECOND | {"prompt": None}, "prompt: None is null; allowed: text"),
        (SECOND | {"aligned": ""}, "aligned: is blank"),
        (SECOND | {"aligned": ["x"]}, "aligned: ['x'] is a list; allowed: text"),
        (SECOND | {"topic": " "}, "topic: is blank"),
        (SECOND | {"topic": 1}, "topic: 1 is a whole number; allowed: text"),
        (SECOND | {"id": 1.5}, "id: 1.5; allowed: text that is not blank, or a whole number"),
        (SECOND | {"id": " "}, "id: ' '; allowed: text that is not blank"),
        (PROMPT, "id 'p-1' is that of"),
        ({"promt": "x"}, "key 'prompt' is missing; got 'promt'; did you mean 'promt'?"),
    ],
)
def test_a_broken_prompt_is_refused_with_its_line_and_key(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"p\.jsonl:2: {re.escape(message)}"):
        read_prompts(jsonl(tmp_path / "p.jsonl", PROMPT, row))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            PROMPT | {"id": "2"},
            "key 'misaligned' is missing; got 'id', 'topic', 'prompt', 'aligned'; did you mean",
        ),
        ({"id": "2", "prompt": "x", "misaligned": "y"}, "key 'aligned' is missing"),
        (TRIPLE | {"id": "2", "aligned": None}, "aligned: None is null"),
        (TRIPLE | {"id": "2", "misaligned": " "}, "misaligned: is blank"),
        (
            TRIPLE | {"id": "2", "misaligned": "It is."},
            "triple '2': the aligned and the misaligned answer are the same",
        ),
        (TRIPLE | {"id": "2", "prompt": ""}, "prompt: is blank"),
        (TRIPLE | {"id": "2", "prompt": {}}, "prompt: {} is an object; allowed: text"),
        (TRIPLE | {"id": "2", "topic": None}, "topic: None is null"),
        (TRIPLE | {"id": "2", "domain": ""}, "domain: is blank"),
        (TRIPLE | {"id": [2]}, "id: [2]; allowed: text that is not blank, or a whole number"),
        (TRIPLE, "id 'p-1' is that of"),
    ],
)
def test_a_broken_triple_is_refused_with_its_line_and_key(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"p\.jsonl:2: {re.escape(message)}"):
        read_triples(jsonl(tmp_path / "p.jsonl", TRIPLE, row))


def test_a_key_that_the_caller_named_must_be_in_every_row(tmp_path):
    path = jsonl(tmp_path / "p.jsonl", {"q": "Why?"})
    for columns in (
        Columns(prompt="q", id="n"),
        Columns(prompt="q", topic="n"),
        Columns(prompt="q", answer="n"),
    ):
        with pytest.raises(ValueError, match=r"p\.jsonl:1: key 'n' is missing; got 'q'"):
            read_prompts(path, columns=columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "need the name of the prompt's column, or of the messages' column, one of them"),
        (
            {"prompt": "a", "messages": "b"},
            "need the name of the prompt's column, or of the messages' column",
        ),
        ({"messages": "a", "answer": "b"}, "messages make conversations; allowed beside them: id"),
        ({"messages": "a", "holds": "triples"}, "messages make conversations"),
        (
            {"prompt": "a", "misaligned": "b"},
            "a misaligned answer makes triples, for which it needs an answer too",
        ),
        (
            {"prompt": "a", "answer": "b", "misaligned": "c", "holds": "prompts"},
            "a misaligned answer makes triples",
        ),
        ({"prompt": "a", "answer": "b", "holds": "triples"}, "triples need prompt, answer and misaligned"),
        ({"prompt": "a", "holds": "conversations"}, "conversations need prompt and answer, or messages"),
        ({"prompt": "a", "holds": "poems"}, "holds='poems'; allowed: prompts, triples, conversations"),
    ],
)
def test_columns_of_which_no_record_can_be_made_are_refused(columns, message):
    with shapes_unchecked(), pytest.raises(ValueError, match=f"columns: {message}"):
        Columns(**columns)


def test_settings_that_do_not_exist_are_refused_by_name(tmp_path):
    with shapes_unchecked(), pytest.raises(ValueError, match="marks='strip': allowed: remove, keep"):
        read_gsm8k(tmp_path / "t.jsonl", marks="strip")
    with shapes_unchecked(), pytest.raises(ValueError, match="holds='all': allowed: triples, prompts"):
        read_truthfulqa(tmp_path / "t.csv", holds="all")
    assert PROMPTS.named() == ("prompt", "aligned", "topic", "id")
