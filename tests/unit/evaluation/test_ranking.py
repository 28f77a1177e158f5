"""Exact ranks: against full sorts, ties included, and the same bits for any shards."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import ranking
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import SHARED_TILES, Grid, Shard, check_vectors
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import (
    exact_vectors,
    plant_duplicates,
    random_task,
    sorted_ranks,
    unit_vectors,
)
from tests.support.host_reads import counted_reads

ALONE = Ranks()


GPU = Grid.of(torch.device("cuda"), 700, 2048 * SHARED_TILES)
"""What a GPU uses for a corpus that has tiles of 2,048 passages."""


@pytest.fixture(params=[Grid(), GPU], ids=["cpu", "gpu"])
def grid(request: pytest.FixtureRequest) -> Grid:
    """The test runs with the tiles of a CPU and of a GPU."""
    chosen: Grid = request.param
    return chosen


def ranks_of(
    task: Task, queries: np.ndarray, passages: np.ndarray, shards: int = 1, grid: Grid | None = None
) -> Ranking:
    grid = grid or Grid()
    held = grid.shards(len(passages), shards)
    parts = [Shard.of(h.start, passages[h.start : h.stop], ALONE.device, grid) for h in held]
    return exact_ranks(task, queries, parts, ALONE)


def large_problem(seed: int, grid: Grid | None = None) -> tuple[Task, np.ndarray, np.ndarray]:
    """Nine rows of tiles (and two columns on a CPU), float scores, planted ties."""
    rng = np.random.default_rng(seed)
    rows = (grid or Grid()).rows
    task = random_task(rng, languages=5, queries=700, passages=8 * rows + 300, most_answers=4)
    passages = unit_vectors(rng, len(task.passage_ids))
    plant_duplicates(rng, passages, task)
    return task, unit_vectors(rng, 700), passages


@pytest.mark.parametrize("seed", range(3))
def test_ranks_equal_a_full_sort(seed: int, grid: Grid) -> None:
    rng = np.random.default_rng(seed)
    task = random_task(rng, languages=4, queries=530, passages=2500, most_answers=6)
    queries = exact_vectors(rng, 530)
    passages = exact_vectors(rng, len(task.passage_ids))
    result = ranks_of(task, queries, passages, grid=grid)
    in_language, pooled = sorted_ranks(task, queries @ passages.T)
    assert np.array_equal(result.in_language, in_language)
    assert np.array_equal(result.pooled, pooled)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    languages=st.integers(1, 5),
    queries=st.integers(1, 6),
    passages=st.integers(1, 30),
    values=st.integers(1, 12),
)
def test_small_problems_equal_a_full_sort(
    seed: int, languages: int, queries: int, passages: int, values: int
) -> None:
    """The fewer dimensions, the more ties; with one, most scores are tied, at 0 and -0 too."""
    rng = np.random.default_rng(seed)
    task = random_task(rng, languages, queries, passages, most_answers=20)
    query_vectors = exact_vectors(rng, queries, values)
    passage_vectors = exact_vectors(rng, len(task.passage_ids), values)
    result = ranks_of(task, query_vectors, passage_vectors)
    in_language, pooled = sorted_ranks(task, query_vectors @ passage_vectors.T)
    assert result.in_language.tolist() == in_language.tolist()
    assert result.pooled.tolist() == pooled.tolist()


@pytest.mark.parametrize("values", [1, 4, 48])
def test_many_targets_of_a_query_are_counted_by_sorting(values: int) -> None:
    """As in Belebele. With few dimensions most scores are tied, at 0 and -0 too."""
    rng = np.random.default_rng(values)
    task = random_task(rng, languages=7, queries=40, passages=2500, most_answers=90)
    queries = exact_vectors(rng, 40, values)
    passages = exact_vectors(rng, len(task.passage_ids), values)
    shard = Shard.of(0, passages, ALONE.device, Grid())
    assert ranking.Scan(shard, task, 0).sorts(90)
    in_language, pooled = sorted_ranks(task, queries @ passages.T)
    for shards in (1, 2):
        result = ranks_of(task, queries, passages, shards)
        assert np.array_equal(result.in_language, in_language)
        assert np.array_equal(result.pooled, pooled)


def test_blocks_with_few_targets_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "MANY_SLOTS", 20)
    rng = np.random.default_rng(6)
    task = random_task(rng, languages=3, queries=40, passages=1500, most_answers=24)
    grid = Grid(columns=8)
    queries, passages = exact_vectors(rng, 40), exact_vectors(rng, len(task.passage_ids))
    scan = ranking.Scan(Shard.of(0, passages, ALONE.device, grid), task, 0)
    targets = np.diff(task.relevant_starts)
    blocks = grid.blocks(len(task.query_ids))
    assert {scan.sorts(targets[block.start : block.stop].max()) for block in blocks} == {
        True,
        False,
    }
    result = ranks_of(task, queries, passages, grid=grid)
    assert np.array_equal(result.pooled, sorted_ranks(task, queries @ passages.T)[1])


def test_more_targets_than_slots(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "TIED", 100)
    rng = np.random.default_rng(5)
    task = random_task(rng, languages=3, queries=20, passages=1500, most_answers=30)
    queries, passages = exact_vectors(rng, 20), exact_vectors(rng, len(task.passage_ids))
    result = ranks_of(task, queries, passages, grid=grid)
    assert np.array_equal(result.pooled, sorted_ranks(task, queries @ passages.T)[1])


def test_any_number_of_shards_gives_the_same_bits(grid: Grid) -> None:
    task, queries, passages = large_problem(7, grid)
    alone = ranks_of(task, queries, passages, grid=grid)
    for shards in (2, 3, 8, 20):
        result = ranks_of(task, queries, passages, shards, grid)
        assert result.in_language.tobytes() == alone.in_language.tobytes()
        assert result.pooled.tobytes() == alone.pooled.tobytes()


def test_tiles_beyond_the_buffers_are_scored_again() -> None:
    task, queries, passages = large_problem(8)
    kept = ranks_of(task, queries, passages)
    result = ranks_of(task, queries, passages, grid=Grid(kept_bytes=4 << 20))
    assert result.pooled.tobytes() == kept.pooled.tobytes()


def test_the_host_reads_as_often_for_any_number_of_tiles(grid: Grid) -> None:
    rng = np.random.default_rng(11)
    counts = []
    for tiles in (2, 9):
        task = random_task(rng, 3, queries=500, passages=tiles * grid.rows - 200, most_answers=2)
        passages = unit_vectors(rng, len(task.passage_ids))
        with counted_reads() as reads:
            ranks_of(task, unit_vectors(rng, 500), passages, grid=grid)
        counts.append(reads)
    assert counts[0] == counts[1] == ["cpu", "cpu"], "scores and counts of the one block"


def test_equal_passages_are_ranked_by_number() -> None:
    """All vectors are equal: the rank is the number."""
    rng = np.random.default_rng(9)
    task = random_task(rng, languages=3, queries=40, passages=3000, most_answers=3)
    one = unit_vectors(rng, 1)
    result = ranks_of(task, one.repeat(40, 0), one.repeat(len(task.passage_ids), 0), shards=2)
    assert np.array_equal(result.pooled, task.relevant + 1)
    first = np.searchsorted(task.passage_language, np.arange(3))
    assert np.array_equal(result.in_language, task.relevant + 1 - first[task.pair_language])


def test_shards_are_whole_tiles_and_cover_all(grid: Grid) -> None:
    rows = grid.rows
    for passages in (1, rows, rows + 1, 8 * rows - 1):
        for shards in (1, 2, 3, 8):
            held = grid.shards(passages, shards)
            assert [number for part in held for number in part] == list(range(passages))
            assert all(part.start % rows == 0 for part in held if len(part))
            assert max(map(len, held)) - min(map(len, held)) <= rows


def test_tiles_of_a_gpu_grow_with_the_corpus() -> None:
    def shape(queries: int, passages: int) -> tuple[int, int]:
        grid = Grid.of(torch.device("cuda"), queries, passages)
        assert len(grid.shards(passages, 8)[0]) * 8 < 1.3 * passages or passages < 10_000
        return grid.rows, grid.columns

    assert shape(512, 10_000_000) == (16384, 512)
    assert shape(13_090, 10_000_000) == (16384, 2048)
    assert shape(513, 1_000_000) == (8192, 1024)
    assert shape(5, 3_000) == (1024, 512)
    assert Grid.of(torch.device("cpu"), 10**6, 10**8) == Grid()


def test_vectors_that_are_not_finite_are_refused() -> None:
    vectors = np.ones((9, 4), dtype=np.float32)
    check_vectors(vectors, "abcdefghi".__getitem__, "passage", ALONE)
    vectors[[1, 4, 5, 8], 2] = [np.nan, np.inf, -np.inf, np.nan]
    with pytest.raises(UserError, match=r"4 passage vectors .*\(first: b, e, f\)"):
        check_vectors(vectors, "abcdefghi".__getitem__, "passage", ALONE)
