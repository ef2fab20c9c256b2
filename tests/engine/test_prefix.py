"""The store of finished KV caches: longest match, bounded memory, least recently used out."""

from __future__ import annotations

import torch

from step_audio.engine.decoder import KvCache, Step1Decoder
from step_audio.engine.prefix import PrefixCache


def filled(decoder: Step1Decoder, ids: list[int]) -> KvCache:
    cache = decoder.new_cache()
    decoder.extend(torch.tensor([ids]), [cache])
    return cache


def stored(decoder: Step1Decoder, *sequences: list[int], max_bytes: int = 2**30) -> PrefixCache:
    prefixes = PrefixCache(max_bytes)
    for ids in sequences:
        prefixes.store(ids, filled(decoder, ids))
    return prefixes


def test_the_longest_common_prefix_is_copied(decoder: Step1Decoder) -> None:
    prefixes = stored(decoder, [1, 2, 9], [1, 2, 3, 4, 5], [7])
    found = prefixes.find([1, 2, 3, 4, 8, 8])
    assert found is not None
    want = filled(decoder, [1, 2, 3, 4])
    assert found.length == 4
    assert torch.allclose(found.kv[:, :, :, :4], want.kv[:, :, :, :4], atol=1e-6)


def test_nothing_in_common_is_nothing_found(decoder: Step1Decoder) -> None:
    assert stored(decoder, [1, 2]).find([2, 1]) is None
    assert stored(decoder, [1, 2]).find([]) is None
    assert PrefixCache(2**30).find([1]) is None


def test_a_longer_sequence_replaces_its_beginning(decoder: Step1Decoder) -> None:
    prefixes = stored(decoder, [1, 2], [1, 2, 3], [1, 2], [1, 2, 3])
    assert len(prefixes) == 1


def test_memory_is_bounded_and_the_least_recently_used_goes(decoder: Step1Decoder) -> None:
    one = filled(decoder, [1]).nbytes
    prefixes = stored(decoder, [1], [2], [3], max_bytes=3 * one)
    assert prefixes.find([1]) is not None  # 2 is now the oldest
    prefixes.store([4], filled(decoder, [4]))
    assert prefixes.nbytes <= 3 * one
    assert prefixes.find([2]) is None
    assert all(prefixes.find([i]) is not None for i in (1, 3, 4))


def test_a_cache_larger_than_the_whole_store_is_not_kept(decoder: Step1Decoder) -> None:
    assert len(stored(decoder, [1, 2], max_bytes=10)) == 0
