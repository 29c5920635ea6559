"""Data sets by name, from a real server on loopback; one child process asks for all of them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_on_loopback import COMMIT, hub
from tests.importer_files import CHAT, PROBLEM

LINES = "".join(json.dumps({**PROBLEM, "n": i}) + "\n" for i in range(3)).encode()
CHATS = "".join(json.dumps(row) + "\n" for row in (CHAT, CHAT | {"messages": []})).encode()
SCRIPT = b"import pathlib; pathlib.Path('ran').write_text('yes')\n"
TABLES = {
    "owner/problems": {"README.md": b"---\nlicense: mit\n---\n", "train.jsonl": LINES},
    "owner/chats": {"train.jsonl": CHATS},
    "owner/script": {"script.py": SCRIPT, "train.jsonl": LINES},
}
SOURCES = {
    "whole": "dataset:owner/problems?split=train&prompt=question&answer=answer&id=n",
    "limited": "dataset:owner/problems?split=train&prompt=question&limit=2",
    "no column": "dataset:owner/problems?split=train&prompt=Question",
    "no split": "dataset:owner/problems?split=test&prompt=question",
    "bad row": "dataset:owner/chats?split=train&messages=messages",
    "script": "dataset:owner/script?split=train&prompt=question",
    "nowhere": "dataset:owner/nothing?split=train&prompt=question",
}
PROGRAM = """
import json, sys
from pipeline.importers import read_source
told = {}
for name, source in json.loads(sys.argv[1]).items():
    try:
        found = read_source(source)
        told[name] = [found.facts(), [prompt.id for prompt in found.prompts]]
    except (ValueError, LookupError) as error:
        told[name] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the child was told of each source, and the folder in which it ran."""
    folder = tmp_path_factory.mktemp("hub")
    with hub(TABLES) as address:
        own = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "home")}
        own |= {"PYTHONPATH": str(Path(__file__).parents[1]), "NO_PROXY": "127.0.0.1"}
        child = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(SOURCES)],
            env=os.environ | own,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout) | {"folder": folder}


def test_a_data_set_is_read_by_name_with_the_commit_and_a_hash_of_its_rows(told):
    facts, ids = told["whole"]
    rows = [{"question": PROBLEM["question"], "answer": PROBLEM["answer"], "n": i} for i in range(3)]
    digest = hashlib.sha256("".join(json.dumps(row) + "\n" for row in rows).encode()).hexdigest()
    assert facts["files"] == [{"name": f"owner/problems/train@{COMMIT}", "sha256": digest}]
    assert (facts["holds"], facts["n_rows"], facts["ignored"], ids) == ("prompts", 3, {}, ["0", "1", "2"])


def test_a_limit_ends_the_stream_and_stands_in_the_facts(told):
    facts, ids = told["limited"]
    assert facts["files"][0]["name"] == f"owner/problems/train[:2]@{COMMIT}"
    assert (facts["n_rows"], ids) == (2, ["problems-1", "problems-2"])
    assert facts["ignored"] == {"column 'answer'": 2, "column 'n'": 2}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no column", "ValueError: owner/problems, split train: no column 'Question'; has 'question', 'answer', 'n'"),
        ("no split", "LookupError: data set 'owner/problems' could not be read from the hub: Bad split: test"),
        ("bad row", "ValueError: owner/chats: row 2: messages: is an empty list; need at least one message"),
        ("script", "LookupError: data set 'owner/script' could not be read from the hub: Dataset scripts are"),
        ("nowhere", "LookupError: data set 'owner/nothing' could not be read from the hub: Client error '404"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_by_name_is_said_in_words(told, name, message):
    assert told[name].startswith(message)


def test_a_name_that_is_not_found_comes_with_what_to_look_at(told):
    assert "is there a network, is the name right, and is HF_TOKEN set" in told["nowhere"]


def test_no_script_of_a_data_set_runs_and_no_rows_are_kept_on_disk(told):
    assert not (told["folder"] / "ran").exists()
    kept = [path for path in (told["folder"] / "home").rglob("*") if path.is_file()]
    assert not [path for path in kept if PROBLEM["question"].encode() in path.read_bytes()]
