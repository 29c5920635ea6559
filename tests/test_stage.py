"""Stage files: what is promised about torn lines, kills, full disks and syncing."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import pipeline.stage
from pipeline.disk import require_free
from pipeline.runs import RunFolder, read_facts
from pipeline.stage import read_rows

ROOT = Path(__file__).parents[1]


def opened(path):
    return RunFolder.open(path, verb="demo", config={}, seed=0)


# Torn and damaged files


@pytest.mark.parametrize("torn", [b'{"id": "b", "te', b'{"id": "b"}', b"\0\0\0\0", b'{"id": "\xc3'])
def test_a_torn_last_line_is_cut_on_reopening_and_left_out_by_readers(tmp_path, torn, caplog):
    with opened(tmp_path) as run:
        run.append("answers", {"id": "a"})
    path = tmp_path / "answers.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert read_rows(path) == [{"id": "a"}]
    with opened(tmp_path) as run:
        assert run.finished_ids("answers") == {"a"}
        assert path.read_bytes() == whole
        run.append("answers", {"id": "b"})
    assert f"cut {len(torn)} bytes of a torn last line" in caplog.text
    assert run.rows("answers") == [{"id": "a"}, {"id": "b"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{]\n", "2: not JSON"),
        (b'{"n": 1}\n', "2: a row needs an 'id'"),
        (b'{"id": "a"}\n', "2: id 'a' stands on line 1"),
    ],
)
def test_damage_that_no_kill_explains_is_an_error(tmp_path, line, message):
    with opened(tmp_path) as run:
        run.append("answers", {"id": "a"})
    with open(tmp_path / "answers.jsonl", "ab") as file:
        file.write(line)
    with opened(tmp_path) as run, pytest.raises(ValueError, match=rf"answers\.jsonl:{message}"):
        run.finished_ids("answers")


def test_a_file_changed_behind_the_runs_back_is_noticed(tmp_path):
    with opened(tmp_path) as run:
        run.append("answers", {"id": "a"})
        with open(tmp_path / "answers.jsonl", "ab") as file:
            file.write(b"{")
        with pytest.raises(OSError, match="has 13 bytes, expected 12: someone else changed it"):
            run.append("answers", {"id": "b"})


def test_files_left_half_written_by_a_kill_are_removed(tmp_path):
    (tmp_path / ".run.json.k3f.partial").write_text("{")
    with opened(tmp_path):
        assert os.listdir(tmp_path) == ["run.json"]


# Kills. Children are forked from a process that has imported everything, so that many kills take little time;
# each is killed when the file has grown by a random number of bytes, so also in the middle of a line.

KILLED_WRITER = """
import os, sys
from pipeline.runs import RunFolder

def write(folder):
    with RunFolder.open(folder, verb="demo", config={}, seed=0) as run:
        finished = run.finished_ids("answers")
        for i in range(20):
            if f"row-{i:02}" not in finished:
                run.append("answers", {"id": f"row-{i:02}", "text": chr(97 + i) * 200_000})

def size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0

path = f"{sys.argv[1]}/answers.jsonl"
for n_bytes in map(int, sys.argv[2:]):
    enough = size(path) + n_bytes
    child = os.fork()
    if child == 0:
        write(sys.argv[1])
        os._exit(0)
    while size(path) < enough and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        pass
    os.kill(child, 9)
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(path, "rb") as file:
        print(end, file.read().count(b"\\n"), flush=True)
"""


def killed(folder, growth):
    command = [sys.executable, "-c", KILLED_WRITER, str(folder), *map(str, growth)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()], done.stderr


def test_after_kills_at_random_moments_the_result_is_that_of_an_undisturbed_run(tmp_path):
    moments = random.Random(7)
    ends, log = killed(tmp_path / "run", [moments.randrange(1, 600_000) for _ in range(10)] + [10**9])
    assert any(end == -signal.SIGKILL and 0 < n_rows < 20 for end, n_rows in ends), (
        f"no kill in the middle: {ends}"
    )
    assert ends[-1] == (0, 20), log
    assert [n_rows for _, n_rows in ends] == sorted(n_rows for _, n_rows in ends), "a finished row was lost"
    undisturbed = (json.dumps({"id": f"row-{i:02}", "text": chr(97 + i) * 200_000}) for i in range(20))
    assert (tmp_path / "run" / "answers.jsonl").read_text().splitlines() == list(undisturbed)
    assert sorted(os.listdir(tmp_path / "run")) == ["answers.jsonl", "run.json"]
    assert read_facts(tmp_path / "run").status == "finished"


# Full disks


@contextmanager
def largest_file(n_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_row_that_fits_only_in_part_is_taken_back_and_the_run_goes_on(tmp_path):
    with opened(tmp_path) as run:
        run.append("answers", {"id": "a", "text": "x" * 1000})
        with (
            largest_file(1500),
            pytest.raises(OSError, match=r"size limit .*: 1\.0 kB to write, .* free") as full,
        ):
            run.append("answers", {"id": "b", "text": "y" * 1000})
        assert "the 1 rows before are safe; free some space and run the same again" in str(full.value)
        assert run.rows("answers") == [{"id": "a", "text": "x" * 1000}]
        run.append("answers", {"id": "b", "text": "y" * 1000})
    assert [row["id"] for row in run.rows("answers")] == ["a", "b"]


def test_a_result_that_does_not_fit_leaves_the_older_one(tmp_path):
    with opened(tmp_path) as run:
        run.write_json("summary.json", {"n": 1})
        with largest_file(1500), pytest.raises(OSError, match="the file is as it was before"):
            run.write_json("summary.json", {"text": "x" * 3000})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"n": 1}
    assert sorted(os.listdir(tmp_path)) == ["run.json", "summary.json"]


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_ends_the_run_with_its_cause_and_loses_nothing(small_disk):
    def fill():
        with opened(small_disk / "run") as run:
            run.require_free(200_000)
            for i in range(100):
                run.append("answers", {"id": str(i), "text": "x" * 7001})

    with pytest.raises(
        OSError, match=r"no space is left on the disk: .* to write, .* free; the \d+ rows"
    ) as full:
        fill()
    assert full.value.errno == errno.ENOSPC
    written = read_rows(small_disk / "run" / "answers.jsonl")
    assert len(written) > 20
    assert [row["id"] for row in written] == [str(i) for i in range(len(written))]
    assert read_facts(small_disk / "run").verb == "demo"
    with pytest.raises(OSError, match="1.0 MB are needed"):
        require_free(small_disk, 1_000_000)
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    with opened(small_disk / "run") as run:
        run.append("answers", {"id": str(len(written)), "text": "more"})
    assert len(run.rows("answers")) == len(written) + 1


# Syncing


def test_files_are_synced_at_most_so_often_and_at_the_end(tmp_path, monkeypatch):
    synced = []
    with opened(tmp_path) as run:
        run.append("answers", {"id": "a"})
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(time.monotonic()))
        run.append("answers", {"id": "b"})
        assert synced == []
        monkeypatch.setattr(pipeline.stage, "SYNC_SECONDS", 0.0)
        run.append("answers", {"id": "c"})
        assert len(synced) == 1
        run.sync()
        assert len(synced) == 2
        at_the_end = len(synced)
    assert len(synced) > at_the_end
