"""Run folders: what is promised about kills, full disks, reopening and facts."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from pipeline.provenance import current_facts, differences, git_state
from pipeline.runs import RunFolder, read_facts
from pipeline.stage import read_rows

CONFIG = {"layer": 5, "sweep": {"coefficients": (1.0, 2.0)}, "quiet": False}
ROOT = Path(__file__).parents[1]


def opened(path, **changes):
    return RunFolder.open(path, **{"verb": "demo", "config": CONFIG, "seed": 0} | changes)


def test_a_run_that_ends_well_holds_its_rows_results_and_facts(tmp_path):
    with opened(tmp_path / "run") as run:
        assert read_facts(run.path).status == "running"
        run.append("answers", {"id": "a", "text": "é\u2028"})
        run.append("answers", {"id": "b", "score": None})
        run.write_json("summary.json", {"n": 2})
    assert run.rows("answers") == [{"id": "a", "text": "é\u2028"}, {"id": "b", "score": None}]
    facts = read_facts(tmp_path / "run")
    assert (facts.verb, facts.seed, facts.status, facts.error, facts.resumed) == (
        "demo",
        0,
        "finished",
        None,
        (),
    )
    assert facts.config == {"layer": 5, "sweep": {"coefficients": [1.0, 2.0]}, "quiet": False}
    assert facts.versions["torch"]
    assert facts.started <= facts.ended
    assert facts.started.endswith("+00:00")
    assert sorted(os.listdir(run.path)) == ["answers.jsonl", "run.json", "summary.json"]


@pytest.mark.parametrize(("error", "status"), [(KeyError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_how_a_run_ended_is_written_and_the_error_passes_through(tmp_path, error, status):
    def fail():
        with opened(tmp_path) as run:
            run.append("answers", {"id": "a"})
            raise error("secret")

    with pytest.raises(error):
        fail()
    facts = read_facts(tmp_path)
    assert (facts.status, facts.error) == (status, error.__name__)
    assert "secret" not in (tmp_path / "run.json").read_text()
    assert read_rows(tmp_path / "answers.jsonl") == [{"id": "a"}]


def test_reopening_knows_what_is_finished_and_appends_behind_it(tmp_path):
    with opened(tmp_path) as run:
        assert run.finished_ids("answers") == frozenset()
        assert run.rows("answers") == []
        run.append("answers", {"id": "a"})
    with opened(tmp_path) as run:
        assert run.finished_ids("answers") == {"a"}
        run.append("answers", {"id": "b"})
        assert run.finished_ids("answers") == {"a", "b"}
    assert [row["id"] for row in run.rows("answers")] == ["a", "b"]
    facts = read_facts(tmp_path)
    assert facts.status == "finished"
    assert [resumption.changed for resumption in facts.resumed] == [()]


def test_reopening_with_other_settings_is_refused_and_says_which(tmp_path):
    with opened(tmp_path):
        pass
    before = (tmp_path / "run.json").read_bytes()
    other = {"layer": 6, "sweep": {"coefficients": [1.0]}, "n": 3, "quiet": True}
    with (
        pytest.raises(ValueError, match="was made with other settings") as refused,
        opened(tmp_path, config=other, seed=1, may_differ=["quiet"]),
    ):
        pytest.fail("the block must not run")
    assert "seed: 0 there, 1 now; layer: 5 there, 6 now" in str(refused.value)
    assert "sweep.coefficients: [1.0, 2.0] there, [1.0] now; n: None there, 3 now." in str(refused.value)
    assert "quiet" not in str(refused.value)
    assert (tmp_path / "run.json").read_bytes() == before


def test_reopening_with_other_packages_is_noted(tmp_path):
    with opened(tmp_path):
        pass
    facts = json.loads((tmp_path / "run.json").read_text())
    facts["versions"]["torch"] = "1.0"
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with opened(tmp_path) as run:
        (change,) = run.facts.resumed[0].changed
    assert change.startswith("versions.torch: '1.0' -> '")


def test_true_and_1_are_different_settings():
    assert differences({"a": 1, "b": {"c": 0}}, {"a": True, "b": {"c": 0}}) == [("a", 1, True)]


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"holds \['thesis.tex'\] and no run.json"), opened(tmp_path):
        pytest.fail("the block must not run")
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_damaged_run_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"format": "other/1"}')
    with pytest.raises(ValueError, match=r"run\.json: key 'verb', .* is missing"):
        read_facts(tmp_path)


def test_only_one_process_writes_at_a_time(tmp_path):
    with (
        opened(tmp_path),
        pytest.raises(BlockingIOError, match="another process is writing"),
        opened(tmp_path),
    ):
        pytest.fail("the block must not run")
    with opened(tmp_path):
        pass


def test_threads_share_a_run(tmp_path):
    with opened(tmp_path) as run:

        def write(worker):
            for i in range(50):
                run.append("answers", {"id": f"{worker}-{i}", "text": "x" * 3000})

        workers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(run.rows("answers")) == 200


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"text": "x"}, ValueError, r"answers\.jsonl: a row needs an 'id' that is text and not blank"),
        ({"id": " "}, ValueError, r"a row needs an 'id'"),
        (["id"], ValueError, r"a row needs an 'id'"),
        ({"id": "a"}, ValueError, r"answers\.jsonl: row 'a': is written already; rows are appended once"),
        (
            {"id": "b", "x": float("nan")},
            ValueError,
            r"answers\.jsonl: row\.x: is nan; allowed: finite numbers",
        ),
        ({"id": "b", "x": object()}, TypeError, r"answers\.jsonl: row\.x: is of type object"),
    ],
)
def test_a_refused_row_leaves_the_stage_as_it_was(tmp_path, row, error, message):
    with opened(tmp_path) as run:
        run.append("answers", {"id": "a"})
        with pytest.raises(error, match=message):
            run.append("answers", row)
    assert run.rows("answers") == [{"id": "a"}]


@pytest.mark.parametrize("name", ["../x", "Answers", "", "a.b", "a/b"])
def test_a_stage_name_is_no_path(tmp_path, name):
    with opened(tmp_path) as run, pytest.raises(ValueError, match="allowed are small letters, digits and _"):
        run.append(name, {"id": "a"})


@pytest.mark.parametrize("name", ["run.json", "../x.json", "x.txt", ".json", "a/b.json"])
def test_a_result_has_a_plain_name_and_is_not_the_facts(tmp_path, name):
    with (
        opened(tmp_path) as run,
        pytest.raises(ValueError, match=r"allowed are letters, digits, _ and -, then"),
    ):
        run.write_json(name, {})


def test_nan_in_a_result_is_refused_and_the_older_result_stays(tmp_path):
    with opened(tmp_path) as run:
        run.write_json("summary.json", {"mean": 1.0})
        with pytest.raises(ValueError, match=r"summary\.json\.mean: is nan"):
            run.write_json("summary.json", {"mean": float("nan")})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"mean": 1.0}


def test_nothing_is_written_after_the_end(tmp_path):
    with opened(tmp_path) as run:
        run.append("answers", {"id": "a"})
    with pytest.raises(ValueError, match="the run has ended"):
        run.append("answers", {"id": "b"})
    with pytest.raises(ValueError, match="the run has ended"):
        run.write_json("summary.json", {})


# Facts


def git(folder, *arguments):
    names = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=os.environ | names | quiet, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_commit_and_changes_of_the_working_folder_are_noted(tmp_path, monkeypatch):
    assert git_state(tmp_path) == (None, None)
    git(tmp_path, "init")
    assert git_state(tmp_path) == (None, None)
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit, dirty = git_state(tmp_path)
    assert (len(commit), dirty) == (40, False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    assert current_facts("demo", {}, None).dirty is False
    (tmp_path / "code.py").write_text("2")
    facts = current_facts("demo", {}, None)
    assert (facts.commit, facts.dirty) == (commit, True)


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == (None, None)
