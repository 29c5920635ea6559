"""Facts about the demo's answer: what it says of clear, reversed and null effects, and how often it errs."""

import re

import numpy as np
import pytest

from experiments.shifts import Shifts
from experiments.verdict import LEVEL, caveats, methods, verdict

DOMAINS = ("fire", "flood", "frost")
N = 12


def made_up(effect, seed=0, *, own=0.5, n_random=20, spread=0.02, noise=0.05, alike=False):
    """Return shifts of three directions and of random ones, which are `spread` apart; `effect` is on other domains."""
    draw = np.random.default_rng(seed)
    triples = {f"{domain}-{i}": domain for domain in DOMAINS for i in range(N)}
    base = {triple: draw.normal() for triple in triples}
    by_cell = {"base": base}
    common = draw.normal(0, spread)
    for source in DOMAINS:
        extra = common if alike else draw.normal(0, spread)
        by_cell[source] = {
            t: base[t] + extra + draw.normal(0, noise) + (own if domain == source else effect)
            for t, domain in triples.items()
        }
    for k in range(n_random):
        extra = draw.normal(0, spread)
        by_cell[f"random {k}"] = {t: base[t] + extra + draw.normal(0, noise) for t in triples}
    return Shifts(by_cell, triples, "base")


def test_a_clear_transfer_is_called_so():
    assert verdict(made_up(0.3), DOMAINS, 20).startswith("Yes, here: ")


def test_a_reversed_transfer_is_called_so():
    told = verdict(made_up(-0.3), DOMAINS, 20)
    assert told.startswith("No: ")
    assert "away from" in told


def test_nothing_is_called_not_shown_however_strong_the_own_domain_moves():
    assert verdict(made_up(0.0, own=5.0), DOMAINS, 20).startswith("Not shown: ")


def test_an_effect_that_random_directions_have_too_is_not_shown():
    shifts = made_up(0.3)
    by_cell = {
        cell: {t: value + (0.3 if cell.startswith("random") else 0) for t, value in values.items()}
        for cell, values in shifts.by_cell.items()
    }
    assert verdict(Shifts(by_cell, shifts.domain, "base"), DOMAINS, 20).startswith("Not shown: ")


def test_too_few_random_directions_are_named_as_the_reason():
    told = verdict(made_up(0.3, n_random=18), DOMAINS, 18)
    assert told.startswith("Not shown: 18 random directions are too few for p <= 0.05")
    assert verdict(made_up(0.3, n_random=19), DOMAINS, 19).startswith("Yes")


@pytest.mark.parametrize(("spread", "alike"), [(0.0, True), (0.05, False), (1.0, True)])
def test_directions_that_act_as_random_ones_are_called_yes_or_no_as_rarely_as_is_declared(spread, alike):
    n = 120
    claims = [
        verdict(made_up(0.0, seed, own=0.0, spread=spread, alike=alike), DOMAINS, 20).split()[0]
        for seed in range(n)
    ]
    allowed = LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / n)
    assert claims.count("Yes,") / n <= allowed
    assert claims.count("No:") / n <= allowed


def test_the_numbers_of_the_sentence_are_those_of_the_data():
    shifts = made_up(0.3)
    base = shifts.by_cell["base"]
    moved = [
        np.mean([shifts.by_cell[s][t] - base[t] for s in DOMAINS if s != domain])
        for t, domain in shifts.domain.items()
    ]
    own = [shifts.by_cell[domain][t] - base[t] for t, domain in shifts.domain.items()]
    null = [np.mean([shifts.by_cell[f"random {k}"][t] - base[t] for t in base]) for k in range(20)]
    half, own_half = (
        2.0301079 * np.std(values, ddof=1) / np.sqrt(3 * N)
        for values in (moved, own)  # t, 35 degrees
    )
    expected = [
        np.mean(moved),
        np.mean(moved) - half,
        np.mean(moved) + half,
        np.mean(own),
        np.mean(own) - own_half,
        np.mean(own) + own_half,
        np.mean(null),
        min(null),
        max(null),
    ]
    told = verdict(shifts, DOMAINS, 20)
    assert re.findall(r"[+-]\d\.\d{3}", told) == [f"{value:+.3f}" for value in expected]
    assert f"n = {3 * N} triples" in told
    assert "20 random directions" in told
    assert "p = 0.048" in told  # 1 / 21


def test_caveats_and_methods_name_the_model_and_the_draws():
    told = " ".join(caveats("my-model", 20, 3))
    assert "my-model" in told
    assert "below 0.048" in told
    assert "over 9 cells none below 0.43" in told
    assert "20 norm-matched random directions" in methods(20)["transfer"]
