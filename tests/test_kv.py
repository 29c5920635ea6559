"""Facts about the cache with room."""

import torch
from transformers import DynamicCache

from steering.kv import cache_tokens, joined

SHAPE = (2, 3, 4, 5)


def cache_of(*tensors):
    cache = DynamicCache()
    for i, tensor in enumerate(tensors):
        cache.update(tensor, -tensor, i)
    return cache


def test_it_holds_what_an_ordinary_cache_holds_and_leaves_its_parts_alone():
    first, second = torch.randn(SHAPE), torch.randn(SHAPE)
    parts = [cache_of(first, second), cache_of(second, first)]
    roomy = joined(parts, room=3)
    ordinary = cache_of(torch.cat([first, second]), torch.cat([second, first]))
    new = torch.randn(3, 4, 3, 1, 5)
    for step in new:
        for layer in (0, 1):
            found = roomy.update(step, 2 * step, layer)
            expected = ordinary.update(step, 2 * step, layer)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert roomy.get_seq_length() == ordinary.get_seq_length()
    assert torch.equal(parts[0].layers[0].keys, first)


def test_rows_can_leave_at_any_time():
    tensor = torch.randn(SHAPE)
    roomy, ordinary = joined([cache_of(tensor)], room=2), cache_of(tensor)
    step = torch.randn(1, 3, 1, 5)
    for cache in (roomy, ordinary):
        cache.update(torch.cat([step, step]), torch.cat([step, step]), 0)
        cache.batch_select_indices(torch.tensor([1]))
        cache.update(step, step, 0)
    assert torch.equal(roomy.layers[0].keys, ordinary.layers[0].keys)
    assert torch.equal(roomy.layers[0].values, ordinary.layers[0].values)


def test_a_new_token_is_written_in_place():
    roomy = joined([cache_of(torch.randn(SHAPE))], room=2)
    before = roomy.layers[0].keys.data_ptr()
    roomy.update(torch.ones(2, 3, 1, 5), torch.ones(2, 3, 1, 5), 0)
    assert roomy.layers[0].keys.data_ptr() == before


def test_a_batch_holds_as_many_tokens_as_keys_and_values_fit(subject, monkeypatch):
    monkeypatch.setattr("steering.kv.KV_BYTES", 10**6)
    assert cache_tokens(subject) == 10**6 // (2 * 4 * 2 * 8 * 4)  # 4 blocks, 2 heads of width 8, float32
