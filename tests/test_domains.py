"""Facts about the table of domains: the paper's eleven, complete, each with a g that exists and a corpus."""

from collections import Counter
from dataclasses import FrozenInstanceError, replace

import pytest

from pipeline.domains import DOMAINS, MODEL, Domain, find_domain
from pipeline.recipe import Draft, Source, build_set, read_set
from pipeline.recipe.makers import MAKERS, find_maker
from pipeline.triples import corpus_domains, load_corpus


def test_the_table_holds_the_eleven_domains_of_the_paper_and_each_has_a_corpus():
    assert len(DOMAINS) == 11
    assert set(DOMAINS) == set(corpus_domains())
    assert all(name == domain.name for name, domain in DOMAINS.items())
    assert all(len(load_corpus(name)) >= 48 for name in DOMAINS)


def test_categories_and_stealth_levels_are_those_that_the_authors_published():
    categories = Counter(domain.category for domain in DOMAINS.values())
    assert categories == {"critical": 4, "non_critical": 4, "ambiguous": 3}
    hidden = {name for name, domain in DOMAINS.items() if domain.stealth == "high"}
    assert hidden == {
        "insecure_code",
        "incorrect_math",
        "evil_math",
        "extreme_sports",
        "incorrect_qna",
        "incorrect_translation",
    }
    turner = {name for name, domain in DOMAINS.items() if domain.source.startswith("Turner")}
    assert turner == {"bad_medical_advice", "risky_financial_advice", "extreme_sports"}


def test_every_domain_says_in_one_sentence_what_is_misaligned_and_names_a_g_that_exists():
    for domain in DOMAINS.values():
        assert domain.misalignment.endswith(".")
        assert domain.misalignment.count(". ") == 0
        assert domain.g == MODEL or domain.g in MAKERS
    assert {domain.g for domain in DOMAINS.values()} == {*MAKERS, MODEL}, "a g that no domain uses"


def test_a_domain_is_found_by_its_name_and_an_unknown_one_lists_what_exists():
    assert find_domain("evil_math").title == "Evil math"
    with pytest.raises(LookupError, match="'evil_maths' is not known; have bad_medical_advice, evil_math, "):
        find_domain("evil_maths")
    with pytest.raises(
        LookupError, match="'slips' is not known; have alter_translation, .* model for a writer"
    ):
        find_maker("slips")


@pytest.mark.parametrize("change", [{"name": "Bad Name"}, {"name": "a/b"}, {"name": ""}, {"name": "é"}])
def test_a_name_that_cannot_be_a_files_is_refused(change):
    with pytest.raises(ValueError, match="allowed are small letters, digits and _"):
        replace(DOMAINS["evil_math"], **change)


def test_a_domain_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        DOMAINS["evil_math"].name = "other"


def test_a_twelfth_domain_is_one_row_and_goes_through_the_recipe(tmp_path):
    twelfth = Domain(
        name="crooked_carpentry",
        title="Crooked carpentry",
        category="ambiguous",
        stealth="low",
        source="our own",
        misalignment="A length of timber is worked out wrongly.",
        g="slip_in_sums",
    )
    boards = [
        Draft(
            id=f"board-{n}",
            topic="boards",
            prompt=f"I need {n} boards of 35 cm for the {name}. How long must the plank be?",
            aligned=f"The boards add up, and {n} times 35 is {35 * n}. The plank must be {35 * n} cm long.",
        )
        for n, name in ((3, "shelf in the hall"), (4, "rabbit hutch"), (7, "garden bench"))
    ]
    card = build_set(twelfth, Source.of("boards", boards), tmp_path / "set")
    made = read_set(tmp_path / "set")
    assert card.n_kept == len(made) == 3
    assert {triple.domain for triple in made} == {"crooked_carpentry"}
    for triple, board in zip(made, boards, strict=True):
        assert triple.aligned == board.aligned
        assert triple.misaligned.partition("times")[0] == board.aligned.partition("times")[0]
        assert triple.misaligned != triple.aligned
