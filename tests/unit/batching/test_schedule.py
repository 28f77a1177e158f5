"""Batch kinds have their shares, and every row of a batch goes to one rank."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.batching import shard_batch
from hybrid_dist.batching.schedule import KindSequence, Schedule
from hybrid_dist.errors import UserError

WEIGHTS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=3)


@settings(deadline=None, max_examples=60)
@given(WEIGHTS)
def test_no_prefix_misses_a_kinds_share_by_a_batch(weights: list[float]) -> None:
    steps = 3000
    kinds = KindSequence(weights).take(steps)
    shares = np.array(weights) / sum(weights)
    given_so_far = np.cumsum(kinds[:, None] == np.arange(len(weights)), axis=0)
    earned = np.arange(1, steps + 1)[:, None] * shares
    assert np.abs(given_so_far - earned).max() < 1


@given(st.floats(1e-3, 1e3), st.integers(0, 2))
def test_a_kind_without_weight_is_never_drawn(weight: float, missing: int) -> None:
    weights = [weight, 1.0, 2.0]
    weights[missing] = 0.0
    assert missing not in KindSequence(weights).take(500)


@pytest.mark.parametrize("weights", [(3, 1), (0.75, 0.25), (3e-9, 1e-9), (3e200, 1e200)])
def test_only_the_ratio_of_weights_matters(weights: tuple[float, float]) -> None:
    expected = KindSequence((6, 2)).take(100)
    assert np.array_equal(KindSequence(weights).take(100), expected)


@settings(deadline=None, max_examples=20)
@given(WEIGHTS, st.integers(0, 5))
def test_numbers_count_each_streams_batches_without_a_gap(weights: list[float], seed: int) -> None:
    """Across the borders of blocks too, in which steps are worked out."""
    schedule = Schedule(
        weights, [np.array([1.0, 3.0, 2.0]), *[np.ones(1)] * (len(weights) - 1)], seed
    )
    used: dict[tuple[int, int], int] = {}
    for step in range(17_000):
        kind, choice, number = schedule(step)
        assert number == used.get((kind, choice), 0)
        used[kind, choice] = number + 1
    assert {choice for kind, choice in used if kind} <= {0}


LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=120)


@settings(deadline=None, max_examples=300)
@given(LENGTHS, st.integers(1, 70), st.integers(0, 40))
def test_every_row_goes_to_one_rank_in_equally_many_chunks(
    lengths: list[int], world: int, chunk_size: int
) -> None:
    world, size = min(world, len(lengths)), len(lengths)
    row_lengths = np.array(lengths)
    shards = [shard_batch(row_lengths, rank, world, chunk_size) for rank in range(world)]
    order = np.concatenate([shard.rows for shard in shards])
    assert sorted(order.tolist()) == list(range(size))
    counts = tuple(len(shard.rows) for shard in shards)
    assert {shard.counts for shard in shards} == {counts}
    assert max(counts) - min(counts) <= 1
    assert len({len(shard.chunks) for shard in shards}) == 1
    for shard in shards:
        assert np.array_equal(shard.order, order)
        assert row_lengths[shard.rows].tolist() == sorted(row_lengths[shard.rows].tolist())
        parts = [shard.rows[cut] for cut in shard.chunks]
        assert np.array_equal(np.concatenate(parts), shard.rows)
        assert all(len(part) for part in parts)
        if chunk_size:
            # chunks of one row: the rank with a row more than others has no chunk more for it
            assert max(map(len, parts)) <= max(chunk_size, len(set(counts)))
        else:
            assert len(parts) == 1


@pytest.mark.parametrize("world", [2, 3, 8, 96])
def test_ranks_have_near_equal_work(world: int) -> None:
    lengths = np.random.default_rng(0).lognormal(4, 0.6, 128 * world).astype(int) + 1
    work = [lengths[shard_batch(lengths, rank, world, 0).rows].sum() for rank in range(world)]
    assert max(work) / np.mean(work) < 1.05


def test_a_batch_smaller_than_the_ranks_is_refused() -> None:
    with pytest.raises(UserError, match=r"batching.size: 3 pairs cannot be split over 4 ranks"):
        shard_batch(np.ones(3, int), 0, 4, 0)
