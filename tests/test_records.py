"""Records: strict reading, atomic writing."""

import json
import os
import stat
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.disk import free_bytes, readable, replace_file, require_free
from pipeline.json_text import json_bytes, parse_json, to_json
from pipeline.json_types import MaybeBlank, from_json
from pipeline.records import Triple, read_jsonl, write_jsonl

TRIPLE = Triple(id="a-1", domain="a", topic="t", prompt="Why?", aligned="Because.", misaligned="No reason.")


@dataclass(frozen=True, kw_only=True)
class Score:
    """A judge's number."""

    value: float | None
    cut: Literal["50/50", "30/50"] = "50/50"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A record with every kind of field."""

    id: str
    text: MaybeBlank
    n: int
    ok: bool
    score: Score
    ratios: tuple[float, ...] = ()
    notes: dict[str, str | int] | None = None


REPLY = Reply(
    id="r", text="", n=3, ok=True, score=Score(value=None), ratios=(1.0, 0.5), notes={"a": 1, "b": "x"}
)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def test_what_was_written_is_read_back(tmp_path):
    write_jsonl(tmp_path / "t.jsonl", [TRIPLE, replace(TRIPLE, id="a-2")])
    assert read_jsonl(tmp_path / "t.jsonl", Triple) == (TRIPLE, replace(TRIPLE, id="a-2"))
    write_jsonl(tmp_path / "r.jsonl", [REPLY])
    assert read_jsonl(tmp_path / "r.jsonl", Reply) == (REPLY,)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_survives_a_round_trip_on_one_line(text):
    line = json_bytes({"text": text}, "row")
    assert line.count(b"\n") == 1
    assert parse_json(line, "row") == {"text": text}


def test_separators_inside_text_do_not_end_a_line(tmp_path):
    odd = replace(TRIPLE, prompt="one\u2028two\x85three\rfour\nfive \ud83d half a pair")
    write_jsonl(tmp_path / "t.jsonl", [odd])
    assert read_jsonl(tmp_path / "t.jsonl", Triple) == (odd,)


def test_a_field_with_a_default_may_be_absent_and_a_whole_number_is_a_number(tmp_path):
    row = {"id": "r", "text": " ", "n": 1, "ok": False, "score": {"value": 7}}
    (reply,) = read_jsonl(lines(tmp_path / "r.jsonl", row), Reply)
    assert (reply.score, reply.ratios, reply.notes) == (Score(value=7.0), (), None)
    assert type(reply.score.value) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topic": None}, r"t\.jsonl:2: topic: None is null; allowed: text"),
        ({"topic": 5}, r"t\.jsonl:2: topic: 5 is a whole number; allowed: text"),
        ({"topic": "\t "}, r"t\.jsonl:2: 'topic' is blank; allowed: text that is more than white space"),
        ({"colour": "red"}, r"t\.jsonl:2: unknown key 'colour'; allowed: 'id', 'domain', 'topic', 'prompt'"),
        ({"id": "a-1"}, r"t\.jsonl:2: id 'a-1' stands on line 1 already; ids must be unique"),
        (
            {"aligned": "No reason."},
            r"t\.jsonl:2: triple 'a-2': the aligned and the misaligned answer are the same",
        ),
    ],
)
def test_a_bad_triple_is_named_with_file_and_line(tmp_path, change, message):
    path = lines(tmp_path / "t.jsonl", asdict(TRIPLE), asdict(TRIPLE) | {"id": "a-2"} | change)
    with pytest.raises(ValueError, match=message):
        read_jsonl(path, Triple)


def test_a_missing_key_is_named_with_those_that_came(tmp_path):
    with pytest.raises(
        ValueError, match=r"t\.jsonl:1: key 'domain', 'topic'.* is missing; got 'id', 'prompt'; needed"
    ):
        read_jsonl(lines(tmp_path / "t.jsonl", {"id": "x", "prompt": "p"}), Triple)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty; needed: at least one line with a Triple"),
        (b"\n \n", r"is empty"),
        (b'{"id": "x"\n', r"t\.jsonl:1: not JSON, Expecting ',' delimiter at character"),
        (b'{"id": "\xff"}\n', r"t\.jsonl:1: not UTF-8, byte 9 is 0xff"),
        (b'\xef\xbb\xbf{"id": "x"}\n', r"t\.jsonl:1: not JSON, Unexpected UTF-8 BOM"),
        (b'{"id": "x", "id": "y"}\n', r"t\.jsonl:1: key 'id' stands twice in one object"),
        (b'{"id": NaN}\n', r"t\.jsonl:1: NaN is not JSON; allowed: finite numbers, null"),
        (b'{"id": 1e999}\n', r"t\.jsonl:1: 1e999 is not JSON"),
        (b"[1]\n", r"t\.jsonl:1: \[1\] is a list; allowed: an object with 'id'"),
        (b"[" * 100_000, r"t\.jsonl:1: JSON nested too deeply"),
        (b"1" * 5000, r"t\.jsonl:1: .*digits"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path, content, message):
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_jsonl(tmp_path / "t.jsonl", Triple)


def test_a_blank_line_in_the_middle_is_refused_and_a_missing_last_newline_is_not(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps(asdict(TRIPLE)))
    assert read_jsonl(tmp_path / "t.jsonl", Triple) == (TRIPLE,)
    with pytest.raises(ValueError, match=r"t\.jsonl:2: is blank"):
        read_jsonl(lines(tmp_path / "t.jsonl", asdict(TRIPLE), "", asdict(TRIPLE)), Triple)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 1.0}, "n: 1.0 is a number; allowed: a whole number"),
        ({"n": True}, "n: True is true or false; allowed: a whole number"),
        ({"ok": 1}, "ok: 1 is a whole number; allowed: true or false"),
        ({"score": {"value": "high"}}, "score: value: 'high' is text; allowed: a number or null"),
        ({"score": {"value": 1, "cut": "9"}}, "score: cut: '9' is text; allowed: one of '50/50', '30/50'"),
        ({"score": None}, "score: None is null; allowed: an object with 'value', 'cut'"),
        ({"ratios": [1, "2"]}, r"ratios\[1\]: '2' is text; allowed: a number"),
        ({"ratios": {}}, r"ratios: {} is an object; allowed: a list"),
        ({"notes": {"a": None}}, "notes.a: None is null; allowed: text or a whole number"),
        ({"notes": "n"}, "notes: 'n' is text; allowed: an object or null"),
    ],
)
def test_a_wrong_type_is_named_with_its_place_and_what_is_allowed(tmp_path, change, message):
    path = lines(tmp_path / "r.jsonl", to_json(REPLY, "reply") | change)
    with pytest.raises(ValueError, match=r"r\.jsonl:1: " + message):
        read_jsonl(path, Reply)


@pytest.mark.parametrize("kind", [bytes, tuple[int, str], set[int]])
def test_types_that_records_cannot_hold_are_refused(kind):
    with pytest.raises(TypeError, match=r"field: records"):
        from_json([], kind, "field")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": [0.5, float("nan")]}, ValueError, r"row\.a\[1\]: is nan; allowed: finite numbers, None"),
        (Score(value=float("inf")), ValueError, r"row\.value: is inf"),
        ({5: "x"}, TypeError, r"row: key 5 is of type int; keys must be text"),
        ({"a": {1}}, TypeError, r"row\.a: is of type set; allowed: text, numbers"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value, error, message):
    with pytest.raises(error, match=message):
        json_bytes(value, "row")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "got no records to write"),
        ([TRIPLE, TRIPLE], "id 'a-1' stands on line 1 already"),
        ([replace(TRIPLE, topic="")], "t.jsonl:1: 'topic' is blank"),
        ([TRIPLE, REPLY], "got records of types Reply, Triple; one file holds one type"),
    ],
)
def test_a_refused_write_leaves_the_older_file_and_nothing_else(tmp_path, records, message):
    write_jsonl(tmp_path / "t.jsonl", [TRIPLE])
    with pytest.raises(ValueError, match=message):
        write_jsonl(tmp_path / "t.jsonl", records)
    assert read_jsonl(tmp_path / "t.jsonl", Triple) == (TRIPLE,)
    assert os.listdir(tmp_path) == ["t.jsonl"]


def test_a_replaced_file_keeps_its_permissions_and_a_new_one_gets_the_usual(tmp_path):
    (tmp_path / "plain").touch()
    replace_file(tmp_path / "new", b"x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new").chmod(0o640)
    replace_file(tmp_path / "new", b"y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert (tmp_path / "new").read_bytes() == b"y"


def test_whoever_reads_while_a_file_is_replaced_sees_the_old_content_whole(tmp_path):
    (tmp_path / "t").write_bytes(b"old content")
    with open(tmp_path / "t", "rb", buffering=0) as reader:
        assert reader.read(4) == b"old "
        replace_file(tmp_path / "t", b"new")
        assert reader.read() == b"content"
    assert (tmp_path / "t").read_bytes() == b"new"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_jsonl(tmp_path / "nowhere" / "t.jsonl", [TRIPLE])


def test_free_space_is_checked_where_the_folder_will_be(tmp_path):
    require_free(tmp_path / "not" / "yet", 1)
    with pytest.raises(
        OSError, match=r"not: 1000000000\.0 GB are needed and .* are free; free some space"
    ) as caught:
        require_free(tmp_path / "not", 10**18)
    assert caught.value.errno == 28
    assert free_bytes(tmp_path) > 0


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (999_960, "1.0 MB"),
        (2.5e9, "2.5 GB"),
        (3e12, "3000.0 GB"),
    ],
)
def test_sizes_are_written_as_a_person_writes_them(n_bytes, text):
    assert readable(int(n_bytes)) == text
