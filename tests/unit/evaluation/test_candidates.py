"""Candidates from tiles: those of a full sort by (score, row), and from the pass that ranks."""

import numpy as np
import pytest
import torch

from hybrid_dist.evaluation.ranking import exact_ranks, ranks_and_candidates
from hybrid_dist.evaluation.search import SPARE, merge_proposals, propose_by_tiles, top_k
from hybrid_dist.evaluation.tiles import SHARED_TILES, Grid, Shard
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import (
    exact_vectors,
    order,
    plant_duplicates,
    random_task,
    unit_vectors,
)
from tests.support.host_reads import counted_reads

ALONE = Ranks()
TWO_TILES = Grid(kept_bytes=4 << 20)
GRIDS = [Grid(), TWO_TILES, Grid.of(torch.device("cuda"), 700, 2048 * SHARED_TILES)]
NAMES = ["cpu", "windows of two tiles", "gpu"]


@pytest.mark.parametrize("grid", GRIDS, ids=NAMES)
@pytest.mark.parametrize("count", [1, 26, 150, 700, 4000])
def test_candidates_are_those_of_a_full_sort(grid: Grid, count: int) -> None:
    """Products are exact and most of them tie; groups are of 16 rows and fewer."""
    rng = np.random.default_rng(count)
    queries, passages = exact_vectors(rng, 40, 4), exact_vectors(rng, 4 * 1024 + 9, 4)
    shard = Shard.of(0, passages, ALONE.device, grid)
    assert np.array_equal(
        propose_by_tiles(queries, shard, count), order(queries @ passages.T)[:, :count]
    )


def test_negative_scores_come_before_padding() -> None:
    passages = -np.eye(3, dtype=np.float32)
    shard = Shard.of(0, passages, ALONE.device)
    assert propose_by_tiles(-passages, shard, 3).tolist() == [[1, 2, 0], [0, 2, 1], [0, 1, 2]]


@pytest.mark.parametrize("grid", GRIDS, ids=NAMES)
def test_one_pass_gives_the_ranks_and_the_top_of_separate_passes(grid: Grid) -> None:
    rng = np.random.default_rng(8)
    task = random_task(rng, languages=5, queries=700, passages=8 * 1024 + 300, most_answers=4)
    queries, passages = unit_vectors(rng, 700), unit_vectors(rng, len(task.passage_ids))
    plant_duplicates(rng, passages, task)
    passages[rng.integers(0, len(passages), 60)] = queries[5]
    whole = [Shard.of(0, passages, ALONE.device, grid)]
    ranking, top = exact_ranks(task, queries, whole, ALONE), top_k(queries, whole, 10, ALONE)
    for count in (1, 2, 3, 8):
        held = grid.shards(len(passages), count)
        shards = [Shard.of(h.start, passages[h.start : h.stop], ALONE.device, grid) for h in held]
        shared, rows = ranks_and_candidates(task, queries, shards, ALONE, 10 + SPARE)
        merged = merge_proposals(queries, shards, rows, 10, ALONE)
        assert shared.pooled.tobytes() == ranking.pooled.tobytes()
        assert shared.in_language.tobytes() == ranking.in_language.tobytes()
        assert merged.numbers.tobytes() == top.numbers.tobytes()
        assert merged.scores.tobytes() == top.scores.tobytes()


@pytest.mark.parametrize("grid", GRIDS, ids=NAMES)
def test_the_host_reads_once_more_for_candidates(grid: Grid) -> None:
    rng = np.random.default_rng(11)
    for tiles in (2, 9):
        task = random_task(rng, 3, queries=500, passages=tiles * grid.rows - 200, most_answers=2)
        passages = unit_vectors(rng, len(task.passage_ids))
        shard = Shard.of(0, passages, ALONE.device, grid)
        with counted_reads() as reads:
            ranks_and_candidates(task, unit_vectors(rng, 500), [shard], ALONE, 26)
        assert reads == ["cpu"] * 3, "scores, counts and candidates of the one block"


def test_passages_in_the_hosts_memory_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the card had no room for them."""
    rng = np.random.default_rng(3)
    task = random_task(rng, languages=3, queries=90, passages=3000, most_answers=4)
    queries, passages = unit_vectors(rng, 90), unit_vectors(rng, len(task.passage_ids))
    there = [Shard.of(0, passages, ALONE.device)]
    monkeypatch.setattr("hybrid_dist.evaluation.tiles.free_memory", lambda device: 1e6)
    parts = [Shard.of(0, passages, ALONE.device)]
    assert parts[0].card == ALONE.device and there[0].card is None
    ranking, rows = ranks_and_candidates(task, queries, parts, ALONE, 26)
    expected, expected_rows = ranks_and_candidates(task, queries, there, ALONE, 26)
    assert np.array_equal(ranking.pooled, expected.pooled)
    assert np.array_equal(rows[0], expected_rows[0])
