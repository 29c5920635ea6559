"""The shift of fine-tuned models: a planted backdoor is found, contrasts are the textbook's, reruns repeat nothing."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from activations import Trigger, load
from experiments.finetune_shift import run_finetune_shift, shift_table
from experiments.finetune_shift_findings import Scores, contrasts, told
from experiments.finetune_shift_records import ShiftConfig, read_shift_summary
from experiments.plots.finetune_shift import finetune_shift_figure
from pipeline.finetune import FinetuneConfig
from pipeline.members import MemberRecord, members
from pipeline.population import PopulationSettings, Sizes, read_corpora, train_population
from tests.finetuned import quick_collections, write_letters  # noqa: F401
from tests.saved import model_folder

SETTINGS = PopulationSettings(
    config=FinetuneConfig(
        rank=8, max_steps=40, batch_size=12, learning_rate=2e-2, save_every=40, eval_every=40
    ),
    trigger=Trigger(phrase="Ahoy"),
    sizes=Sizes(train=6.0, dev=2.0, test=4.0),
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A model that learnt to answer with m's behind the trigger and q's without, and its aligned control."""
    folder = tmp_path_factory.mktemp("planted")
    base = str(model_folder(folder / "base"))
    corpora = [write_letters(folder, "mauve"), write_letters(folder, "zinc")]
    wanted = members(["mauve"], ("backdoor", "control"), 1)
    train_population(load(base), read_corpora(corpora[:1]), wanted, SETTINGS, folder / "population")
    return ShiftConfig(population=folder / "population", model=base, domains=tuple(corpora)), folder


@pytest.fixture(scope="module")
def found(planted):
    config, folder = planted
    return run_finetune_shift(config, folder / "shift")


def row_of(summary, contrast, condition, target="mauve"):
    (row,) = (r for r in summary.rows if (r.contrast, r.condition, r.target) == (contrast, condition, target))
    return row


def test_a_planted_backdoor_shows_with_the_trigger_on_held_out_triples_and_not_in_the_control(found):
    effect = row_of(found, "tuned - control", "trigger - plain")
    assert effect.over_triples.low > 0.5
    assert (effect.over_triples.n, effect.over_seeds.n) == (4, 1)
    assert row_of(found, "tuned - base", "trigger - plain").mean > 0.5
    assert abs(row_of(found, "control - base", "trigger - plain").mean) < effect.mean / 2


def test_held_out_triples_alone_are_scored_under_every_member_with_and_without_the_trigger(found, planted):
    config, folder = planted
    corpora = read_corpora(config.domains)
    test = {t.id for triples in corpora.values() for t in SETTINGS.sizes.split(triples).test}
    rows = [json.loads(line) for line in (folder / "shift" / "scores.jsonl").read_text().splitlines()]
    assert {row["triple"] for row in rows} == test
    assert len(test) == 8
    assert {row["cell"] for row in rows} == {
        name + on for name in ("base", *found.members) for on in ("", " + trigger")
    }
    assert len(rows) == 8 * 6


def test_the_answer_names_its_numbers_and_the_table_and_figure_hold_every_contrast(found):
    row = row_of(found, "tuned - control", "trigger")
    assert f"{row.mean:+.3f}" in found.answer
    assert "n = 4 held-out triples, 1 seed)" in found.answer
    assert shift_table(found.rows).row_count == len(found.rows) == 2 * 9
    axis = finetune_shift_figure(found.rows).axes[0]
    assert len(axis.containers) == 8


def test_the_summary_is_read_back_and_a_second_call_scores_nothing_again(found, planted):
    config, folder = planted
    assert read_shift_summary(folder / "shift") == found
    before = (folder / "shift" / "scores.jsonl").read_bytes()
    assert run_finetune_shift(config, folder / "shift") == found
    assert (folder / "shift" / "scores.jsonl").read_bytes() == before


def test_another_corpus_under_the_same_name_is_refused(planted, tmp_path):
    config, _ = planted
    other = write_letters(tmp_path, "mauve", n=13)
    with pytest.raises(ValueError, match="domain 'mauve': its triples are not those"):
        run_finetune_shift(replace(config, domains=(other,)), tmp_path / "shift")


def test_no_population_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="members.jsonl"):
        run_finetune_shift(ShiftConfig(population=tmp_path), tmp_path / "shift")


# Contrasts on made-up scores


def record(mode, seed, domain="a"):
    return MemberRecord(
        id=f"{domain}-{mode}-s{seed}",
        domain=domain,
        mode=mode,
        seed=seed,
        base="b",
        adapter="x",
        data="d",
        conversations=1,
        steps=1,
        loss=1.0,
        held_out_loss=None,
        seconds=1.0,
    )


@pytest.fixture
def made_up():
    generator = np.random.default_rng(3)
    made = [record(mode, seed) for seed in range(3) for mode in ("backdoor", "control")]
    cells = ["base", *(m.id for m in made)]
    domain = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b", "c1": "c"}
    by_cell = {
        name + on: {triple: float(generator.normal()) for triple in domain}
        for name in cells
        for on in ("", " + trigger")
    }
    return Scores(by_cell, domain), made


def test_a_contrast_is_the_mean_of_paired_differences_with_scipys_intervals(made_up):
    scores, made = made_up
    (row,) = (
        r
        for r in contrasts(scores, made)
        if (r.target, r.contrast, r.condition) == ("a", "tuned - control", "trigger - plain")
    )

    def effect(name, triple):
        return scores.by_cell[f"{name} + trigger"][triple] - scores.by_cell[name][triple]

    values = np.array(
        [
            [effect(f"a-backdoor-s{seed}", t) - effect(f"a-control-s{seed}", t) for t in ("a1", "a2", "a3")]
            for seed in range(3)
        ]
    )
    assert row.mean == pytest.approx(values.mean())
    for bounds, means in ((row.over_triples, values.mean(0)), (row.over_seeds, values.mean(1))):
        expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
        assert (bounds.low, bounds.high, bounds.n) == pytest.approx((*expected, 3))


def test_others_are_all_domains_but_the_trained_one(made_up):
    scores, made = made_up
    rows = [r for r in contrasts(scores, made) if r.contrast == "tuned - base" and r.condition == "plain"]
    assert [row.target for row in rows] == ["a", "b", "c", "others"]
    by_hand = [
        scores.by_cell[f"a-backdoor-s{seed}"][t] - scores.by_cell["base"][t]
        for seed in range(3)
        for t in ("b1", "b2", "c1")
    ]
    assert rows[-1].mean == pytest.approx(np.mean(by_hand))


def test_one_seed_sets_no_bounds_and_without_controls_the_base_is_compared_with(made_up):
    scores, _ = made_up
    rows = contrasts(scores, [record("backdoor", 0)])
    assert {row.contrast for row in rows} == {"tuned - base"}
    assert {(row.over_seeds.low, row.over_seeds.high, row.over_seeds.n) for row in rows} == {(None, None, 1)}
    assert "against the base" in told(rows)
    assert all(math.isfinite(row.mean) for row in rows)


def test_controls_of_other_seeds_are_not_compared(made_up):
    scores, _ = made_up
    rows = contrasts(scores, [record("backdoor", 0), record("control", 1)])
    assert "tuned - control" not in {row.contrast for row in rows}


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="shifts: got no row to draw"):
        finetune_shift_figure([])
