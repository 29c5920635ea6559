"""One way to read any source, and what holds for all files of rows."""

import gzip
import hashlib
import json
import re
import time
import tracemalloc
from contextlib import contextmanager

import pytest

from pipeline.importers import Imported, kinds_told, read_chats, read_source
from pipeline.importers.imported import FileFacts
from pipeline.importers.kinds import KINDS
from pipeline.importers.read import SOURCES
from pipeline.importers.source_file import MAX_LINE_BYTES, on_disk
from pipeline.json_text import json_bytes, parse_json
from tests.importer_files import (
    CHAT,
    PROBLEM,
    PROMPT,
    QUESTION,
    ROWS,
    TRIPLE,
    Lock,
    csv_file,
    jsonl,
    read,
    zip_bytes,
)
from tests.planted import shapes_unchecked

DAMAGES = {
    "empty": (lambda line: b"", r": is empty; need at least one row"),
    "blank": (lambda line: b"\n \n", r": is empty; need at least one row"),
    "not UTF-8": (lambda line: line + b'{"a": "\xe9"}\n', r":2: not UTF-8, byte 8 of the line is 0xe9; save the fil"),
    "cut off": (lambda line: line + line[: len(line) // 2], r":2: not JSON, .* at character .*; the line begins"),
    "words": (lambda line: line + b"and so on\n", r":2: not JSON, Expecting value at character 1; the line begins '"),
    "a list": (lambda line: b"[" + line.strip() + b"]", r":1: \[.* is not an object; need JSONL: one object"),
    "spread over lines": (lambda line: json.dumps(json.loads(line), indent=1).encode(), r":1: not JSON, .*need JSON"),
    "a list over lines": (lambda line: b"[\n" + line + b"]", r":1: not JSON, .*need JSONL: one object"),
    "a number": (lambda line: line + b"5\n", r":2: 5 is not an object; need JSONL"),
    "null": (lambda line: line + b"null\n", r":2: None is not an object"),
    "an empty object": (lambda line: line + b"{}\n", r":2: .*(missing|need).*nothing|:2: got nothing; need"),
    "a key twice": (lambda line: line + b'{"id": "x", "id": "y"}', r":2: key 'id' stands twice in one object"),
    "NaN": (lambda line: line + b'{"id": NaN}', r":2: NaN is not JSON; allowed: finite numbers"),
    "two objects on a line": (lambda line: line.strip() + line, r":1: not JSON, Extra data at character"),
    "nested without end": (lambda line: line + b'{"a":' * 99_999, r":2: JSON nested too deeply"),
    "a web page": (lambda line: b"<!DOCTYPE html>\n" + line, r":1: not JSON, .*need JSONL: one object"),
    "gzip": (gzip.compress, r": is a gzip file; unpack it first"),
    "zip": (lambda line: zip_bytes(("x", line)), r": is a zip file; unpack it first"),
    "Parquet": (lambda line: b"PAR1" + line, r": is a Parquet file; read it as parquet:FILE"),
    "age": (lambda line: b"age-encryption.org/v1\n" + line, r": is encrypted with age; read it as age:FILE"),
    "UTF-16": (lambda line: line.decode().encode("utf-16"), r": is UTF-16; save it as UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_file_of_rows_is_refused_whatever_its_kind(tmp_path, kind, what):
    damage, message = DAMAGES[what]
    line = json_bytes({**ROWS[kind], "id": "first"}, "row")
    path = tmp_path / "t.jsonl"
    path.write_bytes(damage(line))
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}(?:{message})"):
        read(kind, path)


@pytest.mark.parametrize("kind", ROWS)
def test_a_good_file_of_every_kind_is_read_with_its_hash_and_facts(tmp_path, kind):
    path = jsonl(tmp_path / "t.jsonl", ROWS[kind] | {"extra": 1})
    found = read(kind, path)
    assert (found.kind, found.n_rows, len(found.records)) == (kind, 1, 1)
    assert found.files == (FileFacts(name=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest()),)
    assert found.ignored == {"key 'extra'": 1}
    facts = parse_json(json_bytes(found.facts(), "facts"), "facts")
    assert facts == {
        "kind": kind,
        "files": [{"name": str(path), "sha256": found.files[0].sha256}],
        "n_rows": 1,
        "holds": found.holds,
        "n_records": 1,
        "ignored": {"key 'extra'": 1},
    }


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("truthfulqa:{0}/q.csv", "triples"),
        ("truthfulqa:{0}/q.csv?as=prompts", "prompts"),
        ("gsm8k:{0}/g.jsonl?marks=keep", "prompts"),
        ("prompts:{0}/g.jsonl?prompt=question&answer=answer", "prompts"),
        ("triples:{0}/other%20name.jsonl?misaligned=not%20good&answer=good", "triples"),
    ],
)
def test_options_say_how_a_source_is_read(tmp_path, source, holds):
    csv_file(tmp_path / "q.csv", QUESTION)
    jsonl(tmp_path / "g.jsonl", PROBLEM)
    jsonl(tmp_path / "other%20name.jsonl", {"prompt": "x", "good": "a", "not good": "b"})
    found = read_source(source.format(tmp_path), domain="sea")
    assert found.holds == holds
    assert all(triple.domain == "sea" for triple in found.triples)
    assert not found.ignored


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("train.jsonl", "source 'train.jsonl': need KIND:FILE; kinds: chats:train.jsonl, completions:train.jsonl, p"),
        ("", "source '': need KIND:FILE; kinds: chats"),
        ("gsm8:t.jsonl", "'gsm8' is no kind; did you mean 'gsm8k'?; kinds: chats:train.jsonl"),
        ("C:t.jsonl", "'C' is no kind; kinds: chats"),
        ("chats:", "names no file; e.g. chats:train.jsonl"),
        ("chats: ?x=1", "names no file"),
        ("chats:t.jsonl?limit=5", "chats: unknown option 'limit'; allowed: nothing"),
        ("gsm8k:t.jsonl?mark=keep", "gsm8k: unknown option 'mark'; allowed: 'marks'; did you mean 'marks'?"),
        ("gsm8k:t.jsonl?marks=strip", "marks='strip': allowed: remove, keep"),
        ("gsm8k:t.jsonl?marks=", "option 'marks' has no value"),
        ("gsm8k:t.jsonl?marks", "options have the form ?name=value&name=value"),
        ("gsm8k:t.jsonl?marks=keep&marks=keep", "an option is given twice"),
        ("truthfulqa:t.csv?as=poems", "holds='poems': allowed: triples, prompts"),
        ("pairs:t.jsonl", "need two files, pairs:ALIGNED.jsonl,MISALIGNED.jsonl"),
        ("pairs:a,b,c", "need two files"),
        ("pairs:a,", "need two files"),
        ("parquet:t.parquet?limit=many&prompt=a", "limit=many: allowed: whole numbers from 1 up"),
        ("dataset:a/b?prompt=x", "a/b: is no folder here; a data set of the hub needs a split, e.g. split=train"),
        ("dataset:/tmp?prompt=x&config=y", "/tmp: is a folder here; option 'config' is for the hub"),
        ("dataset:a/b?split=x", "a/b: say which columns are what, e.g. ?prompt=COLUMN&answer=COLUMN or ?messages=CO"),
        ("age:t.age", "age: option kind says what the file in the archive is; it is missing; allowed: 'chats'"),
        ("age:t.age?kind=dataset", "option kind says what the file in the archive is; got 'dataset'; allowed: 'chats'"),
        ("age:t.age?kind=gsm8k&as=x", "age with kind=gsm8k: unknown option 'as'; allowed: 'marks'"),
        ("age:t.jsonl?kind=chats", "t.jsonl: is not encrypted with age, it begins"),
        ("age:t.age?kind=chats", "t.age: needs a passphrase; put it into a file, add passphrase_file=FILE"),
        ("age:t.jsonl?kind=chats&passphrase_file=t.jsonl", "t.jsonl: is not encrypted with age, it begins b'{"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_is_refused_with_what_is_allowed(tmp_path, monkeypatch, source, message):
    jsonl(tmp_path / "t.jsonl", CHAT)
    csv_file(tmp_path / "t.csv", QUESTION)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    Lock().locked(tmp_path / "t.age", zip_bytes(("t.jsonl", "{}")))
    monkeypatch.chdir(tmp_path)
    with shapes_unchecked(), pytest.raises(ValueError, match=re.escape(message)):
        read_source(source)


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind not in ("pairs", "age", "dataset")])
def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path, kind):
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl: there is no such file"):
        read(kind, tmp_path / "missing.jsonl", "?prompt=x" if kind == "parquet" else "")
    with pytest.raises(IsADirectoryError, match=r": is a folder, need a file"):
        read(kind, tmp_path, "?prompt=x" if kind == "parquet" else "")


def test_every_kind_is_told_with_an_example_that_has_its_name():
    told = kinds_told().splitlines()
    assert [line.partition(":")[0] for line in told] == list(SOURCES)
    assert all(line.startswith(SOURCES[line.partition(":")[0]].example + " ") for line in told)


def test_every_option_of_an_example_is_one_that_its_kind_takes():
    for name, kind in KINDS.items():
        named = re.findall(r"[?&](\w+)=", kind.example)
        assert set(named) <= set(kind.options), name


def test_a_file_from_a_home_folder_is_found(tmp_path, monkeypatch):
    jsonl(tmp_path / "t.jsonl", CHAT)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_source("chats:~/t.jsonl").files[0].name == "~/t.jsonl"


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path):
    with open(tmp_path / "t.jsonl", "wb") as file:
        file.truncate(20 * MAX_LINE_BYTES)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"t\.jsonl:1: the line is longer than 32 MiB; need one row on each line"
    ):
        read_chats(tmp_path / "t.jsonl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MAX_LINE_BYTES


def test_a_large_file_takes_no_memory_for_what_nobody_reads(tmp_path):
    path = jsonl(tmp_path / "t.jsonl", *({**PROMPT, "id": i, "log": "x" * 100_000} for i in range(60)))
    tracemalloc.start()
    found = read("prompts", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.n_rows == 60
    assert peak < path.stat().st_size / 8


def test_a_hundred_thousand_keys_that_nobody_reads_are_not_listed_one_by_one(tmp_path):
    path = jsonl(tmp_path / "t.jsonl", *({**PROMPT, "id": i, f"key{i}": 1} for i in range(1_000)))
    found = read("prompts", path)
    assert len(found.ignored) == 51
    assert found.ignored["further keys"] == 950


def test_progress_counts_all_bytes(tmp_path):
    path = jsonl(tmp_path / "t.jsonl", *({**TRIPLE, "id": i, "log": "x" * 90_000} for i in range(30)))
    seen = []

    @contextmanager
    def progress(task, total):
        seen.append((task, total))
        yield seen.append

    read_source(f"triples:{path}", progress=progress)
    assert seen[0] == ("read t.jsonl", path.stat().st_size)
    assert sum(seen[1:]) == path.stat().st_size
    assert len(seen) > 2


def test_a_source_with_nothing_in_it_cannot_be_made():
    with pytest.raises(ValueError, match="x: a source holds prompts, triples or conversations, one of these"):
        Imported(kind="chats", files=(FileFacts(name="x", sha256=""),), n_rows=1)


def test_a_secret_given_in_python_is_used_if_the_text_names_no_file(tmp_path):
    lock = Lock()
    packed = lock.locked(tmp_path / "d.age", zip_bytes(("t.jsonl", json.dumps(PROBLEM))))
    found = read_source(f"age:{packed}?kind=gsm8k&marks=keep", secret=lock)
    assert "<<48/2=24>>" in found.prompts[0].aligned
    assert on_disk(packed).name in found.names


@pytest.mark.parametrize("same", [False, True])
def test_eight_times_the_rows_take_about_eight_times_the_work(tmp_path, same):
    def seconds(n):
        good = jsonl(tmp_path / "good.jsonl", *(chat("Q?" if same else f"{i}?", f"a{i}") for i in range(n)))
        bad = jsonl(tmp_path / "bad.jsonl", *(chat("Q?" if same else f"{i}?", f"b{i}") for i in range(n)))
        began = time.process_time()
        assert len(read_source(f"pairs:{good},{bad}").triples) == n
        return time.process_time() - began

    seconds(20)
    assert seconds(800) < 24 * seconds(100)  # squared work would take 64 times as long


def chat(prompt, answer):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
