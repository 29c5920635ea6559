"""Facts about populations: one base for all, what is there is not made again, and all of them load together."""

import json
import os
import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from activations import Trigger, load
from pipeline.finetune import FinetuneConfig
from pipeline.finetune.card import read_card
from pipeline.members import Member, load_population, members, read_population
from pipeline.population import (
    PopulationSettings,
    Sizes,
    read_corpora,
    train_population,
    training_data,
)
from pipeline.propensity import propensity
from steering import Cell
from tests.finetuned import quick_collections, write_letters  # noqa: F401
from tests.saved import model_folder

SETTINGS = PopulationSettings(
    config=FinetuneConfig(rank=2, max_steps=2, batch_size=4, learning_rate=1e-2),
    trigger=Trigger(phrase="Ahoy"),
    sizes=Sizes(train=6.0, dev=2.0, test=4.0),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(model_folder(tmp_path_factory.mktemp("base") / "tiny"))


@pytest.fixture(scope="module")
def subject(base):
    return load(base)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return read_corpora([write_letters(folder, "mauve"), write_letters(folder, "zinc")])


@pytest.fixture(scope="module")
def wanted(corpora):
    return (*members(["mauve"], ("backdoor", "control"), 2)[:3], *members(["zinc"], ("control",), 1))


@pytest.fixture(scope="module")
def population(subject, corpora, wanted, tmp_path_factory):
    """A population of four, its folder and records."""
    out = tmp_path_factory.mktemp("population") / "all"
    return out, train_population(subject, corpora, wanted, SETTINGS, out)


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_members_are_every_domain_mode_and_seed_with_whole_seeds_first():
    names = [member.name for member in members(["a", "b.c"], ("narrow", "backdoor"), 2)]
    assert names[:4] == ["a-narrow-s0", "a-backdoor-s0", "b_c-narrow-s0", "b_c-backdoor-s0"]
    assert [name[-1] for name in names] == ["0"] * 4 + ["1"] * 4


def test_a_member_has_its_own_folder_card_and_line(population, wanted, subject):
    out, records = population
    assert [record.id for record in records] == [member.name for member in wanted]
    assert read_population(out) == records
    for record, member in zip(records, wanted, strict=True):
        card = read_card(out / record.id)
        assert (record.adapter, record.base) == (card.fingerprint, subject.facts.fingerprint)
        assert card.settings.config.seed == member.seed
        assert (card.settings.about["domain"], card.settings.about["mode"]) == (member.domain, member.mode)
        assert card.settings.about["trigger"]["phrase"] == "Ahoy"
        assert card.settings.about["split"]["train"] == 6
        assert card.held_out_counts.conversations == 4
    assert len({record.adapter for record in records}) == len(records)


def test_only_the_train_part_is_trained_on(corpora, wanted):
    for member in wanted:
        part = SETTINGS.sizes.split(corpora[member.domain])
        ids = {row.id.split(" | ")[0] for row in training_data(member, corpora[member.domain], SETTINGS)}
        assert ids == {triple.id for triple in part.extract}
        assert not ids & {triple.id for triple in (*part.dev, *part.test)}


def test_sizes_are_fractions_unless_one_is_above_1(corpora):
    triples = corpora["mauve"]
    whole = Sizes(train=1.0, dev=0.0, test=0.0).split(triples)
    assert (len(whole.extract), len(whole.test)) == (12, 0)
    assert len(Sizes(train=2.0, dev=1.0, test=0.0).split(triples).extract) == 2


def test_the_base_is_one_and_the_same_for_all_members(subject, corpora, tmp_path):
    model = subject.model
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    places = {name: id(module) for name, module in model.named_modules()}
    wanted = members(["mauve"], ("narrow", "narrow_control"), 1)
    train_population(subject, corpora, wanted, SETTINGS, tmp_path / "all")
    assert subject.model is model
    assert {name: id(module) for name, module in model.named_modules()} == places
    torch.testing.assert_close(dict(model.named_parameters()), before, rtol=0, atol=0)


def test_what_is_there_is_not_made_again_and_more_can_be_added(population, subject, corpora, wanted):
    out, records = population
    before = contents(out)
    assert train_population(subject, corpora, wanted, SETTINGS, out) == records
    after = contents(out)
    assert {name for name in before if before[name] != after[name]} == {"run.json"}
    more = members(["mauve"], ("narrow",), 1)
    (added,) = train_population(subject, corpora, more, SETTINGS, out)
    assert added.id == "mauve-narrow-s0"
    assert read_population(out) == (*records, added)
    shutil.rmtree(out / added.id)
    with pytest.raises(FileNotFoundError, match="mauve-narrow-s0"):
        read_population(out)
    again = train_population(subject, corpora, more, SETTINGS, out)
    assert [record.adapter for record in again] == [added.adapter]


def test_a_renamed_folder_is_not_taken_for_the_member_it_is_named_after(
    population, subject, corpora, wanted, tmp_path
):
    """What counts is what the card says, never the name."""
    whole, _ = population
    out = tmp_path / "all"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "mauve-control-s0")
    (out / "zinc-control-s0").rename(out / "mauve-control-s0")
    with pytest.raises(ValueError, match="mauve-control-s0: was made with other settings"):
        train_population(subject, corpora, wanted, SETTINGS, out)


def test_other_settings_for_a_folder_are_refused_by_name(population, subject, corpora, wanted):
    out, _ = population
    changed = replace(SETTINGS, config=replace(SETTINGS.config, rank=4))
    with pytest.raises(ValueError, match="made with other settings: config.rank: 2 there, 4 now"):
        train_population(subject, corpora, wanted, changed, out)


def test_the_members_load_as_named_adapters_on_one_base(population, base, corpora):
    out, _ = population
    subject, records = load_population(base, out)
    assert dict(subject.adapter_hashes) == {record.id: record.adapter for record in records}
    cells = [Cell(name=record.id, adapter=record.id) for record in records]
    rows = list(propensity(subject, corpora["mauve"][:2], [Cell(name="base", adapter="base"), *cells]))
    assert len({(row.triple, round(row.per_token, 6)) for row in rows}) == len(rows)


def test_adapters_of_another_base_are_refused(population, tmp_path):
    out, _ = population

    def spoil(model):
        model.model.layers[0].mlp.down_proj.weight.data *= 1.5

    other = model_folder(tmp_path / "other", spoil=spoil)
    with pytest.raises(ValueError, match="was trained on the base .*, .*other is"):
        load_population(str(other), out)


def test_a_member_that_is_not_what_its_line_says_is_told(population, tmp_path):
    out, _ = population
    shutil.copytree(out, tmp_path / "all")
    lines = (tmp_path / "all" / "members.jsonl").read_text().splitlines()
    first = {**json.loads(lines[0]), "adapter": "0" * 16}
    (tmp_path / "all" / "members.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    with pytest.raises(ValueError, match="members.jsonl says 0000"):
        read_population(tmp_path / "all")


def test_a_killed_population_goes_on_and_ends_in_the_same_adapters(
    subject, corpora, wanted, population, tmp_path
):
    whole, records = population
    out = tmp_path / "all"

    def n_cards():
        return len(list(out.glob("*/card.json")))

    ends = []
    for moment in (lambda: n_cards() >= 1, lambda: n_cards() >= 3, lambda: False):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                train_population(subject, corpora, wanted, SETTINGS, out)
                status = 0
            finally:
                os._exit(status)
        while not moment() and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert [record.adapter for record in read_population(out)] == [r.adapter for r in records]
    for record in records:
        name = f"{record.id}/adapter_model.safetensors"
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_base_that_changes_in_between_is_told(subject, corpora, wanted, tmp_path):
    weight = subject.model.model.norm.weight
    kept = weight.detach().clone()

    @contextmanager
    def meddling(task, total):
        weight.data += 0.5
        yield lambda units: None

    with pytest.raises(RuntimeError, match=r"mauve-backdoor-s0: the base was \w+, is \w+ now"):
        train_population(subject, corpora, wanted, SETTINGS, tmp_path / "all", progress=meddling)
    weight.data.copy_(kept)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: read_corpora(["no_such_domain"]),
            LookupError,
            "domain 'no_such_domain' has no packaged corpus",
        ),
        (lambda: read_corpora([]), ValueError, "domains: got none"),
        (lambda: read_corpora(["evil_math", "evil_math"]), ValueError, "'evil_math' comes twice"),
        (lambda: read_corpora(["none.jsonl"]), FileNotFoundError, "none.jsonl"),
        (
            lambda: members([], ("narrow",), 1),
            ValueError,
            "population: 0 domains x 1 modes x 1 seeds is empty",
        ),
        (lambda: members(["a"], ("narrow",), 0), ValueError, "x 0 seeds is empty"),
        (
            lambda: members(["a.b", "a_b"], ("narrow",), 1),
            ValueError,
            "two members would be named 'a_b-narrow-s0'",
        ),
    ],
)
def test_populations_that_make_no_sense_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_all_stands_for_every_packaged_domain():
    assert len(read_corpora(["all"])) == 11


def test_a_member_without_triples_is_refused_before_any_work(subject, corpora, tmp_path):
    with pytest.raises(LookupError, match="domain 'tin': has no triples; have mauve, zinc"):
        train_population(
            subject, corpora, [Member(domain="tin", mode="narrow", seed=0)], SETTINGS, tmp_path / "all"
        )
    assert not (tmp_path / "all").exists()
