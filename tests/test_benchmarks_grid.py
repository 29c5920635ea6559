"""Facts about what benchmarks compare: the engine, the loop and the peers give the same, and the work is counted."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from activations import All, Answer, HookPoint, Subject
from experiments.benchmarks.agreement import Agreement, compare_rows, refused, turn
from experiments.benchmarks.capture import checked
from experiments.benchmarks.capture_ways import capture_ways
from experiments.benchmarks.generation import generation_ways
from experiments.benchmarks.grid_race import ENGINE, LOOP, agreed, common_tokens, raced
from experiments.benchmarks.peers import by_steering_vectors, plain
from experiments.benchmarks.peers.contract import Shift
from experiments.benchmarks.peers.opening import Opened, open_peers
from experiments.benchmarks.scaling import spread_cells
from experiments.benchmarks.scoring_ways import Scoring
from experiments.benchmarks.setup import answered_questions, batch_of, questions, shift_of
from experiments.benchmarks.work import (
    GeneratedRow,
    Shape,
    engine_operations,
    loop_operations,
    matmul_rate,
)
from steering import Cell, add, additions, generate
from steering.score import Share
from tests.alone import direction_of
from tests.conftest import D_MODEL, N_LAYERS, tiny_model

WHERES = {"all": All(sink=True), "last": Answer(lead=1)}
POINTS = [HookPoint(layer) for layer in range(N_LAYERS)]
TEXTS = ["the ship lies in the harbour", "no", "seven plus nine", "a b c d e f", "x", "yy", "zzz", "wwww"]


def cells_of(subject, tokens, strengths=(0.5, 1.5)):
    return additions([direction_of(subject)], POINTS, strengths, where=WHERES[tokens])


def without_ends(subject):
    """The subject with a model that never ends a turn."""
    model = tiny_model()
    tokenizer = subject.tokenizer
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0.0
    return Subject.of(model, tokenizer)


@pytest.mark.parametrize("tokens", ["all", "last"])
def test_the_race_compares_every_looped_row_and_they_are_the_same(subject, tokens):
    cells, chats = cells_of(subject, tokens), questions(2)
    peers = [by_steering_vectors.opened(subject, "0")]
    race = raced(subject, chats, cells, WHERES[tokens], peers, n=5, rounds=2, sample=3)
    assert [t.name for t in race.timings] == [ENGINE, LOOP, "loop, steering-vectors"]
    for name in race.agreement:
        assert race.agreement[name] == Agreement(rows=12, same=12), name
    assert race.timings[1].scale == len(cells) / 3
    assert (race.cells, race.rows) == (8, 16)
    assert race.share > 0
    assert f"{race.share:.0%}" in race.arithmetic


def test_a_race_against_a_wrong_loop_shows_it(subject):
    right = plain.opened(subject)
    wrong = replace(right, name="wrong", generate=lambda batch, shift, n: right.generate(batch, None, n))
    race = raced(
        subject,
        questions(2),
        cells_of(subject, "all", (9.0,)),
        WHERES["all"],
        [wrong],
        n=4,
        rounds=1,
        sample=4,
    )
    assert race.agreement[LOOP].holds
    assert not race.agreement["loop, wrong"].holds


def test_a_peer_with_other_tokens_is_refused_with_the_reason(subject):
    right = plain.opened(subject)
    deaf = replace(right, name="deaf", generate=lambda batch, shift, n: right.generate(batch, None, n))
    cells = cells_of(subject, "all", (9.0,))
    found = agreed(subject, questions(2), cells, WHERES["all"], 4, Opened(peers=(right, deaf)))
    assert [peer.name for peer in found.peers] == ["plain hooks"]
    assert list(found.absent) == ["deaf, steered at all+sink,"]
    assert "0 of 2 rows have the same tokens" in found.absent["deaf, steered at all+sink,"]


def test_a_peer_with_other_activations_is_refused_but_its_last_block_is_forgiven_where_it_says_so(subject):
    ours = by_steering_vectors.opened(subject, "0")

    def normed(pairs, size):
        found = ours.difference(pairs, size).clone()
        found[-1] *= 0.1
        return found

    honest = replace(ours, name="honest", difference=normed, reads_last_block=False)
    silent = replace(ours, name="silent", difference=normed)
    found = checked(subject, TEXTS * 2, Opened(peers=(ours, honest, silent)))
    assert [peer.name for peer in found.peers] == ["steering-vectors", "honest"]
    assert "differ from those of plain hooks by 0.9" in found.absent["silent"]
    assert list(found.absent) == ["silent"]


def test_a_peer_that_cannot_be_opened_is_named_with_what_it_said(subject):
    def broken(subject, version):
        raise AttributeError("np.float_ was removed")

    packages = {"no-such-package-of-ours": broken, "numpy": broken, "torch": lambda s, v: plain.opened(s)}
    found = open_peers(subject, packages)
    assert [peer.name for peer in found.peers] == ["plain hooks"]
    assert found.absent == {
        "no-such-package-of-ours": "not installed",
        "numpy": "AttributeError: np.float_ was removed",
    }


def test_rows_that_part_at_equal_logits_are_ties_and_others_are_not(subject):
    model = tiny_model()
    twin = Subject.of(model, subject.tokenizer)
    batch = batch_of(twin, questions(2))
    shift = Shift(
        layer=1, vector=torch.randn(D_MODEL, generator=torch.Generator().manual_seed(0)), tokens="last"
    )
    first = plain.generated(twin, batch, shift, 1)[0][0]
    other = (first + 1) % 200 + 20
    with torch.no_grad():
        model.lm_head.weight[other] = model.lm_head.weight[first]
    ours = [row[:1] for row in plain.generated(twin, batch, shift, 1)]
    assert ours[0][0] in (first, other)
    swapped = [[first + other - ours[0][0], 5], ours[1]]
    found = compare_rows(twin, batch, shift, [[*ours[0], 4], ours[1]], swapped)
    assert (found.same, found.ties, found.holds) == (1, 1, True)
    assert found.gap < 1e-5
    wrong = compare_rows(twin, batch, shift, ours, [[(ours[0][0] + 7) % 200 + 20], ours[1]])
    assert (wrong.same, wrong.ties, wrong.holds) == (1, 0, False)
    assert wrong.gap > 0.01


def test_an_answer_that_ends_early_is_no_tie():
    assert turn([5, 2, 9, 9], {2}) == (5, 2)
    assert turn([5, 6], {2}) == (5, 6)
    assert str(Agreement(rows=8, same=7, ties=1)) == "7 of 8, 1 tie"
    assert not Agreement(rows=2, same=1).holds


@pytest.mark.parametrize("tokens", ["all", "last"])
def test_all_ways_to_generate_give_the_same_tokens(subject, tokens):
    edit = add(direction_of(subject), 1.0, points=[POINTS[2]], unit="residual", where=WHERES[tokens])
    cell, chats = Cell(name="steered", edits=(edit,)), questions(2)
    shift = shift_of(cell, edit.where)
    ways = generation_ways(subject, chats, cell, shift, 5, [by_steering_vectors.opened(subject, "0")])
    plainly, around, engine, by_hand, peer = (way() for way in ways.values())
    width = batch_of(subject, chats).input_ids.shape[1]
    assert by_hand == peer == around[:, width:].tolist()
    assert by_hand != plainly
    batch = batch_of(subject, chats)
    ours = [list(answer.ids) for answer in sorted(engine, key=lambda a: a.row)]
    assert compare_rows(subject, batch, shift, ours, by_hand).same == 2


def test_all_ways_to_capture_give_the_same_means(tokenizer):
    subject = Subject.of(
        tiny_model(), tokenizer
    )  # transformers leaves hooks on a model asked for its hidden states
    peer = by_steering_vectors.opened(subject, "0")
    ways = capture_ways(subject, TEXTS[:3], [peer])
    by_hand = ways["hooks by hand, mean inside"]()
    assert by_hand.shape == (N_LAYERS, 3, D_MODEL)
    assert_close(ways["collect, all layers"]().values.transpose(0, 1), by_hand)
    assert_close(ways["steering-vectors"](), by_hand)
    assert_close(ways["output_hidden_states, then mean"]()[:-1], by_hand[:-1])
    assert refused(subject, peer, batch_of(subject, questions(1)), _some_shift(), 3, [[1, 1, 1]])


def _some_shift():
    return Shift(layer=0, vector=torch.zeros(D_MODEL), tokens="all")


@pytest.mark.parametrize("tokens", ["all", "last"])
def test_scores_of_the_loop_by_hand_are_those_of_the_engine(subject, tokens):
    cells = cells_of(subject, tokens)
    scoring = Scoring(subject, answered_questions(subject, 2, 30), cells, WHERES[tokens])
    scoring.engine(Share())()
    for every in (True, False):
        scoring.loop(len(cells), every_logit=every)()
        assert 0 < scoring.largest_difference() < 1e-4
    moved = Scoring(subject, answered_questions(subject, 2, 30), cells[::-1], WHERES[tokens])
    scoring._looped = {}
    moved.loop(len(cells), every_logit=True)()
    scoring._looped = moved._looped
    assert scoring.largest_difference() > 0.01


def test_the_loops_operations_are_those_that_torch_counts(subject):
    endless = without_ends(subject)
    batch, new = batch_of(endless, questions(1)), 6
    shape = replace(
        Shape.of(endless), query_width=0
    )  # torch counts attention over all positions, masked or not
    with FlopCounterMode(display=False) as counter:
        ids = plain.generated(endless, batch, None, new)[0]
    assert len(ids) == new
    matrices = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "attention" not in str(op))
    assert (
        loop_operations(shape, [GeneratedRow(cell=0, prompt=len(batch.rows[0]), new=new, start=None)])
        == matrices
    )


SYSTEM = {
    "role": "system",
    "content": "You answer in one short and friendly sentence, whatever it is about, please.",
}
LONG = [[SYSTEM, {"role": "user", "content": text}] for text in ("Why is it so?", "Can he swim?")]


@pytest.mark.parametrize(("tokens", "chats"), [("all", questions(1)), ("last", questions(1)), ("all", LONG)])
def test_the_engines_operations_are_a_floor_close_to_what_torch_counts(subject, tokens, chats):
    endless, new = without_ends(subject), 6
    cells = cells_of(endless, tokens)
    with FlopCounterMode(display=False) as counter:
        answers = list(generate(endless, chats, cells, max_new_tokens=new))
    assert {len(a.ids) for a in answers} == {new}
    prompts = [row.ids for row in batch_of(endless, chats).rows]
    shared = common_tokens([ids[:-2] for ids in prompts]) if len(prompts) > 1 else 0
    assert shared > 64 or len(chats) == 1
    rows = [
        GeneratedRow(cell=c, prompt=len(ids), new=new, start=cell.start if tokens == "all" else None)
        for c, cell in enumerate(cells)
        for ids in prompts
    ]
    shape = Shape.of(endless)
    floor = engine_operations(replace(shape, query_width=0), list(map(len, prompts)), rows, shared)
    counts = counter.get_flop_counts()["Global"]
    matrices = sum(n for op, n in counts.items() if "attention" not in str(op))
    passed = sum(len(ids) for ids in prompts) + sum(
        r.prompt for r in rows if r.start not in (None, N_LAYERS - 1)
    )
    assert floor <= matrices <= floor + 2 * shape.block_weights * passed  # keys and values of the last block
    assert floor > 0.8 * matrices


def test_a_race_counts_more_work_for_edits_lower_down():
    shape = Shape(n_layers=10, block_weights=1000, head_weights=500, query_width=8)
    none, high, low = (
        engine_operations(shape, [5], [GeneratedRow(cell=0, prompt=5, new=1, start=start)])
        for start in (None, 7, 1)
    )
    # by hand: 4 prompt tokens once through 9 blocks, 1 new token through 10 and the head; attention 4 x 8 x pairs
    assert none == 2 * 1000 * 4 * 9 + 32 * 10 * 9 + 2 * 1000 * 10 + 32 * 5 * 10 + 2 * 500
    assert high - none == 2 * 1000 * 4 * 1 + 32 * 10
    assert low - none == 7 * (high - none)


def test_a_shared_beginning_is_counted_once_for_each_cell():
    shape = Shape(n_layers=3, block_weights=1000, head_weights=500, query_width=8)
    rows = [GeneratedRow(cell=cell, prompt=6, new=1, start=0) for cell in (0, 0, 1)]
    apart, together = (engine_operations(shape, [6, 6], rows, shared) for shared in (0, 4))
    assert apart - together == 2 * 1000 * 4 + 32 * 10  # the second row of the first cell: one block


def test_the_rate_of_matrix_products_is_that_of_a_machine():
    assert 1e8 < matmul_rate(torch.device("cpu"), torch.float32, repeats=1) < 1e15


def test_cells_are_spread_over_layers_and_every_one_is_different(subject):
    direction = direction_of(subject)
    for n in (1, 3, 4, 10):
        cells = spread_cells(direction, list(range(N_LAYERS)), n, All(sink=True))
        assert len({cell.name for cell in cells}) == n
    assert {cell.edits[0].points[0].layer for cell in cells} == set(range(N_LAYERS))


def test_a_cell_that_is_no_simple_shift_has_no_loop_by_hand(subject):
    edit = add(direction_of(subject), 1.0, points=POINTS[:2], where=All(sink=True))
    with pytest.raises(ValueError, match="need one block's output"):
        shift_of(Cell(name="two", edits=(edit,)), All(sink=True))
    with pytest.raises(ValueError, match=r"where: got all, need all\+sink"):
        shift_of(cells_of(subject, "all")[0], All())
