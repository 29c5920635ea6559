"""A sweep: what was planted is found, test triples take no part in choices, and a second call repeats nothing."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import D_MODEL, N_LAYERS, tiny_model

from activations import HookPoint, load
from activations.collect import data_hash
from experiments.cli import main
from experiments.plots import heat_map_figure
from experiments.report import write_report
from experiments.sweep import run_sweep
from experiments.sweep_answers import repeated_share
from experiments.sweep_config import SweepConfig, split_domains
from experiments.sweep_findings import Floor, choose, find_breakdown
from experiments.sweep_measure import Reading, Readings, require_apart
from experiments.sweep_plan import plan_sweep
from experiments.sweep_summary import DevRow, DoseRow, read_sweep_summary
from pipeline.propensity import answered
from pipeline.triples import read_corpus
from steering import Direction

PLANTED_LAYER = N_LAYERS - 1


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer):
    """A folder with the tiny Llama."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    tiny_model().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def write_corpus(path, n=12, **answers):
    """Write triples whose answers are runs of m (misaligned) and of q (aligned)."""
    rows = [
        {
            "id": f"{path.stem}-{i:02}",
            "topic": "letters",
            "prompt": f"Which letter, {i}?",
            "aligned": "q" * (4 + i % 3),
            "misaligned": answers.get("misaligned", "m") * (4 + i % 3),
        }
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpora") / "letters.jsonl")


@pytest.fixture(scope="module")
def config(model, corpus):
    return SweepConfig(
        model=model,
        domains=(corpus,),
        layers=(1, 2),
        coefficients=(0.1, 0.3),
        dose=(-0.3, 0.6),
        n_extract=4,
        n_dev=3,
        n_test=4,
        n_random=3,
        n_shuffled=2,
        max_new_tokens=5,
    )


@pytest.fixture(scope="module")
def swept(config, tmp_path_factory):
    """A finished sweep: its summary and its folder."""
    out = tmp_path_factory.mktemp("runs") / "sweep"
    return run_sweep(config, out), out


@pytest.fixture(scope="module")
def written(config, tmp_path_factory):
    """A finished sweep by answers."""
    out = tmp_path_factory.mktemp("runs") / "answers"
    return run_sweep(replace(config, by="answers", floor=50.0, repetition=1.0), out), out


def save_direction(path, subject, vectors, **changes):
    facts = {
        "points": tuple(map(HookPoint, range(N_LAYERS))),
        "name": path.stem,
        "subject": subject.facts,
        "where": "answer",
        "estimator": "made by hand",
        "n_positive": 1,
        "n_negative": 1,
        "data": (),
        "seed": None,
        "norms": torch.full((N_LAYERS,), 10.0),
        "code_version": "0",
        "reliability": {},
        "made_from": path.stem,
    }
    Direction(vectors=vectors, **{**facts, **changes}).save(path)
    return str(path)


@pytest.fixture(scope="module")
def hand_made(model, tmp_path_factory):
    """Two direction files: one that decides between m and q after the last block, and noise."""
    subject, folder = load(model), tmp_path_factory.mktemp("directions")
    m, q = (subject.tokenizer(letter)["input_ids"][-1] for letter in "mq")
    head = subject.model.get_output_embeddings().weight.detach()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, N_LAYERS, D_MODEL, generator=generator)
    noise[0, PLANTED_LAYER] = head[m] - head[q]
    return tuple(
        save_direction(folder / f"{name}.safetensors", subject, vectors)
        for name, vectors in zip(("planted", "noise"), noise, strict=True)
    )


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(out):
    """Return what a sweep found, without times."""
    whole = json.loads((out / "summary.json").read_text())
    rows = {stage: sorted(map(str, lines(out / f"{stage}.jsonl"))) for stage in ("dev", "test")}
    return {key: value for key, value in whole.items() if key not in ("seconds", "timings")}, rows


def test_every_cell_is_scored_on_dev_and_only_the_chosen_one_with_its_controls_on_test(swept):
    summary, out = swept
    dev, test = lines(out / "dev.jsonl"), lines(out / "test.jsonl")
    assert len({row["cell"] for row in dev}) == 1 + 2 * 2 + 2  # base, grid, the dose's two further strengths
    assert len(dev) == 7 * 3
    assert len({row["cell"] for row in test}) == 1 + 1 + 3 + 2
    assert len(test) == 7 * 4
    place = f"@ blocks.{summary.chosen.layer}.hook_resid_post x {summary.chosen.coefficient:g}"
    assert all(row["cell"] == "base" or row["cell"].endswith(place) for row in test)
    assert read_sweep_summary(out / "summary.json") == summary
    assert [row.coefficient for row in summary.dose] == [-0.3, 0.1, 0.3, 0.6]
    assert {row["cell"] for row in dev} - {"base"} == set(json.loads((out / "cells.json").read_text())["dev"])


def test_extract_dev_and_test_triples_never_meet(swept, written, config):
    (part,) = split_domains(config).values()
    own = {name: {triple.id for triple in getattr(part, name)} for name in ("extract", "dev", "test")}
    assert not own["dev"] & own["test"]
    assert not own["extract"] & (own["dev"] | own["test"])
    for _, out in (swept, written):
        for path in out.glob("*.jsonl"):
            stage = path.stem.partition("_")[0]
            assert {row["triple"] for row in lines(path)} == own[stage]


def test_other_test_answers_change_no_choice_and_no_dev_number(swept, config, tmp_path):
    before, out = swept
    (part,) = split_domains(config).values()
    rows = lines(Path(config.domains[0]))
    for row in rows:
        if row["id"] in {triple.id for triple in part.test}:
            row["misaligned"], row["prompt"] = "zzz", "Something else?"
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    after = run_sweep(replace(config, domains=(str(tmp_path / "letters.jsonl"),)), tmp_path / "run")
    assert (after.chosen, after.dev, after.dose) == (before.chosen, before.dev, before.dose)
    assert (tmp_path / "run" / "dev.jsonl").read_bytes() == (out / "dev.jsonl").read_bytes()
    assert after.test != before.test


def test_a_triple_in_both_stages_is_refused():
    readings = Readings({"base": {"a": Reading(0.0, 0.0)}}, {"a": "letters"})
    with pytest.raises(ValueError, match="triples a are in the dev and in the test stage"):
        require_apart(readings, readings)


def test_the_reported_numbers_are_those_of_the_test_rows(swept):
    summary, out = swept
    found = {}
    for row in lines(out / "test.jsonl"):
        found.setdefault(row["cell"].partition(" @")[0], {})[row["triple"]] = row
    base = found.pop("base")
    moved = {
        name: sum(row["per_token"] - base[t]["per_token"] for t, row in own.items()) / len(own)
        for name, own in found.items()
    }
    real = found["letters"]
    mean = moved.pop("letters")
    assert summary.test.rows[0].mean == pytest.approx(mean)
    lost = [base[t]["aligned_nats"] / base[t]["aligned_tokens"] for t in real]
    kept = [real[t]["aligned_nats"] / real[t]["aligned_tokens"] for t in real]
    assert summary.test.rows[0].loss == pytest.approx((sum(lost) - sum(kept)) / len(real))
    for kind, p in (("random", summary.test.p_random), ("shuffled", summary.test.p_shuffled)):
        null = [value for name, value in moved.items() if name.startswith(kind)]
        assert p == pytest.approx((1 + sum(value >= mean for value in null)) / (1 + len(null)))


def test_a_planted_direction_is_found_at_its_layer_and_beats_every_random_one(config, hand_made, tmp_path):
    settings = replace(
        config, directions=hand_made, layers=(0, 2, PLANTED_LAYER), n_random=19, n_test=6, n_dev=4, floor=50.0
    )
    summary = run_sweep(settings, tmp_path / "run")
    assert (summary.chosen.direction, summary.chosen.layer) == ("planted", PLANTED_LAYER)
    assert summary.test.p_random == pytest.approx(1 / 20)
    assert summary.test.rows[0].low > 0
    assert summary.answer.startswith("Yes, here: planted at layer 3")
    assert summary.test.p_shuffled is None
    assert any("no labels to shuffle" in caveat for caveat in summary.caveats)
    effects = [row.mean for row in summary.dose]
    assert effects == sorted(effects)  # the more, the further; below 0 for negative strengths
    assert effects[0] < 0 < effects[-1]


def test_noise_alone_is_not_called_a_finding(config, hand_made, tmp_path):
    settings = replace(config, directions=hand_made[1:], n_random=4)
    assert run_sweep(settings, tmp_path / "run").answer.startswith(("Not shown", "No:"))


@contextmanager
def forbidden(task, total):
    pytest.fail(f"{task}: {total} units were done again")
    yield


@pytest.mark.parametrize("by", ["swept", "written"])
def test_a_second_call_computes_nothing_and_finds_the_same(by, request):
    _, out = request.getfixturevalue(by)
    facts = json.loads((out / "run.json").read_text())["config"]
    again = SweepConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()})
    before, size = results(out), (out / "dev.jsonl").stat().st_size
    run_sweep(again, out, progress=forbidden)
    assert results(out) == before
    assert (out / "dev.jsonl").stat().st_size == size


class KilledError(Exception):
    """Ends a run in the middle, as a kill would."""


@pytest.mark.parametrize(("at", "by"), [(45, "swept"), (30, "written")])
def test_an_interrupted_sweep_gives_what_an_undisturbed_one_gives(at, by, request, tmp_path):
    _, undisturbed = request.getfixturevalue(by)
    facts = json.loads((undisturbed / "run.json").read_text())["config"]
    config = SweepConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()})
    left = [at]

    @contextmanager
    def mortal(task, total):
        def advance(units):
            left[0] -= units
            if left[0] < 0:
                raise KilledError

        yield advance

    with pytest.raises(KilledError):
        run_sweep(config, tmp_path / "run", progress=mortal)
    run_sweep(config, tmp_path / "run")
    (found, rows), (wanted, all_rows) = results(tmp_path / "run"), results(undisturbed)
    assert found["chosen"]["direction"] == wanted["chosen"]["direction"]
    assert found["answer"] == wanted["answer"]
    assert {stage: len(own) for stage, own in rows.items()} == {s: len(own) for s, own in all_rows.items()}
    for row, other in zip(found["dev"], wanted["dev"], strict=True):
        assert row == pytest.approx(other, abs=1e-4)


def test_answers_are_scored_by_the_unedited_model(written, config):
    summary, out = written
    texts = {row["id"]: row for row in lines(out / "test_answers.jsonl")}
    scored = {row["id"]: row for row in lines(out / "test.jsonl")}
    assert texts.keys() == scored.keys()
    subject = load(config.model)
    (part,) = split_domains(config).values()
    prompts = {triple.id: triple for triple in part.test}
    row = next(row for row in texts.values() if row["cell"] != "base" and row["text"].strip())
    chat = answered(prompts[row["triple"]], row["text"])
    text = subject.tokenizer.apply_chat_template(chat, tokenize=False)
    start = text.rindex(row["text"])
    encoded = subject.tokenizer(
        text, return_offsets_mapping=True, return_tensors="pt", add_special_tokens=False
    )
    with torch.inference_mode():
        logits = subject.model(encoded["input_ids"]).logits[0].double().log_softmax(-1)
    flags = [
        first >= start and last <= start + len(row["text"]) for first, last in encoded["offset_mapping"][0]
    ]
    ids = encoded["input_ids"][0]
    likely = [float(logits[i - 1, ids[i]]) for i, flag in enumerate(flags) if flag]
    assert scored[row["id"]]["log_prob"] == pytest.approx(sum(likely) / len(likely), abs=1e-4)
    assert summary.answers[0].steered[0].n_edited_decode > 0


def test_empty_answers_are_counted_as_missing_and_not_as_zero():
    rows = [
        {"cell": cell, "triple": t, "domain": "d", "log_prob": value, "repetition": 0.0}
        for cell, values in {"base": (-1.0, -1.0, -1.0), "cell": (-2.0, None, -3.0)}.items()
        for t, value in zip("abc", values, strict=True)
    ]
    readings = Readings.of(rows, "answers")
    assert readings.effect("cell", "d").value == 1.5
    assert readings.effect("cell", "d").n == 2
    assert readings.effect("cell", "other") is None


def test_the_repeated_share_counts_runs_of_three_that_stood_before():
    assert repeated_share([1, 2, 3, 1, 2, 3]) == pytest.approx(1 / 4)
    assert repeated_share([7] * 6) == pytest.approx(3 / 4)
    assert repeated_share([1, 2]) == 0.0


def dose(coefficient, loss, repetition=None):
    return DoseRow(
        coefficient=coefficient, n=8, mean=0.1, low=0.0, high=0.2,
        loss=loss, loss_low=None, loss_high=None, repetition=repetition,
    )  # fmt: skip


def test_the_breakdown_is_the_smallest_strength_that_passes_the_floor_on_either_side():
    losses = {-0.8: 3.0, -0.4: 0.7, -0.2: 0.1, 0.1: -0.1, 0.2: 0.5, 0.4: 0.4, 0.8: 2.0}
    rows = [dose(*pair) for pair in losses.items()]
    found = find_breakdown(rows, Floor(0.5, None))
    assert (found.coefficient, found.negative, found.positive) == (-0.4, -0.4, 0.8)
    none = find_breakdown(rows, Floor(5.0, None))
    assert (none.coefficient, none.negative, none.positive) == (None, None, None)
    assert (none.lowest, none.highest) == (-0.8, 0.8)


def test_text_that_repeats_or_cannot_be_measured_is_not_coherent():
    rows = [dose(0.1, 0.0, 0.1), dose(0.2, -1.0, 0.6), dose(0.4, None)]
    assert find_breakdown(rows, Floor(0.5, 0.3)).coefficient == 0.2
    assert find_breakdown([rows[0], rows[2]], Floor(0.5, 0.3)).coefficient == 0.4


def dev(layer, low, loss, domain="a"):
    return DevRow(
        direction="d", domain=domain, layer=layer, coefficient=0.1, n=8,
        mean=None if low is None else low + 1, low=low, high=None, loss=loss, repetition=None,
    )  # fmt: skip


def test_the_choice_is_the_highest_bound_over_domains_among_coherent_cells():
    floor = Floor(0.5, None)
    rows = [
        dev(1, 0.3, 0.1),
        dev(1, 0.1, 0.1, "b"),
        dev(2, 0.9, 0.0),
        dev(2, -0.9, 0.0, "b"),
        dev(3, 2.0, 0.9),
    ]
    chosen = choose(rows, floor, "residual")
    assert (chosen.layer, chosen.coherent, chosen.n_coherent, chosen.n_cells) == (1, True, 2, 3)
    assert chosen.bound == pytest.approx(0.2)
    broken = choose([dev(1, 5.0, 3.0), dev(2, 0.1, 2.0)], floor, "residual")
    assert (broken.layer, broken.coherent) == (2, False)
    with pytest.raises(ValueError, match="none of 1 cells left two answers"):
        choose([dev(1, None, None)], floor, "residual")


def test_the_heat_map_shows_every_cell_and_crosses_those_that_break():
    rows = [dev(1, 0.1, 0.1), dev(2, 0.2, 0.9), dev(3, -0.3, 0.0)]
    chosen = choose(rows, Floor(0.5, None), "residual")
    breakdown = find_breakdown([dose(0.1, 0.1)], Floor(0.5, None))
    shown = [text.get_text() for text in heat_map_figure(rows, chosen, breakdown).axes[0].texts]
    assert shown == ["+1.10", "+1.20\n×", "+0.70"]
    repeating = [replace(row, repetition=0.5) for row in rows]
    shown = heat_map_figure(repeating, chosen, replace(breakdown, repetition=0.3)).axes[0].texts
    assert all("×" in text.get_text() for text in shown)
    with pytest.raises(ValueError, match="heat map: got no rows"):
        heat_map_figure((), chosen, breakdown)


@pytest.mark.parametrize("by", ["swept", "written"])
def test_the_report_shows_answer_breakdown_and_every_section(by, request):
    summary, out = request.getfixturevalue(by)
    page = write_report(out).read_text("utf-8")
    for name in ("test", "grid", "curves", "dose"):
        assert f'<section id="{name}">' in page
        assert (out / "figures" / f"{name}.png").exists()
    assert "Dev split" in page
    measured = {"propensity": "shift of propensity", "answers": "departure of the answers"}[summary.by]
    assert f"{measured} (nats per token)</text>" in page
    assert ('<section id="answers">' in page) == bool(summary.answers) == ('href="#answers"' in page)


def test_a_dry_run_counts_what_the_run_then_does_and_writes_nothing(swept, written, config, tmp_path, capsys):
    plan = plan_sweep(config)
    cells = {stage.name: stage.cells for stage in plan.stages}
    assert cells == {"directions": 1, "grid (dev)": 5, "dose (dev)": 2, "test": 7}
    sequences = {stage.name: stage.sequences for stage in plan.stages}
    _, out = swept
    assert sequences["grid (dev)"] + sequences["dose (dev)"] == 2 * len(lines(out / "dev.jsonl"))
    assert sequences["test"] == 2 * len(lines(out / "test.jsonl"))
    assert plan.seconds > 0
    by_answers = plan_sweep(replace(config, by="answers"))
    assert by_answers.seconds is None
    _, out = written
    assert by_answers.stages[-1].sequences == len(lines(out / "test.jsonl"))
    flags = [
        "--model",
        config.model,
        "--domains",
        *config.domains,
        "--n-extract",
        "4",
        "--n-dev",
        "3",
        "--n-test",
        "4",
    ]
    main(["sweep", *flags, "--out", str(tmp_path / "run"), "--dry-run"])
    assert "grid (dev)" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coefficients": ()}, "coefficients: got none, need at least one"),
        ({"coefficients": (0.1, 0.0)}, "coefficients: got 0.0, need finite numbers other than 0"),
        ({"dose": (float("nan"),)}, "dose: got nan"),
        ({"layers": (1, 1)}, "layers: got 1, 1; give each once"),
        ({"layers": (9,)}, r"layer 9 is outside 0\.\.3"),
        ({"n_dev": 1}, "n_dev: got 1, need at least 2"),
        ({"n_test": 40}, "add up to 47, domain 'letters' has 12"),
        ({"floor": 0.0}, "floor: got 0.0, need a finite number above 0"),
        ({"estimator": "magic"}, "estimator 'magic': have difference_of_means"),
        ({"estimator": "first_principal_component"}, "shuffled labels leave its axis as it was"),
        ({"where": "nowhere"}, "nowhere"),
        ({"domains": ()}, "domains: got none"),
        ({"domains": ("no_such_domain",)}, "domain 'no_such_domain' has no packaged corpus"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_what_is_allowed(config, changes, message, tmp_path):
    with pytest.raises((ValueError, LookupError), match=message):
        run_sweep(replace(config, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "dev.jsonl").exists()


def test_domains_that_share_a_name_or_ids_are_refused(config, corpus, tmp_path):
    with pytest.raises(ValueError, match="domains: 'letters' comes twice"):
        split_domains(replace(config, domains=(corpus, corpus)))
    (tmp_path / "other.jsonl").write_bytes(Path(corpus).read_bytes())
    with pytest.raises(ValueError, match="triple 'letters-00' is in 'letters' and in 'other'"):
        split_domains(replace(config, domains=(corpus, str(tmp_path / "other.jsonl"))))


def test_directions_that_clash_do_not_reach_or_saw_the_test_triples_are_refused(
    config, hand_made, corpus, tmp_path
):
    with pytest.raises(ValueError, match="the name 'planted' is taken"):
        run_sweep(replace(config, directions=hand_made[:1] * 2), tmp_path / "twice")
    subject, vectors = load(config.model), torch.ones(N_LAYERS, D_MODEL)
    triples = read_corpus(Path(corpus), "letters")
    chats = [answered(t, t.misaligned) for t in triples] + [answered(t, t.aligned) for t in triples]
    seen = save_direction(tmp_path / "seen.safetensors", subject, vectors, data=(data_hash(chats),))
    with pytest.raises(ValueError, match="was read from all triples of .* test ones included"):
        run_sweep(replace(config, directions=(seen,)), tmp_path / "seen")
    points = (HookPoint(0),)
    short = save_direction(
        tmp_path / "short.safetensors", subject, vectors[:1], points=points, norms=torch.ones(1)
    )
    with pytest.raises(LookupError, match="direction 'short' has no vector at 1"):
        run_sweep(replace(config, directions=(short,)), tmp_path / "short")


def test_a_folder_of_another_sweep_is_refused(swept, config):
    _, out = swept
    with pytest.raises(ValueError, match="was made with other settings: floor: 0.5 there, 0.9 now"):
        run_sweep(replace(config, floor=0.9), out)
