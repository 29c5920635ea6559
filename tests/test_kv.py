"""Facts about the cache with room."""

import torch
from transformers import DynamicCache

from steering.kv import PartOfCache, RoomyCache, cache_tokens

SHAPE = (2, 3, 4, 5)


def cache_of(*tensors):
    cache = DynamicCache()
    for i, tensor in enumerate(tensors):
        cache.update(tensor, -tensor, i)
    return cache


def joined(caches, room):
    """The rows of some caches, one behind the other."""
    roomy, at = RoomyCache(sum(len(cache.layers[0].keys) for cache in caches), room), 0
    for cache in caches:
        for i, layer in enumerate(cache.layers):
            roomy.fill(i, at, layer.keys, layer.values)
        at += len(layer.keys)
    return roomy


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


def test_rows_are_chosen_and_repeated_by_their_index():
    tensor, index = torch.randn(SHAPE), torch.tensor([1, 0, 1] * 30)
    roomy = RoomyCache(92, 1)
    roomy.fill(0, 2, tensor, -tensor, index)
    roomy.fill(0, 0, tensor, -tensor)
    assert torch.equal(roomy.layers[0].keys, torch.cat([tensor, tensor[index]]))
    assert torch.equal(roomy.layers[0].values, -roomy.layers[0].keys)


def test_a_pass_over_a_part_writes_into_the_whole():
    first, second = torch.randn(SHAPE), torch.randn(SHAPE)
    roomy = RoomyCache(4, 1)
    for at, tensor in ((2, second), (0, first)):
        given = PartOfCache(roomy, at).update(tensor, -tensor, 0)
        assert given[0] is tensor
    assert torch.equal(roomy.layers[0].keys, torch.cat([first, second]))


def test_a_new_token_is_written_in_place():
    roomy = joined([cache_of(torch.randn(SHAPE))], room=2)
    before = roomy.layers[0].keys.data_ptr()
    roomy.update(torch.ones(2, 3, 1, 5), torch.ones(2, 3, 1, 5), 0)
    assert roomy.layers[0].keys.data_ptr() == before


def test_a_batch_holds_as_many_tokens_as_keys_and_values_fit(subject, monkeypatch):
    monkeypatch.setattr("steering.kv.KV_BYTES", 10**6)
    assert cache_tokens(subject) == 10**6 // (2 * 4 * 2 * 8 * 4)  # 4 blocks, 2 heads of width 8, float32
