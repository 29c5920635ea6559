"""Facts about the batched edit, on bare tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from activations import All, Answer
from activations.encode import tokenize_all
from steering import add, mirror
from steering.audit import Audit
from steering.rows import EditedRow, RowEdits
from tests.alone import CHATS, FEW, POINTS, by_hand, cells_of, direction_of, grids
from tests.conftest import D_MODEL

POINT = POINTS[3]


def places(rows, width):
    """Rows at the left end, then two new tokens each, then pads."""
    table = np.full((len(rows), width), -1)
    for i, row in enumerate(rows):
        table[i, : len(row) + 2] = np.arange(len(row) + 2)
    return table


@given(grid=grids(generating=True), seed=st.integers(0, 99))
@FEW
def test_all_rows_at_once_equal_each_edit_by_hand(subject, grid, seed):
    rows = tokenize_all(subject, CHATS)
    cells = cells_of(subject, grid)
    own = [EditedRow((i,), rows[i % len(rows)], cell.edits) for i, cell in enumerate(cells)]
    width = max(map(len, rows)) + 4
    table = places([row.row for row in own], width)
    edits = RowEdits(own, Audit())
    edits.prepare(table)
    resid = torch.randn(len(own), width, D_MODEL, generator=torch.Generator().manual_seed(seed))
    before = resid.clone()
    for point in edits.points:
        found = edits.edit_at(point)(resid)
        expected = resid.clone()
        for i, row in enumerate(own):
            for edit in row.edits:
                flags = edit.where.select(row.row) + [edit.where.generated(row.row, k) for k in (0, 1)]
                chosen = torch.tensor(flags + [False] * (width - len(flags)))
                if point in edit.points and not edit.idle:
                    expected[i, chosen] = by_hand(edit, point, expected[i, chosen])
        assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(resid, before)


@pytest.fixture
def rows(subject):
    return tokenize_all(subject, CHATS)


def test_a_row_is_moved_bit_by_bit_the_same_beside_other_operators(subject, rows):
    along = direction_of(subject)
    row = EditedRow(("a",), rows[0], (add(along, 0.7, points=[POINT]),))
    other = EditedRow(("b",), rows[1], (mirror(along, points=[POINT], gate=(0.0, 1.0)),))
    resid = torch.randn(2, 80, D_MODEL)
    results = []
    for batch in ([row], [row, other]):
        edits = RowEdits(batch, Audit())
        edits.prepare(places([r.row for r in batch], 80))
        results.append(edits.edit_at(POINT)(resid[: len(batch)])[0])
    assert torch.equal(*results)


def test_tokens_that_are_not_chosen_keep_every_bit_also_in_bfloat16(subject, rows):
    edits = RowEdits([EditedRow((0,), rows[0], (mirror(direction_of(subject), where=Answer()),))], Audit())
    table = places(rows[:1], 80)
    edits.prepare(table)
    resid = torch.randn(1, 80, D_MODEL).bfloat16()
    found = edits.edit_at(POINT)(resid)
    chosen = torch.zeros(80, dtype=torch.bool)
    chosen[: len(rows[0]) + 2] = torch.tensor([*Answer().select(rows[0]), True, True])
    assert found.dtype == torch.bfloat16
    assert torch.equal(found[0, ~chosen], resid[0, ~chosen])
    assert not torch.equal(found[0, chosen], resid[0, chosen])


def test_edits_at_one_point_act_in_their_order(subject, rows):
    a, b = direction_of(subject, 0), direction_of(subject, 1)
    one, two = add(a, 5.0, points=[POINT]), mirror(b, points=[POINT])
    resid = torch.randn(1, 80, D_MODEL)
    for order in ((one, two), (two, one)):
        edits = RowEdits([EditedRow((0,), rows[0], order)], Audit())
        edits.prepare(places(rows[:1], 80))
        expected = by_hand(order[1], POINT, by_hand(order[0], POINT, resid[0, 1:20]))
        assert_close(edits.edit_at(POINT)(resid)[0, 1:20], expected)


def test_idle_edits_leave_no_trace(subject, rows):
    audit = Audit()
    edits = RowEdits([EditedRow((0,), rows[0], (add(direction_of(subject), 0.0, where=All()),))], audit)
    assert edits.points == ()
    assert audit.all_touched() == {}


def test_new_tokens_are_counted_from_the_end_of_the_row(subject, rows):
    edit = add(direction_of(subject), 1.0, points=[POINT], where=Answer().first(1))
    new = np.arange(len(rows[0]), len(rows[0]) + 3)[None]
    blank = type(rows[0])("q", rows[0].ids, rows[0].offsets, rows[0].text, (), len(rows[0]))
    edits = RowEdits([EditedRow((0,), blank, (edit,))], Audit())
    edits.prepare(new)
    moved = edits.edit_at(POINT)(torch.zeros(1, 3, D_MODEL)).norm(dim=-1) > 0
    assert moved.tolist() == [[True, False, False]]
