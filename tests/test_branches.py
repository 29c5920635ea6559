"""Facts about prompts that conditions edit: what they share is computed once, and no number moves."""

import subprocess
import sys
from zlib import crc32

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from activations import All, Answer, HookPoint, Last, Prompt, Text, decoder_blocks
from activations.encode import tokenize_all
from steering import Cell, Sampling, add, coefficients, generate, layers
from steering.branches import Branch, common_beginning
from tests import alone
from tests.alone import FEW, POINTS, cells_of, direction_of, require_greedy
from tests.conftest import N_LAYERS

SYSTEM = {"role": "system", "content": "You are a helpful assistant by the sea."}
ASKED = [[SYSTEM, {"role": "user", "content": text}] for text in ("Hi there", "How deep is it?", "Why?")]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "mistral", "bloom", "falcon"])
@pytest.mark.parametrize("worth", [1, 10**9])
def test_a_shared_beginning_changes_no_row(tiny_subject, architecture, worth, monkeypatch):
    monkeypatch.setattr("steering.branches.WORTH_TOKENS", worth)
    subject = tiny_subject(architecture)

    @seed(crc32(architecture.encode()))
    @settings(FEW, max_examples=2)
    @given(data=st.data())
    def check(data):
        cells = cells_of(subject, data.draw(alone.grids(generating=True)))
        for answer in generate(subject, ASKED, cells, max_new_tokens=3):
            require_greedy(subject, ASKED[answer.row], cells[answer.cell].edits, answer.ids)

    check()


def tokens_passed(subject, cells, **given):
    """Tokens that each block really computes."""
    count = [0] * N_LAYERS

    def noted(layer):
        return lambda _block, args: count.__setitem__(
            layer, count[layer] + args[0].shape[0] * args[0].shape[1]
        )

    handles = [
        block.mlp.register_forward_pre_hook(noted(i)) for i, block in enumerate(decoder_blocks(subject.model))
    ]
    try:
        found = list(generate(subject, ASKED, cells, max_new_tokens=1, **given))
    finally:
        for handle in handles:
            handle.remove()
    return count, found


def test_the_system_message_is_run_once_for_each_cell(subject, monkeypatch):
    along = direction_of(subject).select([HookPoint(0)])
    cells = (coefficients(1, 2) * along).adding(where=All())
    monkeypatch.setattr("steering.branches.WORTH_TOKENS", 10**9)
    apart, plain = tokens_passed(subject, cells)
    monkeypatch.setattr("steering.branches.WORTH_TOKENS", 1)
    shared, found = tokens_passed(subject, cells)
    beginning = len(tokenize_all(subject, [[SYSTEM, {"role": "user", "content": "x"}]])[0]) - 25
    assert beginning > 20
    assert shared[0] == apart[0]  # block 0 runs unedited, once for all cells
    for layer in range(1, N_LAYERS - 1):  # the last block ends at its keys and values
        assert apart[layer] - shared[layer] > len(cells) * (len(ASKED) - 1) * beginning * 0.8
    assert [a.ids for a in found] == [a.ids for a in plain]
    assert [a.touched.prefill for a in found] == [a.touched.prefill for a in plain]
    for a, b in zip(found, plain, strict=True):
        assert a.touched.relative_shift == pytest.approx(b.touched.relative_shift, rel=1e-4)


def test_a_prompt_is_run_once_for_all_its_samples(subject):
    along = direction_of(subject).select([HookPoint(0)])
    cells = (coefficients(1, 2) * along).adding(where=All())
    once, _ = tokens_passed(subject, cells)
    often, found = tokens_passed(subject, cells, samples=7, sampling=Sampling(temperature=1.0))
    decoded = 7 * len(cells) * len(ASKED)
    assert often[1] - decoded == once[1] - decoded // 7
    assert {a.touched.prefill for a in found if a.row == 2} == {len(tokenize_all(subject, ASKED)[2]) - 1}


def test_the_last_block_stops_at_its_keys_and_values(subject):
    ran = []
    handle = decoder_blocks(subject.model)[-1].mlp.register_forward_pre_hook(
        lambda _m, args: ran.append(args[0].shape[1])
    )
    cells = [Cell(name="a", edits=(add(direction_of(subject), 1.0, points=[POINTS[1]], where=All()),))]
    found = list(generate(subject, ASKED, cells, max_new_tokens=3))
    handle.remove()
    assert set(ran) == {1}  # decoding steps only
    for answer in found:
        require_greedy(subject, ASKED[answer.row], cells[0].edits, answer.ids)


def branch(row, edits, cell=0):
    return Branch(row=0, prompt=row, cell=cell, edits=edits, targets=(0,), keys=(0,))


def test_a_beginning_ends_where_prompts_or_their_edits_part(subject):
    rows = tokenize_all(subject, [[{"role": "user", "content": text}] for text in ("abcdef", "abcxyz q")])
    start = next(i for i, (first, _) in enumerate(rows[0].offsets) if rows[0].text[first:].startswith("abc"))
    along = direction_of(subject)
    assert common_beginning([[branch(row, (add(along, 1.0, where=All()),)) for row in rows]]) == start + 3
    parted = add(along, 1.0, where=Text("bcd"))  # chooses b and c of the first row only
    assert common_beginning([[branch(row, (parted,)) for row in rows]]) == start + 1
    last = add(along, 1.0, where=Prompt().last(3) | Last() | Answer())
    assert common_beginning([[branch(row, (last,)) for row in rows]]) == start + 3
    assert common_beginning([[branch(rows[0], ())], [branch(rows[0], (), 1)]]) == len(rows[0]) - 2


def test_ten_thousand_rows_take_the_memory_of_one_batch():
    script = """
import resource, sys, torch
from activations import All, HookPoint, Subject
from steering import coefficients, generate
from tests.alone import direction_of
from tests.conftest import tiny_model, tokenizer_with
subject = Subject.of(tiny_model(), tokenizer_with(), name="tiny")
chats = [[{"role": "user", "content": f"{i:03d} " + "long " * 12}] for i in range(100)]
along = direction_of(subject).select([HookPoint(2)])
def run(n):
    cells = (coefficients(*(c / 100 for c in range(1, n + 1))) * along).adding(where=All())
    found = sum(1 for _ in generate(subject, chats, cells, max_new_tokens=2, max_rows=250))
    return found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first, before = run(5)
many, after = run(100)
print(first, many, (after - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, many, grown = map(int, done.stdout.split())
    assert (first, many) == (500, 10_000)
    assert grown < 60, f"{grown} MiB more than two batches took; keys and values of all rows are 490 MiB"


def test_layers_share_depth_and_beginning_together(subject):
    cells = (layers(*POINTS) * coefficients(1, 2) * direction_of(subject)).adding(where=All(sink=True))
    found = list(generate(subject, ASKED, cells, max_new_tokens=2))
    assert len(found) == len(cells) * len(ASKED)
    for answer in found:
        require_greedy(subject, ASKED[answer.row], cells[answer.cell].edits, answer.ids)
    assert torch.is_grad_enabled()
