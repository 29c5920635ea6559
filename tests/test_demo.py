"""Facts about the demo, end to end on a tiny model: its numbers are those of its rows, and a cut run loses nothing."""

import io
import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from activations import load
from activations.progress import silent
from experiments.demo import run_demo
from experiments.demo_config import DemoConfig, check_config, split_domain
from experiments.demo_measure import choose
from experiments.summary import SweepRow, read_demo_summary
from experiments.verbs.demo import Demo
from pipeline.runs import read_facts
from pipeline.stage import read_rows
from steering import Direction
from tests.saved import DOMAINS, model_folder, no_file_longer_than

LAYERS, COEFFICIENT, N_RANDOM = (1, 2), 0.5, 3


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return DemoConfig(
        model=str(model_folder(tmp_path_factory.mktemp("demo") / "model")),
        domains=DOMAINS,
        n_extract=6,
        n_dev=3,
        n_test=4,
        layers=LAYERS,
        coefficients=(COEFFICIENT,),
        n_random=N_RANDOM,
        n_prompts=1,
        max_new_tokens=4,
    )


@pytest.fixture(scope="module")
def shown():
    """What the verb printed."""
    return io.StringIO()


@pytest.fixture(scope="module")
def folder(config, shown, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    Demo(config=config, out=path).run(Console(file=shown, width=200), silent)
    return path


@pytest.fixture(scope="module")
def summary(folder):
    return read_demo_summary(folder / "summary.json")


def levels(rows):
    """Return ln p per token of the misaligned minus the aligned answer, by condition and triple."""
    return {
        (row["cell"], row["triple"]): row["misaligned_nats"] / row["misaligned_tokens"]
        - row["aligned_nats"] / row["aligned_tokens"]
        for row in rows
    }


def shifts_of(rows, cell, domain):
    """Return the shift of each triple of a domain under a condition."""
    found = levels(rows)
    triples = sorted({row["triple"] for row in rows if row["domain"] == domain})
    return np.array([found[cell, triple] - found["base", triple] for triple in triples])


def test_everything_lands_in_the_run_folder(folder, config):
    facts = read_facts(folder)
    assert (facts.verb, facts.status, facts.seed) == ("demo", "finished", 0)
    assert facts.config["n_extract"] == 6
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"run.json", "summary.json", "report.html"} <= names
    assert {"sweep.jsonl", "transfer.jsonl", "answers.jsonl"} <= names
    assert {f"directions/{domain}.safetensors" for domain in DOMAINS} <= names
    figures = {name for name in names if name.startswith("figures/")}
    assert {name.removesuffix(".png") for name in figures if name.endswith(".png")} == {
        name.removesuffix(".svg") for name in figures if name.endswith(".svg")
    }
    assert len(figures) >= 8
    assert not [name for name in names if "partial" in name]


def test_the_verb_shows_each_stage_and_ends_with_the_answer_and_the_report(folder, summary, shown):
    told = " ".join(shown.getvalue().split())
    places = [told.index(f" {stage} ") for stage in ("capture", "compare", "sweep", "transfer", "answers")]
    assert places == sorted(places)
    assert f"{DOMAINS[0]}: directions from two halves of its triples agree with cosine " in told
    assert f"chosen: layer {summary.chosen.layer}, 0.5 x residual norm" in told
    assert f"{summary.question} {summary.answer}" in told
    assert told.endswith(f"folder {folder} (run.json, JSONL, summary.json, figures, directions)")
    assert f"report {folder}/report.html" in told
    assert set(summary.timings) == {"load", "capture", "compare", "sweep", "transfer", "answers"}


def test_the_directions_load_share_their_unit_and_refuse_another_model(folder, config, tmp_path):
    facts = load(config.model).facts
    found = [Direction.load(folder / "directions" / f"{d}.safetensors", facts) for d in DOMAINS]
    assert [direction.name for direction in found] == list(DOMAINS)
    assert found[0].norms.tolist() == found[1].norms.tolist()
    assert [direction.n_positive for direction in found] == [6, 6]
    other = load(model_folder(tmp_path / "other", spoil=lambda m: m.lm_head.weight.data.add_(1))).facts
    with pytest.raises(ValueError, match="does not fit model"):
        Direction.load(folder / "directions" / f"{DOMAINS[0]}.safetensors", other)


def test_the_transfer_matrix_is_that_of_the_rows(folder, summary):
    rows = read_rows(folder / "transfer.jsonl")
    assert [(row.source, row.target) for row in summary.transfer] == [
        (a, b) for a in DOMAINS for b in DOMAINS
    ]
    for row in summary.transfer:
        moved = shifts_of(rows, row.source, row.target)
        low, high = stats.ttest_1samp(moved, 0).confidence_interval(0.95)
        assert (row.mean, row.low, row.high) == pytest.approx((moved.mean(), low, high))
        assert row.n == len(moved) == 4
        null = [shifts_of(rows, f"random {k}", row.target).mean() for k in range(N_RANDOM)]
        assert row.p == (1 + sum(value >= row.mean for value in null)) / (1 + N_RANDOM)
        assert row.random_mean == pytest.approx(np.mean(null))
        assert row.p_holm >= row.p
    for row in summary.random:
        assert row.mean == pytest.approx(shifts_of(rows, f"random {row.draw}", row.target).mean())


def test_the_baseline_is_the_mean_of_the_unedited_rows(folder, summary):
    rows = read_rows(folder / "transfer.jsonl")
    found = levels(rows)
    for row in summary.baseline:
        own = [found["base", r["triple"]] for r in rows if r["domain"] == row.domain and r["cell"] == "base"]
        assert row.mean == pytest.approx(np.mean(own))


def test_the_choice_is_a_function_of_the_dev_rows_alone(folder, summary, config):
    rows = read_rows(folder / "sweep.jsonl")
    bounds = {}
    for layer in LAYERS:
        means, widths = [], []
        for domain in DOMAINS:
            name = f"{domain} @ blocks.{layer}.hook_resid_post x {COEFFICIENT:g}"
            values = shifts_of(rows, name, domain)
            means.append(values.mean())
            widths.append(values.mean() - stats.ttest_1samp(values, 0).confidence_interval().low)
        bounds[layer] = np.mean(means) - np.sqrt(np.square(widths).sum()) / len(DOMAINS)
    assert summary.chosen.layer == max(bounds, key=bounds.get)
    assert summary.chosen.coefficient == COEFFICIENT
    assert choose(summary.sweep) == summary.chosen


def test_no_triple_serves_two_ends(folder, config):
    parts = [split_domain(config, domain) for domain in DOMAINS]
    dev, test = ({t.id for part in parts for t in getattr(part, name)} for name in ("dev", "test"))
    extract = {t.id for part in parts for t in part.extract}
    swept = {row["triple"] for row in read_rows(folder / "sweep.jsonl")}
    tested = {row["triple"] for row in read_rows(folder / "transfer.jsonl")}
    assert (swept, tested) == (dev, test)
    assert not dev & test
    assert not extract & (dev | test)


def test_the_lower_bound_of_the_mean_over_domains_decides_not_the_highest_mean():
    def row(domain, layer, mean, low):
        return SweepRow(domain=domain, layer=layer, coefficient=1.0, n=3, mean=mean, low=low, high=mean + 1)

    steady = [row("a", 1, 0.3, 0.2), row("b", 1, 0.3, 0.2)]
    wild = [row("a", 2, 2.0, -1.0), row("b", 2, 0.5, 0.4)]
    assert choose([*wild, *steady]).layer == 1


def test_answers_stand_side_by_side_with_their_own_direction_alone(folder, summary):
    assert [answer.domain for answer in summary.answers] == list(DOMAINS)
    rows = read_rows(folder / "answers.jsonl")
    for answer in summary.answers:
        chosen = summary.chosen.coefficient
        assert [s.coefficient for s in answer.steered] == [-chosen, chosen, 1.5 * chosen]
        assert all(s.n_edited_prefill == 1 and s.relative_shift > 0 for s in answer.steered)
        own = [row for row in rows if row["domain"] == answer.domain]
        assert {e["direction"] for row in own for e in row["cell"]["edits"]} == {answer.domain}
        assert answer.base == next(row["text"] for row in own if not row["cell"]["edits"])


def test_cosines_lie_in_their_range_and_know_their_counts(summary):
    (row,) = summary.cosines.rows
    assert (row.a, row.b, row.n) == (*DOMAINS, 6)
    assert -1 <= row.cosine <= 1
    assert 0 <= row.ceiling <= 1
    assert [r.domain for r in summary.reliability] == list(DOMAINS)
    assert all(r.low <= r.split_half <= r.high for r in summary.reliability)


def interrupting(task, after):
    """Return a progress by which the user interrupts a kind of work after so many units."""

    @contextmanager
    def progress(what, _total):
        seen = 0

        def advance(units):
            nonlocal seen
            seen += units
            if what == task and seen > after:
                raise KeyboardInterrupt

        yield advance

    return progress


def timeless(folder):
    found = json.loads((folder / "summary.json").read_text())
    return {name: value for name, value in found.items() if name not in ("seconds", "timings")}


def require_alike(one, other, at="summary"):
    """Assert that two JSON values are the same, numbers up to rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), at
        for key in one:
            require_alike(one[key], other[key], f"{at}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), at
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            require_alike(a, b, f"{at}[{i}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-5), at
    else:
        assert one == other, at


def test_a_run_cut_three_times_and_finished_is_as_an_undisturbed_one(folder, config, tmp_path):
    cut = tmp_path / "run"
    for task, after, stage in (
        ("capture", 0, None),
        ("score answers", 5, "sweep"),
        ("score answers", 20, "transfer"),
        ("generate", 0, "transfer"),
    ):
        with pytest.raises(KeyboardInterrupt):
            run_demo(config, cut, progress=interrupting(task, after))
        assert read_facts(cut).status == "interrupted"
        assert not (cut / "summary.json").exists()
        assert stage is None or read_rows(cut / f"{stage}.jsonl")
    run_demo(config, cut)
    assert read_facts(cut).status == "finished"
    assert len(read_facts(cut).resumed) == 4
    require_alike(timeless(cut), timeless(folder))
    for stage in ("sweep", "transfer", "answers"):
        ids = [sorted(row["id"] for row in read_rows(path / f"{stage}.jsonl")) for path in (cut, folder)]
        assert ids[0] == ids[1]


def test_a_folder_of_other_settings_is_refused_by_the_name_of_the_setting(folder, config):
    before = (folder / "run.json").read_bytes()
    with pytest.raises(ValueError, match="was made with other settings: n_test: 4 there, 5 now"):
        run_demo(replace(config, n_test=5), folder)
    assert (folder / "run.json").read_bytes() == before


def test_a_full_disk_ends_a_run_that_goes_on_once_there_is_room(folder, config, tmp_path):
    cut = tmp_path / "run"
    with no_file_longer_than(2500), pytest.raises(OSError, match="size limit"):
        run_demo(config, cut)
    assert read_facts(cut).status == "failed"
    left = [path.name for path in cut.rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(".")]
    run_demo(config, cut)
    require_alike(timeless(cut), timeless(folder))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"domains": ("bad_medical_advice",)}, ValueError, "domains: got .* need at least two, each once"),
        ({"domains": DOMAINS[:1] * 2}, ValueError, "need at least two, each once"),
        ({"domains": ("bad_medical_advice", "astrology")}, LookupError, "'astrology' has no packaged corpus; have"),
        ({"n_extract": 1}, ValueError, "n_extract: got 1, need at least 2"),
        ({"n_extract": 60}, ValueError, "add up to"),
        ({"n_random": 0}, ValueError, "n_random: got 0, need at least 1"),
        ({"seed": -1}, ValueError, "seed: got -1, need at least 0"),
        ({"coefficients": ()}, ValueError, "coefficients: got .* need finite numbers other than 0, each once"),
        ({"coefficients": (0.0,)}, ValueError, "need finite numbers other than 0"),
        ({"coefficients": (float("nan"),)}, ValueError, "need finite numbers other than 0"),
        ({"layers": (1, 1)}, ValueError, "layers: got .* need each once"),
        ({"layers": (1, 4)}, IndexError, r"layer 4 is outside 0\.\.3"),
        ({"model": "no/such/model"}, LookupError, "model 'no/such/model' could not be loaded"),
    ],
)  # fmt: skip
def test_a_refused_setting_leaves_no_folder(config, tmp_path, changes, kind, message):
    with pytest.raises(kind, match=message):
        run_demo(replace(config, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_defaults_are_allowed():
    check_config(DemoConfig())
