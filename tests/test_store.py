"""Facts about activations on disk: read back as written, and refused when damaged or foreign."""

import json
import os
import resource
import signal
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from activations import Activations, HookPoint
from activations.store import FORMAT, load_tensors, save_tensors
from tests.planted import activations, shapes_unchecked, subject


@pytest.fixture
def record():
    return activations(torch.randn(3, 2, 16), rows=("a", "b", "ä"), where='text:"|GO|"')


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def test_what_was_saved_is_read_back(record, path):
    record = replace(record, subject=subject(adapters=("aa", "bb")))
    record.save(path)
    again = Activations.load(path)
    for field in fields(Activations):
        old, new = getattr(record, field.name), getattr(again, field.name)
        assert (
            torch.equal(old, new) and old.dtype == new.dtype if isinstance(old, torch.Tensor) else old == new
        )
    assert os.listdir(path.parent) == [path.name]


def test_saving_again_replaces_the_file(record, path):
    activations(torch.zeros(1, 1, 16)).save(path)
    record.save(path)
    assert Activations.load(path).rows == record.rows


def test_the_file_has_the_permissions_of_any_new_file(record, path):
    record.save(path)
    (path.parent / "other").touch()
    assert path.stat().st_mode == (path.parent / "other").stat().st_mode


def test_rows_and_points_can_be_picked(record):
    picked = record.select([2, 0])
    assert picked.rows == ("ä", "a")
    assert torch.equal(picked.values, record.values[[2, 0]])
    assert torch.equal(picked.norms, record.norms[[2, 0]])
    assert torch.equal(record.at(record.points[1]), record.values[:, 1])
    with pytest.raises(LookupError, match=r"blocks\.9\.hook_resid_post was not captured; have blocks\.1"):
        record.at(HookPoint(9))


@pytest.mark.parametrize(
    "changes",
    [{"rows": ("a",)}, {"points": ()}, {"norms": torch.ones(3, 1)}, {"n_tokens": torch.ones(2).long()}],
)
def test_parts_that_do_not_belong_together_are_refused(record, changes):
    with (
        shapes_unchecked(),
        pytest.raises(ValueError, match=r"activations: \d rows, \d points: values \(3, 2, 16\)"),
    ):
        replace(record, **changes)


@pytest.mark.parametrize("kept", [0, 7, 8, 200, -1])
def test_a_truncated_file_is_refused(record, path, kept):
    record.save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        Activations.load(path)


def test_a_foreign_file_is_refused_by_name(path):
    save_file({"values": torch.ones(1)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"{path}: header has \['format'\], this version reads '{FORMAT}'"):
        Activations.load(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        Activations.load(path)


def changed(facts, **changes):
    return json.dumps({**facts, **changes})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts: "[1, 2]",
        lambda facts: "3",
        lambda facts: "{",
        lambda facts: json.dumps({name: fact for name, fact in facts.items() if name != "where"}),
        lambda facts: changed(facts, points=["blocks.x", "blocks.y"]),
        lambda facts: changed(facts, subject={"name": "x"}),
        lambda facts: changed(facts, subject={**facts["subject"], "colour": "red"}),
        lambda facts: changed(facts, rows=["a"]),
        lambda facts: changed(facts, rows=None),
    ],
)
def test_a_header_that_is_not_ours_is_refused_with_the_files_name(record, path, spoil):
    record.save(path)
    _, facts = load_tensors(path, FORMAT)
    save_file(load_file(path), path, {FORMAT: spoil(facts)})
    with pytest.raises(ValueError, match=str(path)):
        Activations.load(path)


def test_missing_files_and_folders_are_named(record, path, tmp_path):
    with pytest.raises(FileNotFoundError, match="x.safetensors: no such file"):
        Activations.load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        Activations.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        record.save(tmp_path / "nowhere" / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(record, path):
    record.save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"x\.safetensors|File too large"):
            activations(torch.randn(500, 2, 16)).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_what_cannot_be_written_leaves_nothing(path):
    with pytest.raises(TypeError):
        save_tensors(path, "x/1", {"a": torch.ones(1)}, {"fact": object()})
    assert list(path.parent.iterdir()) == []
