"""Facts about the cache with room."""

import pytest
import torch
from transformers import DynamicCache

from steering.kv import Copies, PartOfCache, PromptCache, RoomyCache, StoredError, cache_tokens

SHAPE = (2, 3, 4, 5)


def cache_of(*tensors):
    cache = DynamicCache()
    for i, tensor in enumerate(tensors):
        cache.update(tensor, -tensor, i)
    return cache


def in_order(n, at=0, length=4):
    """Each of `n` rows once, to the rows from `at` on."""
    return Copies(range(n), range(at, at + n), [length] * n, right=True)


def joined(caches, room):
    """The rows of some caches, one behind the other."""
    length = caches[0].layers[0].keys.shape[-2]
    roomy, at = RoomyCache(sum(len(cache.layers[0].keys) for cache in caches), length, room), 0
    for cache in caches:
        for i, layer in enumerate(cache.layers):
            roomy.fill(i, layer.keys, layer.values, in_order(len(layer.keys), at))
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
    tensor, index = torch.randn(SHAPE), [1, 0, 1] * 30
    roomy = RoomyCache(92, 4, 1)
    roomy.fill(0, tensor, -tensor, Copies(index, range(2, 92), [4] * 90, right=True))
    roomy.fill(0, tensor, -tensor, in_order(2))
    assert torch.equal(roomy.layers[0].keys, torch.cat([tensor, tensor[index]]))
    assert torch.equal(roomy.layers[0].values, -roomy.layers[0].keys)


@pytest.mark.parametrize("right", [True, False])
def test_shorter_rows_end_where_the_others_end_behind_zeros(right):
    tensor = torch.randn(SHAPE)
    roomy = RoomyCache(2, 4, 1)
    roomy.fill(0, tensor, -tensor, Copies([1, 0], [0, 1], [4, 2], right=right))
    found, own = roomy.layers[0].keys, tensor[0, :, 2:] if right else tensor[0, :, :2]
    assert torch.equal(found[0], tensor[1])
    assert torch.equal(found[1, :, 2:], own)
    assert not found[1, :, :2].any()


def test_a_pass_over_a_part_writes_into_the_whole_behind_what_stood_before():
    before, new, index = PromptCache(None), torch.randn(3, 3, 2, 5), torch.tensor([1, 0, 1])
    first = torch.randn(SHAPE)
    before.update(first, -first, 1)  # block 0 was skipped
    roomy = RoomyCache(3, 6, 1)
    part = PartOfCache(roomy, Copies(range(3), [2, 1, 0], [6, 6, 6], right=False), before, index, 1)
    assert part.get_seq_length() == 4
    with pytest.raises(StoredError):
        part.update(new, -new, 1)
    whole = torch.cat([first[index], new], dim=-2)
    assert torch.equal(roomy.layers[1].keys, whole.flip(0))
    assert torch.equal(roomy.layers[1].values, -whole.flip(0))


def test_a_new_token_is_written_in_place():
    roomy = joined([cache_of(torch.randn(SHAPE))], room=2)
    before = roomy.layers[0].keys.data_ptr()
    roomy.update(torch.ones(2, 3, 1, 5), torch.ones(2, 3, 1, 5), 0)
    assert roomy.layers[0].keys.data_ptr() == before


def test_a_batch_holds_as_many_tokens_as_keys_and_values_fit(subject, monkeypatch):
    monkeypatch.setattr("steering.kv.KV_BYTES", 10**6)
    assert cache_tokens(subject) == 10**6 // (2 * 4 * 2 * 8 * 4)  # 4 blocks, 2 heads of width 8, float32
