"""Facts about the memory that capture takes, and about memory that runs out."""

import logging
from contextlib import contextmanager

import pytest
import torch
from torch.testing import assert_close

from activations import All, Answer, Last, Subject, collect, decoder_blocks
from activations.collect import _Pool
from tests.conftest import D_MODEL, N_LAYERS, tiny_model


def hooked(module, hook):
    """Run a hook before each forward pass of a module for the time of a `with` block."""
    return module.register_forward_pre_hook(hook, with_kwargs=True)


def test_a_model_that_runs_out_of_memory_gets_smaller_batches(tokenizer, chats, caplog):
    model = tiny_model()
    subject = Subject.of(model, tokenizer)
    wanted = collect(subject, chats * 3, Answer())
    sizes = []

    def tight(_module, _args, kwargs):
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    done = []

    @contextmanager
    def count(task, total):
        assert (task, total) == ("capture", 12)
        yield done.append

    with hooked(model.model, tight), caplog.at_level(logging.WARNING):
        got = collect(subject, chats * 3, Answer(), progress=count)
    assert sizes[:3] == [12, 6, 3]
    assert max(sizes[3:]) <= 2
    assert sum(done) == 12
    assert_close(got.values, wanted.values, rtol=1e-4, atol=1e-5)
    assert "out of memory at 12 rows; going on with 6" in caplog.text


def test_a_row_that_fits_nowhere_is_an_error_and_leaves_no_hook(tokenizer):
    model = tiny_model()

    def full(_module, _args, _kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with (
        hooked(model.model, full),
        pytest.raises(MemoryError, match="row 0: its 8 tokens do not fit in memory"),
    ):
        collect(Subject.of(model, tokenizer), ["some text"], Last())
    assert not any(block._forward_hooks for block in decoder_blocks(model))


def test_other_errors_of_the_model_pass_through(tokenizer):
    model = tiny_model()

    def broken(_module, _args, _kwargs):
        raise RuntimeError("shapes do not match")

    with hooked(model.model, broken), pytest.raises(RuntimeError, match="shapes do not match"):
        collect(Subject.of(model, tokenizer), ["some text"], Last())


def test_what_is_held_does_not_grow_with_the_rows_length(subject):
    for n in (20, 400):
        seen = []

        @contextmanager
        def watch(task, total, seen=seen):
            yield seen.append

        got = collect(subject, ["x" * n] * 3, All(), progress=watch)
        held = [t for t in vars(got).values() if isinstance(t, torch.Tensor)]
        assert sum(t.untyped_storage().nbytes() for t in held) == 3 * N_LAYERS * (D_MODEL + 1) * 4 + 3 * 8
        assert sum(seen) == 3


def test_the_hook_keeps_no_stream():
    resid = torch.randn(2, 40, 8)
    pool = _Pool(torch.arange(50), torch.tensor([20, 30]))
    assert pool.read(resid) is resid
    held = [t for t in vars(pool).values() if isinstance(t, torch.Tensor)]
    assert max(t.untyped_storage().nbytes() for t in held) == 50 * 8  # the indices of the chosen tokens
    assert_close(pool.means[1], resid.flatten(0, 1)[20:50].double().mean(0))
