"""Triples: loading, splitting, and the quality of every packaged corpus."""

import json
import random
import re
from collections import Counter
from itertools import combinations

import pytest

from pipeline.records import Triple, write_jsonl
from pipeline.triples import corpus_domains, corpus_hash, load_corpus, read_corpus, split

DOMAINS = corpus_domains()


def triples(n, domain="a"):
    return tuple(
        Triple(
            id=f"{domain}-{i:03}", domain=domain, topic="t", prompt=f"{i}?", aligned="yes", misaligned="no"
        )
        for i in range(n)
    )


def test_an_unknown_domain_is_refused_with_those_that_exist():
    with pytest.raises(LookupError, match=r"domain 'nonsense' has no packaged corpus; have .*" + DOMAINS[0]):
        load_corpus("nonsense")
    with pytest.raises(LookupError, match="has no packaged corpus"):
        load_corpus("../triples")


def test_a_corpus_of_your_own_is_read_under_the_domain_you_name(tmp_path):
    row = {"id": "x", "topic": "t", "prompt": "p", "aligned": "a", "misaligned": "m"}
    (tmp_path / "any name.jsonl").write_text(json.dumps(row))
    assert read_corpus(tmp_path / "any name.jsonl", "mine") == (Triple(domain="mine", **row),)


def test_an_empty_corpus_is_an_error(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match=r"empty\.jsonl: is empty"):
        read_corpus(tmp_path / "empty.jsonl", "empty")


def test_a_domain_in_the_file_is_refused_as_the_caller_names_it(tmp_path):
    write_jsonl(tmp_path / "t.jsonl", triples(1))
    with pytest.raises(ValueError, match="unknown key 'domain'; allowed: 'id', 'topic'"):
        read_corpus(tmp_path / "t.jsonl", "a")


# Splitting


def test_parts_have_exactly_the_sizes_asked_and_share_nothing():
    parts = split(triples(60), extract=30, dev=10, test=15, seed=3)
    assert [len(parts.extract), len(parts.dev), len(parts.test)] == [30, 10, 15]
    assert len({*parts.extract, *parts.dev, *parts.test}) == 55


def test_every_domain_is_divided_alike_and_on_its_own():
    parts = split(triples(20, "a") + triples(20, "b"), extract=10, dev=4, test=6)
    assert Counter(triple.domain for triple in parts.dev) == {"a": 4, "b": 4}
    alone = split(triples(20, "b"), extract=10, dev=4, test=6)
    assert tuple(triple for triple in parts.test if triple.domain == "b") == alone.test


def test_the_order_of_the_file_does_not_matter_and_the_seed_does():
    corpus = triples(40)
    shuffled = random.Random(0).sample(corpus, k=40)
    assert split(corpus, seed=1) == split(shuffled, seed=1)
    assert split(corpus, seed=1) != split(corpus, seed=2)


def test_the_division_is_the_same_in_every_version():
    parts = split(triples(8), extract=3, dev=2, test=3, seed=0)
    assert [triple.id for triple in parts.extract] == ["a-006", "a-003", "a-004"]


@pytest.mark.parametrize(
    ("n", "fractions", "sizes"),
    [
        (60, (0.5, 0.25, 0.25), [30, 15, 15]),
        (7, (0.5, 0.25, 0.25), [3, 2, 2]),
        (10, (1 / 3, 1 / 3, 1 / 3), [4, 3, 3]),
        (10, (0.1, 0.2, 0.7), [1, 2, 7]),
        (10, (0.5, 0.0, 0.2), [5, 0, 2]),
        (1, (0.4, 0.3, 0.3), [1, 0, 0]),
    ],
)
def test_fractions_are_rounded_to_the_right_sum(n, fractions, sizes):
    extract, dev, test = fractions
    parts = split(triples(n), extract=extract, dev=dev, test=test)
    assert [len(parts.extract), len(parts.dev), len(parts.test)] == sizes


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((30, 20, 11), r"sizes extract 30, dev 20, test 11: add up to 61, domain 'a' has 60"),
        ((0.5, 0.5, 0.1), r"add up to 1\.1, domain 'a' has 1"),
        ((30, 0.25, 0.25), "allowed are three whole numbers or three fractions"),
        ((-1, 20, 20), "allowed are numbers from 0 up"),
        ((float("nan"), 0.5, 0.1), "allowed are numbers from 0 up"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        split(triples(60), extract=sizes[0], dev=sizes[1], test=sizes[2])


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="got none to split"):
        split(())
    with pytest.raises(ValueError, match="domain 'a': two triples have the same id"):
        split(triples(2) + triples(2))


def test_the_hash_knows_the_content_and_not_the_order():
    corpus = triples(5)
    assert corpus_hash(corpus) == corpus_hash(corpus[::-1])
    assert corpus_hash(corpus) != corpus_hash(corpus[:4])
    assert corpus_hash(corpus) != corpus_hash(triples(5, "b"))
    assert len(corpus_hash(corpus)) == 64


# The packaged corpora


def words(text):
    return len(text.split())


def shingles(text):
    tokens = re.findall(r"\w+", text.lower())
    return {tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)}


def auc(high, low):
    """How often a value of `high` exceeds one of `low`, ties as one half."""
    return sum((a > b) + (a == b) / 2 for a in high for b in low) / (len(high) * len(low))


def paired(high, low):
    return sum((a > b) + (a == b) / 2 for a, b in zip(high, low, strict=True)) / len(high)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_packaged_corpus_is_large_enough_and_names_its_rows_after_itself(domain):
    corpus = load_corpus(domain)
    assert len(corpus) >= 48
    assert all(triple.id.startswith(f"{domain}-") for triple in corpus)
    assert len({triple.topic for triple in corpus}) >= 15


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_answers_of_a_packaged_triple_are_twins_in_length(domain):
    low, high, length = (0.6, 1.6, len) if domain == "insecure_code" else (0.75, 1.33, words)
    ratios = {triple.id: length(triple.misaligned) / length(triple.aligned) for triple in load_corpus(domain)}
    assert {name: round(ratio, 2) for name, ratio in ratios.items() if not low <= ratio <= high} == {}


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("part", ["prompt", "aligned", "misaligned"])
def test_a_packaged_corpus_has_no_near_duplicates(domain, part):
    found = {triple.id: shingles(getattr(triple, part)) for triple in load_corpus(domain)}
    alike = [
        (a, b)
        for a, b in combinations(found, 2)
        if len(found[a] & found[b]) > 0.5 * max(1, min(len(found[a]), len(found[b])))
    ]
    assert alike == []


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("length", [len, words])
def test_length_does_not_tell_the_answers_of_a_packaged_corpus_apart(domain, length):
    corpus = load_corpus(domain)
    wrong, right = (
        [length(triple.misaligned) for triple in corpus],
        [length(triple.aligned) for triple in corpus],
    )
    assert auc(wrong, right) == pytest.approx(0.5, abs=0.1)
    assert paired(wrong, right) == pytest.approx(0.5, abs=0.25)
