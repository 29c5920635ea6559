"""Importers of Parquet files and of Hugging Face data sets, in a folder or by name."""

import hashlib
import json
import shutil
import struct
import sys
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.importers import Columns, batches, read_dataset_folder, read_dataset_hub, read_parquet
from pipeline.records import Conversation, Message, Prompt, Triple
from tests.importer_files import ANSWER, USER, WRONG, read

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import datasets

QA = Columns(prompt="question", answer="best")
TABLE = {
    "question": ["Is the sea salty?", "Why?"],
    "best": ["It is.", "Because."],
    "n": [7, 8],
    "note": ["", None],
}


@pytest.fixture(scope="module", autouse=True)
def _no_bars():
    datasets.disable_progress_bars()


@pytest.fixture(params=["parquet", "folder"])
def saved(request, tmp_path):
    """A function that saves columns as a table of either sort and reads it, with options."""

    def save_and_read(columns, by, **options):
        if request.param == "parquet":
            pq.write_table(pa.table(columns), tmp_path / "sea.parquet", row_group_size=2)
            return read_parquet(tmp_path / "sea.parquet", by, **options)
        datasets.Dataset(pa.table(columns)).save_to_disk(tmp_path / "sea")
        return read_dataset_folder(tmp_path / "sea", by, **options)

    return save_and_read


def test_columns_become_prompts_with_answers_and_what_is_not_read_is_counted(saved):
    found = saved(TABLE, QA)
    assert found.prompts == (
        Prompt(id="sea-1", topic="sea", prompt="Is the sea salty?", aligned="It is."),
        Prompt(id="sea-2", topic="sea", prompt="Why?", aligned="Because."),
    )
    assert (found.n_rows, found.ignored) == (2, {"column 'n'": 2, "column 'note'": 2})


def test_columns_become_triples_with_ids_and_topics_of_their_own(saved):
    table = TABLE | {"worst": ["It is sweet.", "Never."], "topic": ["sea", "why"]}
    columns = Columns(prompt="question", answer="best", misaligned="worst", id="n", topic="topic")
    found = saved(table, columns, domain="water")
    answers = {"aligned": "Because.", "misaligned": "Never."}
    assert found.triples[1] == Triple(id="8", domain="water", topic="why", prompt="Why?", **answers)


def test_columns_become_conversations_from_texts_or_from_message_lists(saved):
    turns = tuple(Message(**message) for message in (USER, ANSWER))
    texts = saved(TABLE, Columns(prompt="question", answer="best", holds="conversations"))
    assert texts.conversations[0] == Conversation(id="sea-1", messages=turns)
    lists = saved({"chat": [[USER, ANSWER], [USER, WRONG]]}, Columns(messages="chat"))
    assert lists.conversations[0] == Conversation(id="sea-1", messages=turns)
    assert lists.conversations[1].messages[-1].content == "It is sweet."


def test_only_the_first_rows_are_read_if_a_limit_says_so(saved, monkeypatch):
    monkeypatch.setattr(batches, "MOST_ROWS", 4)
    table = {"question": [f"{i}?" for i in range(5)]}
    found = saved(table, Columns(prompt="question"), limit=3)
    assert [prompt.prompt for prompt in found.prompts] == ["0?", "1?", "2?"]
    assert (found.n_rows, found.ignored) == (3, {"rows beyond the limit": 2})
    with pytest.raises(ValueError, match="has 5 rows; set a limit to read the first ones, e.g. limit=10000"):
        saved(table, Columns(prompt="question"))
    with pytest.raises(ValueError, match="limit=0: allowed: whole numbers from 1 up"):
        saved(table, Columns(prompt="question"), limit=0)


@pytest.mark.parametrize(
    ("columns", "by", "message"),
    [
        ({"question": ["a", None]}, Columns(prompt="question"), r"row 2: question: None is null; allowed: text"),
        ({"question": ["a", " "]}, Columns(prompt="question"), r"row 2: question: is blank"),
        ({"question": [5]}, Columns(prompt="question"), r"row 1: question: 5 is a whole number; allowed: text"),
        ({"question": [b"a"]}, Columns(prompt="question"), r"row 1: question: b'a' is of type bytes; allowed: text"),
        ({"question": [["a"]]}, Columns(prompt="question"), r"row 1: question: \['a'\] is a list; allowed: text"),
        ({"question": []}, Columns(prompt="question"), r"sea.*: is empty; need at least one row"),
        (TABLE, Columns(prompt="Question"), r"sea.*: no column 'Question'; has 'question', 'best', 'n', 'note'; did"),
        (TABLE, Columns(prompt="question", answer="note"), r"row 1: note: is blank"),
        (TABLE | {"n": [7, 7]}, Columns(prompt="question", id="n"), r"row 2: id '7' is that of .*row 1 already; ids"),
        (TABLE | {"n": [7, None]}, Columns(prompt="question", id="n"), r"row 2: n: None; allowed: text that is not"),
        (TABLE, Columns(prompt="question", answer="best", misaligned="best"), r"row 1: triple 'sea-1': .* the same"),
        ({"chat": [[USER]]}, Columns(messages="chat"), r"row 1: chat: the last message is the user's; need the"),
        ({"chat": [[]]}, Columns(messages="chat"), r"row 1: chat: is an empty list"),
        ({"chat": ["hi"]}, Columns(messages="chat"), r"row 1: chat: 'hi' is not a list; need a list of"),
        ({"chat": [None, [USER]]}, Columns(messages="chat"), r"row 1: chat: None is not a list"),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_with_its_row_and_column(saved, columns, by, message):
    with pytest.raises(ValueError, match=message):
        saved(columns, by)


def test_text_that_is_not_utf8_is_refused_with_its_rows(tmp_path):
    bad = pa.array([b"fine", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"question": bad}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet: rows 1 to 2: .*(damaged|UTF-8|UTF8)"):
        read_parquet(tmp_path / "t.parquet", Columns(prompt="question"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "is no whole Parquet file: Parquet file size is 0 bytes"),
        (lambda data: data[: len(data) // 2], "is no whole Parquet file: Parquet magic bytes not found"),
        (lambda data: b"question,best\n1,2\n", "is no whole Parquet file: Parquet magic bytes not found"),
        (
            lambda data: data[:-40] + b"\xff" * 30 + data[-10:],
            "is no whole Parquet file: Couldn't deserialize thrift",
        ),
        (lambda data: data[:4] + b"\xff" * 60 + data[64:], r"is damaged: "),
        (lambda data: data[-8:], "is no whole Parquet file: "),
    ],
)
def test_a_damaged_parquet_file_is_refused_with_its_name(tmp_path, damage, message):
    pq.write_table(pa.table({"question": [f"word {i}" for i in range(50)]}), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(damage((tmp_path / "t.parquet").read_bytes()))
    with pytest.raises(ValueError, match=rf"t\.parquet: {message}"):
        read_parquet(tmp_path / "t.parquet", Columns(prompt="question"))


def test_a_split_is_chosen_and_the_facts_name_and_hash_its_arrow_files(tmp_path):
    whole = datasets.Dataset.from_dict(TABLE)
    datasets.DatasetDict({"train": whole, "test": whole.select([1])}).save_to_disk(
        tmp_path / "d", num_shards={"train": 2, "test": 1}
    )
    found = read_dataset_folder(tmp_path / "d", QA, split="train")
    assert [prompt.id for prompt in found.prompts] == ["d-1", "d-2"]
    shards = sorted((tmp_path / "d" / "train").glob("*.arrow"))
    assert len(shards) == 2
    expected = [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in shards]
    assert [(file.name, file.sha256) for file in found.files] == expected
    assert [row.prompt for row in read_dataset_folder(tmp_path / "d", QA, split="test").prompts] == ["Why?"]
    for split, message in ((None, "$"), ("tets", r"; got 'tets'; did you mean 'test'\?$")):
        with pytest.raises(
            ValueError, match=rf"d: has the splits 'train', 'test'; say which, e.g. split=train{message}"
        ):
            read_dataset_folder(tmp_path / "d", QA, split=split)


def test_many_rows_come_in_order_across_batches_and_files(tmp_path):
    texts = [f"question {i}" for i in range(2_321)]
    datasets.Dataset.from_dict({"question": texts}).save_to_disk(tmp_path / "d", num_shards=3)
    pq.write_table(pa.table({"question": texts}), tmp_path / "d.parquet", row_group_size=700)
    columns = Columns(prompt="question")
    folder, file = read_dataset_folder(tmp_path / "d", columns), read_parquet(tmp_path / "d.parquet", columns)
    assert [row.prompt for row in folder.prompts] == texts
    assert folder.prompts == file.prompts


def state(folder, **changes):
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def shard(folder):
    return next(folder.glob("*.arrow"))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda d: shutil.rmtree(d), NotADirectoryError, "d: is no folder; need one that save_to_disk wrote"),
        (lambda d: (d / "state.json").unlink(), ValueError, "d: holds .* and no state.json; need a folder that save"),
        (lambda d: (d / "state.json").write_text("{"), ValueError, "state.json: not JSON, Expecting property name"),
        (lambda d: (d / "state.json").write_text("[]"), ValueError, r"state.json: \[\] is not an object"),
        (lambda d: state(d, _data_files=[]), ValueError, r"d: is empty; need at least one row"),
        (lambda d: state(d, _data_files={}), ValueError, r"state.json: _data_files: {} is an object; allowed: a list"),
        (lambda d: state(d, _data_files=[{"x": 1}]), ValueError, r"state.json: _data_files: filename: None is null"),
        (lambda d: state(d, _data_files=[{"filename": "../x.arrow"}]), ValueError, r"names '../x.arrow'; allowed: p"),
        (lambda d: state(d, _data_files=[{"filename": "/etc/x"}]), ValueError, r"names '/etc/x'; allowed: plain names"),
        (lambda d: state(d, _data_files=[{"filename": "a.arrow"}]), FileNotFoundError, "a.arrow: there is no such f"),
        (lambda d: state(d, _indices_data_files=[{}]), ValueError, "has indices beside the data, as older versions"),
        (lambda d: shard(d).write_bytes(b""), ValueError, r"\.arrow: is (no whole Arrow stream|damaged): "),
        (lambda d: shard(d).write_bytes(b"PK\x03\x04" * 99), ValueError, r"\.arrow: is (no whole Arrow|damaged)"),
        (lambda d: shard(d).write_bytes(shard(d).read_bytes()[:400]), ValueError, r"\.arrow: is (no whole|damaged)"),
        (lambda d: (d / "dataset_dict.json").write_text('{"splits": 5}'), ValueError, "splits: 5 is a whole"),
        (lambda d: (d / "dataset_dict.json").write_text('{"splits": []}'), ValueError, "d: has the splits nothing"),
        (lambda d: (d / "dataset_dict.json").write_text('{"splits": [".."]}'), ValueError, r"names '\.\.'; allowed:"),
        (lambda d: (d / "dataset_dict.json").write_text('{"splits": ["x"]}'), FileNotFoundError, "state.json: there"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_refused_with_the_file(tmp_path, damage, error, message):
    datasets.Dataset.from_dict(TABLE).save_to_disk(tmp_path / "d")
    damage(tmp_path / "d")
    split = {'{"splits": [".."]}': "..", '{"splits": ["x"]}': "x"}
    asked = (
        (tmp_path / "d" / "dataset_dict.json").read_text()
        if (tmp_path / "d" / "dataset_dict.json").exists()
        else ""
    )
    with pytest.raises(error, match=message):
        read_dataset_folder(tmp_path / "d", QA, split=split.get(asked))


@pytest.mark.parametrize("which", [1, 2, 3])
@pytest.mark.parametrize("value", [2**30, -5])
def test_an_arrow_file_whose_offsets_point_outside_does_not_end_the_process(tmp_path, which, value):
    datasets.Dataset.from_dict({"question": ["abc", "defg", "h"]}).save_to_disk(tmp_path / "d")
    path = shard(tmp_path / "d")
    offsets = [0, 3, 7, 8]
    good = struct.pack("<4i", *offsets)
    offsets[which] = value
    assert path.read_bytes().count(good) == 1
    path.write_bytes(path.read_bytes().replace(good, struct.pack("<4i", *offsets)))
    with pytest.raises(ValueError, match=r"d: rows 1 to 3: are damaged: "):
        read_dataset_folder(tmp_path / "d", Columns(prompt="question"))


def test_nothing_pickled_is_read(tmp_path):
    datasets.Dataset.from_dict(TABLE).save_to_disk(tmp_path / "d")
    before = set(sys.modules)
    read_dataset_folder(tmp_path / "d", QA)
    assert not {"dill", "pickle5"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gsm8k", "data set 'gsm8k': is no folder here; a name on the hub has the form OWNER/NAME"),
        ("pandas", "is no folder here"),
        ("../x/y", "is no folder here"),
        ("https://x.org/a", "is no folder here"),
        ("a/b/c", "is no folder here"),
    ],
)
def test_only_an_owner_and_a_name_are_asked_of_the_hub(name, message):
    with pytest.raises(ValueError, match=message):
        read_dataset_hub(name, QA, split="train")


def test_without_a_network_a_name_is_refused_with_what_works_instead():
    with pytest.raises(
        LookupError, match="data set 'a/b' could not be read from the hub: .*offline.*save_to_disk"
    ):
        read_dataset_hub("a/b", QA, split="train")


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("pyarrow.parquet", lambda path: read_parquet(path, QA)),
        ("pyarrow", lambda path: read_dataset_folder(path.parent / "d", QA)),
        ("datasets", lambda path: read_dataset_hub("a/b", QA, split="train")),
    ],
)
def test_without_the_package_the_extra_to_install_is_named(tmp_path, monkeypatch, package, call):
    pq.write_table(pa.table(TABLE), tmp_path / "t.parquet")
    datasets.Dataset.from_dict(TABLE).save_to_disk(tmp_path / "d")
    monkeypatch.setitem(sys.modules, package, None)
    named = package.partition(".")[0]
    with pytest.raises(
        LookupError, match=rf"needs the package {named}, .*pip install 'misdirection\[data\]'"
    ):
        call(tmp_path / "t.parquet")


def test_a_table_without_named_columns_tells_which_it_has(tmp_path):
    pq.write_table(pa.table(TABLE), tmp_path / "t.parquet")
    datasets.Dataset.from_dict(TABLE).save_to_disk(tmp_path / "d")
    for kind, name in (("parquet", "t.parquet"), ("dataset", "d")):
        with pytest.raises(
            ValueError, match=r"say which columns are what, e\.g\. .*; it has 'question', 'best', 'n'"
        ):
            read(kind, tmp_path / name)
