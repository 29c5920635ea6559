"""Facts about propensity, against one plain forward pass per answer."""

import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from activations import Answer, HookPoint
from pipeline.propensity import answered, propensity
from steering import UNEDITED, Cell, add
from steering.score import Share
from tests.saved import direction, triples

LAYER = 1


def plain(subject, prompt, answer, shift=None):
    """Return the log-probability of each answer token, by one pass; `shift` is added at all that predict one."""
    tokenizer = subject.tokenizer
    before = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    found = tokenizer(before + answer, add_special_tokens=False, return_offsets_mapping=True)
    ids = torch.tensor([found["input_ids"]])
    first = next(i for i, (_, end) in enumerate(found["offset_mapping"]) if end > len(before))

    def add_shift(_block, _args, output):
        output = output.clone()
        output[:, first - 1 :] += shift
        return output

    block = subject.model.model.layers[LAYER]
    handle = block.register_forward_hook(add_shift) if shift is not None else None
    try:
        with torch.no_grad():
            log_probs = subject.model(ids).logits.double().log_softmax(dim=-1)
    finally:
        if handle is not None:
            handle.remove()
    return log_probs[0, first - 1 : -1].gather(-1, ids[0, first:, None])[:, 0]


@pytest.fixture(scope="module")
def vector():
    return torch.randn(4, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def pushed(subject, vector):
    edit = add(direction(subject.facts, vector), 2.0, points=[LAYER], where=Answer(lead=1))
    return Cell(name="pushed", edits=(edit,))


@pytest.mark.parametrize("share", [Share(), Share(prompt=False, depth=False)])
@pytest.mark.parametrize("max_tokens", [None, 90])
def test_propensity_is_that_of_plain_passes_with_and_without_an_edit(
    subject, vector, pushed, share, max_tokens
):
    given = triples(4)
    rows = list(propensity(subject, given, [UNEDITED, pushed], share=share, max_tokens=max_tokens))
    assert sorted((row.cell, row.triple) for row in rows) == sorted(
        (cell, triple.id) for cell in ("base", "pushed") for triple in given
    )
    for row in rows:
        triple = next(triple for triple in given if triple.id == row.triple)
        shift = 2.0 * vector[LAYER] if row.cell == "pushed" else None
        bad, good = (plain(subject, triple.prompt, a, shift) for a in (triple.misaligned, triple.aligned))
        assert (row.misaligned_tokens, row.aligned_tokens) == (len(bad), len(good))
        assert row.total == pytest.approx(float(bad.sum() - good.sum()), abs=2e-3)
        assert row.per_token == pytest.approx(float(bad.mean() - good.mean()), abs=1e-4)
        assert (row.relative_shift > 0) == (row.cell == "pushed")
        assert row.domain == triple.domain


def test_swapping_the_answers_flips_the_sign(subject, pushed):
    given = triples(3)
    swapped = [replace(t, aligned=t.misaligned, misaligned=t.aligned) for t in given]
    for cell in (UNEDITED, pushed):
        there = {row.triple: row for row in propensity(subject, given, [cell])}
        for row in propensity(subject, swapped, [cell]):
            assert row.total == pytest.approx(-there[row.triple].total, abs=1e-4)
            assert row.per_token == pytest.approx(-there[row.triple].per_token, abs=1e-5)


def test_a_direction_towards_the_misaligned_token_raises_propensity_step_by_step(subject):
    triple = replace(triples(1)[0], aligned="B", misaligned="A")
    good, bad = (subject.tokenizer(text)["input_ids"][0] for text in ("B", "A"))
    weights = subject.model.lm_head.weight.detach()
    towards = (weights[bad] - weights[good]) * subject.model.model.norm.weight.detach()
    planted = direction(subject.facts, towards.expand(4, -1).contiguous())
    steps = (-2.0, -0.5, 0.0, 0.5, 2.0)
    cells = [
        Cell(name=f"{step}", edits=(add(planted, step, points=[HookPoint(3)], where=Answer(lead=1)),))
        for step in steps
    ]
    found = {row.cell: row.per_token for row in propensity(subject, [triple], cells)}
    ordered = [found[f"{step}"] for step in steps]
    assert ordered == sorted(ordered)
    assert ordered[0] < ordered[2] < ordered[4]


def test_pairs_are_yielded_as_batches_finish_also_when_a_pair_is_split(subject, pushed):
    given = triples(5)
    scored, counts = 0, []

    @contextmanager
    def progress(_task, total):
        def advance(units):
            nonlocal scored
            scored += units

        counts.append(total)
        yield advance

    rows = propensity(subject, given, [UNEDITED, pushed], max_tokens=1, progress=progress)
    next(rows)
    assert counts == [20]
    assert 2 <= scored < 20  # one answer in each batch: the first pair does not wait for the last
    rest = list(rows)
    assert scored == 20
    assert len({(row.cell, row.triple) for row in rest}) == 9
    whole = {(row.cell, row.triple): row for row in propensity(subject, given, [UNEDITED, pushed])}
    for row in rest:
        assert row.per_token == pytest.approx(whole[row.cell, row.triple].per_token, abs=1e-5)


def test_a_system_prompt_stands_before_the_prompt_and_changes_the_number(subject):
    triple = triples(1)[0]
    chat = answered(triple, "Yes", "Be brief.")
    assert [message["role"] for message in chat] == ["system", "user", "assistant"]
    (bare,), (led,) = (list(propensity(subject, [triple], [UNEDITED], system=s)) for s in (None, "Be brief."))
    assert not math.isclose(bare.per_token, led.per_token, abs_tol=1e-6)


def test_no_triples_are_refused(subject):
    with pytest.raises(ValueError, match="triples: got none, need at least one"):
        list(propensity(subject, [], [UNEDITED]))


def test_an_error_names_the_triple_and_the_answer(subject):
    triple = replace(triples(1)[0], misaligned="x" * 600)
    with pytest.raises(
        ValueError, match=r"seafaring-0 misaligned: \d+ tokens, the model's context holds 512"
    ):
        list(propensity(subject, [triple], [UNEDITED]))
