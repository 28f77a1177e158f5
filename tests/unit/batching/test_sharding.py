"""Chunks by tokens: as many on every rank, none longer than allowed, of equal work."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.batching import RankShard, shard_batch
from hybrid_dist.batching.sharding import equal_cuts, fewest_chunks

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=120)


@settings(deadline=None, max_examples=200)
@given(LENGTHS, st.integers(1, 40), st.integers(1, 3000))
def test_every_rank_cuts_its_rows_into_equally_many_chunks(
    lengths: list[int], world: int, most: int
) -> None:
    world, row_lengths = min(world, len(lengths)), np.array(lengths)
    shards = [shard_batch(row_lengths, rank, world, 0, most) for rank in range(world)]
    by_pairs = [shard_batch(row_lengths, rank, world, 0) for rank in range(world)]
    (chunks,) = {len(shard.chunks) for shard in shards}
    needed = [fewest_chunks(row_lengths[shard.rows], most) for shard in shards]
    smallest = min(len(shard.rows) for shard in shards)
    assert chunks == min(max(needed), smallest)
    for shard, other in zip(shards, by_pairs, strict=True):
        assert np.array_equal(shard.rows, other.rows), "rows stay where they are"
        parts = [shard.rows[cut] for cut in shard.chunks]
        assert np.array_equal(np.concatenate(parts), shard.rows)
        assert all(len(part) for part in parts)
        if chunks == max(needed):
            for part in parts:
                assert row_lengths[part].sum() <= most or len(part) == 1


def test_ranks_that_need_fewer_chunks_make_as_many_as_the_others() -> None:
    random = np.random.default_rng(0)
    unequal = 0
    for size in range(10, 40):
        lengths = random.lognormal(4, 0.6, size).astype(int) + 1
        most = int(lengths.sum()) // 9
        shards = [shard_batch(lengths, rank, 3, 0, most) for rank in range(3)]
        needed = [fewest_chunks(lengths[shard.rows], most) for shard in shards]
        unequal += len(set(needed)) > 1
        fewest = min(len(shard.rows) for shard in shards)
        assert {len(shard.chunks) for shard in shards} == {min(max(needed), fewest)}
        steady = [shard_batch(lengths, rank, 3, 0, most, 6) for rank in range(3)]
        assert {len(shard.chunks) for shard in steady} == {min(max(6, *needed), fewest)}
    assert unequal >= 5


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(1, 9))
def test_the_longest_chunk_is_as_short_as_any_cuts_make_it(lengths: list[int], chunks: int) -> None:
    rows, chunks = len(lengths), min(chunks, len(lengths))

    def longest(cuts: list[int]) -> int:
        return max(sum(lengths[a:b]) for a, b in pairwise(cuts))

    every = [[0, *inner, rows] for inner in combinations(range(1, rows), chunks - 1)]
    cuts = equal_cuts(np.array(lengths), chunks)
    assert len(cuts) == chunks + 1
    assert (cuts[0], cuts[-1]) == (0, rows) and sorted(set(cuts)) == cuts
    best = longest(cuts)
    assert best == min(map(longest, every))
    assert fewest_chunks(np.array(lengths), best) <= chunks
    if best > max(lengths):
        assert fewest_chunks(np.array(lengths), best - 1) > chunks


def test_a_row_longer_than_allowed_is_a_chunk_and_leaves_the_others_short() -> None:
    lengths = np.array([1, 1, 1, 1, 100])
    assert fewest_chunks(lengths, 2) == 3
    assert equal_cuts(lengths, 3) == [0, 2, 4, 5]
    assert shard_batch(lengths, 0, 1, 0, 2).chunks == (slice(0, 2), slice(2, 4), slice(4, 5))


@pytest.mark.parametrize("world", [1, 4])
def test_chunks_by_tokens_are_even_where_chunks_by_pairs_are_not(world: int) -> None:
    random = np.random.default_rng(0)
    lengths = random.lognormal(4.2, 0.6, 256 * world).astype(int) + 8
    by_pairs = shard_batch(lengths, 0, world, 32)
    by_tokens = shard_batch(lengths, 0, world, 0, 4096)

    def sizes(shard: RankShard) -> np.ndarray:
        chunks = shard.chunks
        return np.array([lengths[shard.rows[cut]].sum() for cut in chunks])

    assert len(sizes(by_tokens)) <= len(sizes(by_pairs))
    assert sizes(by_tokens).max() <= 4096 < sizes(by_pairs).max()
    assert sizes(by_tokens).max() / sizes(by_tokens).mean() < 1.1
    assert sizes(by_tokens)[-1] >= 0.9 * sizes(by_tokens).max(), "the last is not recomputed"
