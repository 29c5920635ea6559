"""Facts about the record of a direction: what it refuses, its algebra, and its file."""

import json
import resource
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from activations import HookPoint, SubjectFacts
from steering.direction import Direction
from steering.direction_file import FORMAT, facts_from_json
from tests.planted import POINTS, direction, shapes_unchecked, subject

SCALARS = st.floats(-100, 100).filter(lambda number: abs(number) > 0.01)


def seeded(seed: int, /, **changes: object) -> Direction:
    return direction(torch.randn(3, 16, generator=torch.Generator().manual_seed(seed)), **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "planted.safetensors"


# Construction


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": subject(d_model=8)}, r"'planted': vectors: got \(3, 16\) torch.float32, need \(3, 8\)"),
        ({"vectors": torch.ones(3, 16).double()}, "torch.float64, need .* torch.float32"),
        (
            {"vectors": torch.ones(3, 16).index_fill(0, torch.tensor(1), torch.nan)},
            "nan or inf at 1 of 3 points",
        ),
        ({"vectors": torch.full((3, 16), torch.inf)}, "nan or inf at 3 of 3 points"),
        ({"vectors": torch.ones(2, 16), "points": POINTS, "norms": torch.ones(3)}, r"got \(2, 16\)"),
        ({"vectors": torch.ones(16), "points": POINTS, "norms": torch.ones(3)}, r"got \(16,\)"),
        ({"norms": torch.ones(2)}, r"norms: got \(2,\) torch.float32, need \(3,\)"),
        ({"norms": torch.tensor([1.0, 0.0, 1.0])}, "need numbers above 0"),
        ({"norms": torch.tensor([1.0, torch.nan, 1.0])}, "norms: nan or inf at 1 of 3"),
        ({"points": ()}, "need at least one, each once"),
        ({"points": (POINTS[0], POINTS[1], POINTS[0])}, "each once"),
        ({"points": (POINTS[0], POINTS[1], HookPoint(4))}, r"blocks.4.hook_resid_post is outside .* 0\.\.3"),
        ({"points": (POINTS[0], POINTS[1], HookPoint(-1))}, r"outside the model's layers 0\.\.3"),
        ({"n_negative": -1}, "counts are 30 positive and -1 negative"),
        ({"reliability": {"split_half_cosine": (0.9, 0.8)}}, "need a number for each of 3 points"),
        ({"reliability": {"split_half_cosine": (0.9, 0.8, float("nan"))}}, "split_half_cosine is .*nan"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(changes: dict[str, object], message: str):
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        direction(**changes)


# Looking things up


def test_a_vector_is_found_by_point_and_by_a_layer_with_one_site():
    planted = direction()
    assert_close(planted.at(HookPoint(2, "resid_pre")), planted.vectors[1], rtol=0, atol=0)
    assert_close(planted.at(1), planted.vectors[0], rtol=0, atol=0)


def test_a_layer_with_two_sites_or_none_is_refused_with_what_there_is():
    with pytest.raises(
        LookupError, match="several vectors; name the site at 2; it has blocks.1.hook_resid_post"
    ):
        direction().at(2)
    with pytest.raises(LookupError, match="no vector at blocks.1.hook_resid_pre"):
        direction().at(HookPoint(1, "resid_pre"))


def test_a_selection_takes_every_fact_of_its_points_along():
    chosen = direction(norms=torch.tensor([1.0, 2.0, 3.0])).select([HookPoint(2), 1])
    assert chosen.points == (HookPoint(2), HookPoint(1))
    assert_close(chosen.vectors, direction().vectors[[2, 0]], rtol=0, atol=0)
    assert chosen.norms.tolist() == [3.0, 1.0]
    assert chosen.reliability == {"split_half_cosine": (0.7, 0.9)}


# Algebra


@settings(max_examples=25, deadline=None)
@given(a=st.integers(0, 99), b=st.integers(100, 199), scalar=SCALARS)
def test_algebra_is_that_of_vectors(a: int, b: int, scalar: float):
    one, other = seeded(a), seeded(b)
    assert_close((one + other).vectors, one.vectors + other.vectors)
    assert_close((one + other - other).vectors, one.vectors, rtol=1e-4, atol=1e-5)
    assert_close((scalar * one / scalar).vectors, one.vectors)
    assert_close((one * scalar).vectors, (scalar * one).vectors, rtol=0, atol=0)
    assert_close((-one).vectors, -one.vectors, rtol=0, atol=0)


@settings(max_examples=25, deadline=None)
@given(a=st.integers(0, 99), b=st.integers(100, 199), scalar=SCALARS)
def test_cosines_see_the_sign_of_a_scale_but_not_its_size(a: int, b: int, scalar: float):
    one, other = seeded(a), seeded(b)
    sign = 1 if scalar > 0 else -1
    assert_close((scalar * one).cosine(other), sign * one.cosine(other), rtol=0, atol=1e-6)
    assert_close(one.cosine(other), other.cosine(one), rtol=0, atol=0)
    assert_close(one.cosine(-one), -torch.ones(3).double())


@settings(max_examples=25, deadline=None)
@given(a=st.integers(0, 99), b=st.integers(100, 199), scalar=SCALARS)
def test_what_is_projected_out_is_gone_and_stays_gone(a: int, b: int, scalar: float):
    one, other = seeded(a), seeded(b)
    rest = one.project_out(scalar * other)
    assert rest.cosine(other).abs().max() < 1e-6
    assert_close(rest.project_out(other).vectors, rest.vectors, rtol=0, atol=1e-6)
    assert_close(one.unit().vectors.norm(dim=-1), torch.ones(3))


def test_the_operands_are_as_before():
    one, other = seeded(1), seeded(2)
    before = one.vectors.clone(), other.vectors.clone()
    for combined in (one + other, one - other, -one, 2 * one, one.unit(), one.project_out(other)):
        combined.vectors.zero_()
    assert_close((one.vectors, other.vectors), before, rtol=0, atol=0)


def test_a_combination_says_what_it_was_made_from_and_rests_on_the_weaker_part():
    tuned = seeded(1, made_from="bad_medical_advice", norms=torch.full((3,), 4.0))
    tuned = replace(tuned, subject=subject(adapters=("aaaa",)))
    shared = seeded(2, made_from="shared", n_positive=5, seed=9, data=("cc" * 32,), where="last")
    combined = (tuned - shared).unit()

    assert combined.made_from == combined.name == "(bad_medical_advice - shared).unit()"
    assert (combined.n_positive, combined.n_negative) == (5, 20)
    assert combined.data == ("aa" * 32, "bb" * 32, "cc" * 32)
    assert combined.subject.adapters == ("aaaa",)
    assert combined.where == "answer | last"
    assert combined.estimator == "difference_of_means"
    assert combined.seed is None
    assert combined.norms.tolist() == [7.0, 7.0, 7.0]
    assert combined.reliability == {}


def test_expressions_can_be_read_back():
    a, b = seeded(1, made_from="a"), seeded(2, made_from="b")
    assert (-(a + b) / 4).made_from == "((-(a + b)) / 4)"
    assert (0.1 * a.project_out(b)).made_from == "(0.1 * a.project_out(b))"


def test_scaling_keeps_the_reliability_which_does_not_depend_on_scale():
    assert (-2 * direction()).unit().reliability == direction().reliability


@pytest.mark.parametrize("operation", ["__add__", "__sub__", "cosine", "project_out", "require_matches"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"subject": subject(fingerprint="f" * 16, name="huge")},
            "fingerprint '0123.*' is not 'ffff.*'; name 'tiny'",
        ),
        ({"subject": subject(n_layers=6)}, "n_layers 4 is not 6"),
        ({"subject": subject(template="0" * 16)}, "template 'fedc.*' is not '0000"),
        (
            {"points": (POINTS[0], POINTS[1], HookPoint(3))},
            "points blocks.1.* are not .*blocks.3.hook_resid_post",
        ),
    ],
)
def test_directions_of_other_models_or_points_do_not_combine(
    operation: str, changes: dict[str, object], message: str
):
    with pytest.raises(ValueError, match=message):
        getattr(direction(), operation)(direction(**changes))


def test_a_zero_vector_has_no_unit_and_the_message_says_where():
    flat = direction(torch.ones(3, 16).index_fill(0, torch.tensor(1), 0))
    for attempt in (flat.unit, lambda: flat.cosine(direction()), lambda: direction().project_out(flat)):
        with pytest.raises(ValueError, match="is zero at blocks.2.hook_resid_pre; select"):
            attempt()
    with pytest.raises(ZeroDivisionError, match="'planted' divided by 0"):
        direction() / 0


# Fitting a model


@pytest.mark.parametrize(
    "changes", [{"name": "folder/tiny"}, {"revision": "v2"}, {"adapters": ("aaaa", "bbbb")}, {}], ids=str
)
def test_the_same_weights_under_another_name_or_adapter_fit(changes: dict[str, object]):
    direction().require_fits(subject(**changes))
    assert direction().differences_from(subject(**changes)) == []


def test_a_wrong_model_is_refused_with_every_fact_that_differs():
    other = subject(name="huge", fingerprint="f" * 16, d_model=32, n_layers=8, template="0" * 16)
    with pytest.raises(ValueError, match="direction 'planted' does not fit model 'huge'") as caught:
        direction().require_fits(other)
    for fact in (
        "fingerprint '0123456789abcdef' is not 'ffffffffffffffff'",
        "d_model 16 is not 32",
        "n_layers 4 is not 8",
    ):
        assert fact in str(caught.value)
    assert "template" in str(caught.value)


# Files


def assert_same(one: Direction, other: Direction) -> None:
    for field in fields(Direction):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(ours, torch.Tensor):
            assert_close(theirs, ours, rtol=0, atol=0)
            assert theirs.dtype == ours.dtype
        else:
            assert theirs == ours, field.name


@settings(max_examples=25, deadline=None)
@given(
    name=st.text(), where=st.text(), seed=st.none() | st.integers(0, 2**63),
    numbers=st.lists(st.floats(-1, 1), min_size=3, max_size=3), adapters=st.lists(st.text(), max_size=2),
)  # fmt: skip
def test_a_direction_comes_back_from_its_file_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    where: str,
    seed: int | None,
    numbers: list[float],
    adapters: list[str],
):
    path = tmp_path_factory.mktemp("saved") / "a.safetensors"
    facts = {"name": name, "where": where, "seed": seed, "reliability": {"bootstrap_angle": tuple(numbers)}}
    saved = seeded(1, **facts, subject=subject(adapters=tuple(adapters)))
    saved.save(path)
    assert_same(Direction.load(path, saved.subject), saved)


def test_the_file_is_plain_safetensors_with_the_conventions_spelled_out(path: Path):
    direction().save(path)
    assert_close(load_file(path)["vectors"], direction().vectors, rtol=0, atol=0)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    facts = json.loads(header["misdirection.direction/1"])
    assert facts["points"] == [
        "blocks.1.hook_resid_post",
        "blocks.2.hook_resid_pre",
        "blocks.2.hook_resid_post",
    ]
    assert "from 0" in facts["index_convention"]
    assert set(facts) == {field.name for field in fields(Direction)} - {"vectors", "norms"} | {
        "index_convention",
        "unit",
    }
    assert set(facts["subject"]) == {field.name for field in fields(SubjectFacts)}


def test_a_loaded_direction_does_not_change_with_its_file(path: Path):
    direction().save(path)
    loaded = Direction.load(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert_same(loaded, direction())


def test_a_loaded_direction_can_be_saved_over_its_own_file(path: Path):
    direction().save(path)
    Direction.load(path).save(path)
    assert_same(Direction.load(path), direction())


def test_a_missing_file_is_named(path: Path):
    with pytest.raises(FileNotFoundError, match=r"planted\.safetensors"):
        Direction.load(path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, 0.5, 0.9, -1])
def test_a_truncated_file_is_refused_by_name(path: Path, kept: float):
    direction().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if 0 < kept < 1 else int(kept)])
    with pytest.raises(ValueError, match=r"planted\.safetensors: not a whole safetensors file"):
        Direction.load(path)


@pytest.mark.parametrize(
    "content", [b"this is a text file, and long enough", b"\x80\x04\x95pickle" * 9, b"\0" * 64]
)
def test_a_file_of_another_kind_is_refused_by_name(path: Path, content: bytes):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"planted\.safetensors: not a whole safetensors file"):
        Direction.load(path)


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"misdirection.direction/2": "{}"}])
def test_a_foreign_safetensors_file_is_refused_by_its_tag(path: Path, header: dict[str, str] | None):
    save_file({"vectors": torch.ones(3, 16)}, path, header)
    with pytest.raises(ValueError, match=r"planted\.safetensors.*reads 'misdirection\.direction/1'"):
        Direction.load(path)


def rewrite(
    path: Path, tensors: dict[str, torch.Tensor] | None = None, drop: str = "", **changes: object
) -> None:
    """Save the planted direction with another header or other tensors, as a careless tool would."""
    direction().save(path)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    facts = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"][FORMAT])
    facts = {name: fact for name, fact in {**facts, **changes}.items() if name != drop}
    save_file({**load_file(path), **(tensors or {})}, path, {FORMAT: json.dumps(facts)})


@pytest.mark.parametrize("fact", ["points", "subject", "where", "data", "made_from", "index_convention"])
def test_a_missing_fact_is_named(path: Path, fact: str):
    rewrite(path, drop=fact)
    with pytest.raises(ValueError, match=rf"planted\.safetensors: the header lacks {fact}"):
        Direction.load(path)


SUBJECT = subject().as_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "unknown facts surprise"),
        ({"points": ["layer 5"]}, "fact 'points': hook point 'layer 5'"),
        ({"points": "blocks.1.hook_resid_post"}, "fact 'points': got .* need list"),
        ({"n_positive": "30"}, "fact 'n_positive': got '30' of type str, need int"),
        ({"n_positive": True}, "fact 'n_positive': got True"),
        ({"seed": 1.5}, "fact 'seed'"),
        ({"name": None}, "fact 'name': got None"),
        ({"data": [1]}, "fact 'data': got 1 of type int, need str"),
        ({"reliability": {"split_half_cosine": ["0.9"]}}, "fact 'reliability'"),
        ({"reliability": {"split_half_cosine": [10**400, 0, 0]}}, "fact 'reliability'"),
        ({"reliability": {"split_half_cosine": [0.9]}}, "need a number for each of 3 points"),
        ({"subject": {**SUBJECT, "d_model": "16"}}, "fact 'subject': got '16'"),
        ({"subject": {**SUBJECT, "adapters": "aaaa"}}, "fact 'subject': got 'aaaa'"),
        ({"subject": {"name": "tiny"}}, "fact 'subject': got .'name'., need"),
        ({"subject": []}, "fact 'subject'"),
        ({"index_convention": "from 1"}, "fact 'index_convention': got 'from 1', this version reads"),
        ({"tensors": {"vectors": torch.ones(2, 16)}}, r"vectors: got \(2, 16\) .* need \(3, 16\)"),
        ({"tensors": {"vectors": torch.ones(3, 8)}}, r"vectors: got \(3, 8\)"),
        ({"tensors": {"norms": torch.ones(4)}}, r"norms: got \(4,\)"),
        ({"tensors": {"vectors": torch.full((3, 16), torch.nan)}}, "nan or inf at 3 of 3"),
        ({"tensors": {"extra": torch.ones(1)}}, "holds tensors .'extra', 'norms', 'vectors'., need"),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_refused_by_file_and_fact(path: Path, changes: dict[str, object], message: str):
    rewrite(path, **changes)
    with shapes_unchecked(), pytest.raises(ValueError, match=rf"planted\.safetensors: .*{message}"):
        Direction.load(path)


@pytest.mark.parametrize("header", [[], 3, "text", None])
def test_a_header_that_is_not_an_object_is_refused(header: object):
    with pytest.raises(ValueError, match="need an object of facts"):
        facts_from_json(header)


def test_a_direction_for_another_model_is_refused_on_load(path: Path):
    direction().save(path)
    with pytest.raises(
        ValueError, match=r"planted\.safetensors: direction 'planted' does not fit .* n_layers 4 is not 5"
    ):
        Direction.load(path, subject(name="huge", n_layers=5))


def test_a_save_that_fails_at_the_end_leaves_nothing_behind(tmp_path: Path):
    occupied = tmp_path / "folder"
    (occupied / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        direction().save(occupied)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_save_that_fails_halfway_keeps_the_old_file_and_leaves_nothing_behind(path: Path):
    direction().save(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # as a disk that is full after 1 KiB
    try:
        with pytest.raises(OSError, match="planted"):
            seeded(5).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_same(Direction.load(path), direction())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        direction().save(tmp_path / "nowhere" / "a.safetensors")
