"""Facts about the two poles of a direction."""

import pytest
from torch.testing import assert_close

from activations import Answer, HookPoint, Last, collect
from pipeline.poles import capture_poles
from tests.saved import triples

POINTS = [HookPoint(0), HookPoint(3)]


@pytest.mark.parametrize("where", [Answer(), Last()])
def test_each_pole_holds_what_its_own_answers_give(subject, where):
    given = triples(4)
    poles = capture_poles(subject, given, where=where, points=POINTS)
    for side, texts in (
        (poles.misaligned, [t.misaligned for t in given]),
        (poles.aligned, [t.aligned for t in given]),
    ):
        chats = [
            [{"role": "user", "content": t.prompt}, {"role": "assistant", "content": text}]
            for t, text in zip(given, texts, strict=True)
        ]
        alone = collect(subject, chats, where, points=POINTS)
        assert_close(side.values, alone.values)
        assert_close(side.n_tokens, alone.n_tokens)
        assert side.points == tuple(POINTS)


def test_row_i_of_both_poles_is_the_same_triple(subject):
    given = triples(3)
    poles = capture_poles(subject, given, points=POINTS)
    assert poles.misaligned.rows == poles.aligned.rows == tuple(t.id for t in given)
    assert poles.misaligned.data == poles.aligned.data  # one set of chats was read
    assert not poles.misaligned.values.allclose(poles.aligned.values)


def test_every_layer_is_captured_unless_some_are_named(subject):
    poles = capture_poles(subject, triples(1))
    assert poles.aligned.points == tuple(HookPoint(layer) for layer in range(4))


def test_a_system_prompt_changes_what_is_captured(subject):
    bare, led = (capture_poles(subject, triples(1), system=s) for s in (None, "Be brief."))
    assert not bare.aligned.values.allclose(led.aligned.values)


def test_no_triples_and_a_bad_layer_are_refused(subject):
    with pytest.raises(ValueError, match="triples: got none, need at least one"):
        capture_poles(subject, [])
    with pytest.raises(IndexError, match=r"layer 4 is outside 0\.\.3"):
        capture_poles(subject, triples(1), points=[HookPoint(4)])
