"""Facts about benchmarks: ratios and their spread, tables, the page, memory, and the peers' environment."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.benchmarks import environment
from experiments.benchmarks.__main__ import write_page
from experiments.benchmarks.interleaved import Timing, compared, interleaved
from experiments.benchmarks.memory import peak_of
from experiments.benchmarks.sheets import Sheet, absent_notes, ratio_sheet
from experiments.plots.benchmarks import Bar, Chart, Curve, Panel, bars_figure, curves_figure

ROOT = Path(__file__).parents[1]


def timing(name="ours", ratio=0.5):
    return Timing(name=name, seconds=1.234, ratio=ratio, low=ratio - 0.1, high=ratio + 0.1, rounds=7)


def test_noise_that_hits_a_whole_round_does_not_touch_the_ratio():
    noise = np.array([1.0, 9.0, 3.0, 0.5, 2.0])
    found = compared("ours", 2 * noise, noise, np.random.default_rng(0))
    assert (found.ratio, found.low, found.high, found.rounds) == (2.0, 2.0, 2.0, 5)
    assert found.seconds == 4.0


def test_the_interval_holds_the_median_and_widens_with_the_spread():
    ones = np.ones(9)
    calm, wild = (
        compared("x", 1 + spread * np.arange(9), ones, np.random.default_rng(0)) for spread in (0.01, 0.1)
    )
    assert calm.low < calm.ratio < calm.high
    assert wild.high - wild.low == pytest.approx(10 * (calm.high - calm.low))


def test_every_round_runs_every_job_once_and_orders_change():
    ran = []
    jobs = {name: lambda name=name: ran.append(name) for name in "abc"}
    found = interleaved(jobs, rounds=5, warm_up=1)
    rounds = [ran[i : i + 3] for i in range(0, len(ran), 3)]
    assert len(rounds) == 6
    assert all(sorted(turn) == list("abc") for turn in rounds)
    assert len(set(map(tuple, rounds))) > 1
    assert [t.name for t in found] == list("abc")
    assert (found[0].ratio, found[0].rounds) == (1.0, 5)


def test_a_job_that_did_a_part_counts_for_the_whole():
    jobs = {"whole": lambda: time.sleep(0.02), "part": lambda: time.sleep(0.02)}
    whole, part = interleaved(jobs, rounds=3, scales={"part": 10.0})
    assert 5 < part.ratio < 20
    assert (part.scale, whole.scale) == (10.0, 1.0)


def test_a_scale_for_no_job_is_refused():
    with pytest.raises(ValueError, match=r"scales for \['b'\]"):
        interleaved({"a": list}, rounds=1, scales={"b": 2.0})
    with pytest.raises(ValueError, match="0 rounds"):
        interleaved({"a": list}, rounds=0)


def test_a_table_is_the_same_in_the_terminal_in_json_and_on_the_page(tmp_path):
    notes = absent_notes({"other": "its numbers [differ] | by 0.9"})
    sheet = ratio_sheet("Capture", [timing("a | b"), timing("[bold]c")], notes=notes)
    read = Sheet.read(json.loads(json.dumps(asdict(sheet))))
    assert read == sheet
    out = StringIO()
    Console(file=out, width=120).print(sheet.table())
    for text in ("a | b", "[bold]c", "0.50", "0.40 to 0.60", "1.23", "its numbers [differ]"):
        assert text in out.getvalue()
    lines = sheet.markdown().splitlines()
    assert "| a \\| b | 1.23 | 0.50 | 0.40 to 0.60 |" in lines
    assert lines[-1].startswith("other was not timed")


def test_the_page_shows_every_benchmark_that_lies_in_the_folder(tmp_path):
    facts = {"started": "2026-01-02", "commit": "0123456789abcdef", "dirty": True, "threads": 2}
    facts |= {"python": "3.11", "versions": {"torch": "2.13.0"}}
    for name in ("grid", "capture"):
        tables = [asdict(ratio_sheet(f"{name} table", [timing()]))]
        content = {"facts": facts, "peers": {"nnsight": "0.8.1"}, "tables": tables}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    page = write_page(tmp_path).read_text()
    assert page.index("## Capture") < page.index("## Grid")
    assert "### grid table" in page
    assert "scoring" not in page.lower()
    assert "commit 0123456789 with changes, 2 threads, Python 3.11, torch 2.13.0, nnsight 0.8.1." in page
    with pytest.raises(FileNotFoundError, match=r"holds none of .*capture\.json"):
        write_page(tmp_path / "nowhere")


def test_the_peak_is_what_a_job_held_at_most_and_not_what_it_left():
    def job():
        held = np.ones(80 * 2**20 // 8)
        del held
        return np.ones(10)

    assert 60 < peak_of(job) < 110  # some of the 80 MiB may lie in pages that the process has already


def test_shared_pins_are_those_of_the_project():
    def pins(path):
        return dict(line.split("==") for line in path.read_text().splitlines() if "==" in line)

    peers, project = pins(environment.PINS), pins(environment.CONSTRAINTS)
    assert {"torch", "numpy", "transformers"} <= peers.keys() & project.keys()
    assert all(peers[name] == project[name] for name in peers.keys() & project.keys())
    assert {"nnsight", "repeng", "steering-vectors", "transformer-lens"} <= peers.keys()


def test_without_a_network_the_command_says_what_works_without_one(tmp_path):
    nothing = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    command = [sys.executable, "-m", "experiments.benchmarks.scoring", "--no-without-peers"]
    done = subprocess.run(
        [*command, "--peers", str(tmp_path / "env"), "--out", str(tmp_path)],
        cwd=ROOT,
        env={**clean, **nothing},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "environment of the other libraries" in done.stderr
    assert "give a network that reaches the package index" in done.stderr
    assert "--without-peers" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "env" / environment.STAMP).exists()


def test_an_environment_made_from_other_pins_is_made_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(environment, "_run", asked.append)
    environment.made(tmp_path)
    assert len(asked) == 3  # the folder, the project, the peers
    environment.made(tmp_path)
    assert len(asked) == 3
    (tmp_path / environment.STAMP).write_text("of other pins")
    environment.made(tmp_path)
    assert len(asked) == 6
    assert "--no-deps" in asked[-1]


def test_figures_carry_every_bar_and_curve():
    bars = (Bar(name="ours", value=0.5, low=0.4, high=0.6, ours=True), Bar(name="theirs", value=2.25))
    figure = bars_figure([Panel(title="Time", axis="ratio", bars=bars)])
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["ours", "theirs"]
    assert [text.get_text() for text in axis.texts] == ["0.50", "2.25"]
    curve = Curve(name="all", sizes=(8, 16), values=(1.0, 3.0), lows=(0.9, 2.8), highs=(1.1, 3.2))
    chart = Chart(title="", x="rows", y="speed-up", curves=(curve,), log_x=True)
    axis = curves_figure([chart]).axes[0]
    assert list(axis.lines[0].get_ydata()) == [1.0, 3.0]
    for draw in (bars_figure, curves_figure):
        with pytest.raises(ValueError, match="got no"):
            draw([])
