"""Ranks and top passages from coarse scores: those without them, to the bit, and of full sorts."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hybrid_dist.evaluation import coarse as coarse_module
from hybrid_dist.evaluation.candidates import Bounds, keys_of, scores_of
from hybrid_dist.evaluation.coarse import CoarseScan, coarse_product
from hybrid_dist.evaluation.evaluator import Scored, ScoringOptions, score_vectors
from hybrid_dist.evaluation.ranking import Ranking, rank_by_scans, ranks_and_candidates
from hybrid_dist.evaluation.search import SPARE, TopK, merge_proposals
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import SHARED_TILES, Grid, Shard
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import (
    Given,
    exact_vectors,
    order,
    plant_duplicates,
    random_task,
    sorted_ranks,
    unit_vectors,
)
from tests.support.thread_ranks import together

ALONE = Ranks()
GPU = Grid.of(torch.device("cuda"), 500, 2048 * SHARED_TILES)
FEW_BUFFERS = Grid(kept_bytes=4 << 20)
K = 10


def shards_of(passages: np.ndarray, count: int, grid: Grid) -> list[Shard]:
    held = grid.shards(len(passages), count)
    return [Shard.of(h.start, passages[h.start : h.stop], ALONE.device, grid) for h in held]


def plain(
    task: Task, queries: np.ndarray, passages: np.ndarray, grid: Grid | None = None, k: int = K
) -> tuple[Ranking, TopK]:
    whole = shards_of(passages, 1, grid or Grid())
    ranking, rows = ranks_and_candidates(task, queries, whole, ALONE, k + SPARE)
    return ranking, merge_proposals(queries, whole, rows, k, ALONE)


def by_coarse(
    task: Task,
    queries: np.ndarray,
    passages: np.ndarray,
    coarse: str,
    shards: int = 1,
    grid: Grid | None = None,
    k: int = K,
) -> tuple[Ranking, TopK, list[CoarseScan]]:
    parts = shards_of(passages, shards, grid or Grid())
    scans = [CoarseScan(shard, task, k + SPARE, coarse) for shard in parts]
    ranking, rows = rank_by_scans(task, queries, scans, ALONE)
    bounds = [scan.candidate_bounds(len(queries)) for scan in scans]
    return ranking, merge_proposals(queries, parts, rows, k, ALONE, bounds=bounds), scans


def assert_equal(one: tuple[Ranking, TopK], other: tuple[Ranking, TopK]) -> None:
    assert one[0].pooled.tobytes() == other[0].pooled.tobytes()
    assert one[0].in_language.tobytes() == other[0].in_language.tobytes()
    assert one[1].numbers.tobytes() == other[1].numbers.tobytes()
    assert one[1].scores.tobytes() == other[1].scores.tobytes()


def near_ties(rng: np.random.Generator, task: Task, passages: np.ndarray) -> None:
    """Passages that differ from a relevant one by roundings of fp32, or of 16 bits."""
    for step in (1e-8, 1e-7, 1e-6, 1e-4):
        for passage in rng.choice(task.relevant, 40).tolist():
            near = rng.integers(0, len(passages))
            noise = rng.standard_normal(passages.shape[1]) * step
            passages[near] = (passages[passage] + noise).astype(np.float32)


@pytest.mark.parametrize("coarse", ["bf16", "fp16"])
@pytest.mark.parametrize(
    ("grid", "count", "most_answers"),
    [(Grid(), 530, 1), (FEW_BUFFERS, 90, 5), (GPU, 90, 5)],
    ids=["cpu", "few buffers", "gpu"],
)
def test_bits_are_those_of_a_pass_in_fp32(
    coarse: str, grid: Grid, count: int, most_answers: int
) -> None:
    """With duplicates and near ties, on 1, 2 and 3 shards."""
    rng = np.random.default_rng(most_answers)
    passages_wanted = 2 * grid.rows + 300
    task = random_task(rng, 4, count, passages_wanted, most_answers)
    queries, passages = unit_vectors(rng, count), unit_vectors(rng, len(task.passage_ids))
    plant_duplicates(rng, passages, task)
    near_ties(rng, task, passages)
    passages[rng.integers(0, len(passages), 60)] = queries[5]
    expected = plain(task, queries, passages, grid)
    for shards in (1, 2, 3):
        ranking, top, scans = by_coarse(task, queries, passages, coarse, shards, grid)
        assert_equal((ranking, top), expected)
        share = sum(scan.pairs for scan in scans) / sum(scan.scores for scan in scans)
        assert 0 < share < {"bf16": 0.1, "fp16": 0.02}[coarse]


@pytest.mark.parametrize("dense", [1, 1 << 40], ids=["by pairs", "by whole tiles"])
def test_ranks_equal_a_full_sort_of_exact_products(
    dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most scores tie, and every tile is decided in one of the two ways."""
    monkeypatch.setattr(coarse_module, "DENSE", dense)
    rng = np.random.default_rng(3)
    task = random_task(rng, 3, queries=60, passages=2100, most_answers=30)
    queries, passages = exact_vectors(rng, 60, 6), exact_vectors(rng, len(task.passage_ids), 6)
    scores = queries @ passages.T
    in_language, pooled = sorted_ranks(task, scores)
    ranking, top, _ = by_coarse(task, queries, passages, "fp16", shards=2)
    assert np.array_equal(ranking.in_language, in_language)
    assert np.array_equal(ranking.pooled, pooled)
    assert np.array_equal(top.numbers, order(scores)[:, :K])


@pytest.mark.parametrize("coarse", ["bf16", "fp16"])
def test_ranks_equal_a_full_sort_in_float64(coarse: str) -> None:
    """Of scores that are far enough apart for fp32, and too close for 16 bits."""
    rng = np.random.default_rng(4)
    task = random_task(rng, 3, queries=40, passages=1500, most_answers=3)
    queries = np.repeat(unit_vectors(rng, 1, 24), 40, axis=0)
    passages = np.repeat(unit_vectors(rng, 1, 24), len(task.passage_ids), axis=0)
    passages[:, 0] += rng.permutation(len(passages)) * np.float32(2e-5)
    scores = queries.astype(np.float64) @ passages.astype(np.float64).T
    assert np.diff(np.sort(scores[0])).min() > 24 * 2.0**-23
    ranking, top, scans = by_coarse(task, queries, passages, coarse)
    in_language, pooled = sorted_ranks(task, scores)
    assert np.array_equal(ranking.in_language, in_language)
    assert np.array_equal(ranking.pooled, pooled)
    assert np.array_equal(top.numbers, order(scores)[:, :K])
    assert scans[0].pairs > 100 * len(task.relevant), "16 bits hardly tell them apart"


@pytest.mark.parametrize("coarse", ["bf16", "fp16"])
def test_equal_passages_are_ranked_by_number(coarse: str) -> None:
    rng = np.random.default_rng(9)
    task = random_task(rng, languages=3, queries=40, passages=2100, most_answers=3)
    one = unit_vectors(rng, 1)
    same = one.repeat(40, 0), one.repeat(len(task.passage_ids), 0)
    ranking, top, _ = by_coarse(task, *same, coarse, shards=2)
    assert np.array_equal(ranking.pooled, task.relevant + 1)
    assert (top.numbers == np.arange(K)).all()


@pytest.mark.parametrize("coarse", ["bf16", "fp16"])
@pytest.mark.parametrize("scale", [1.0, 2.0**-60], ids=["unit", "short"])
def test_no_coarse_score_is_further_off_than_the_bound(coarse: str, scale: float) -> None:
    """For vectors that rounding changes most: every value just above a midpoint, all one way."""
    rng = np.random.default_rng(2)
    task = random_task(rng, 2, queries=20, passages=900, most_answers=1)
    bits = {"bf16": 8, "fp16": 11}[coarse]
    worst = np.float32(1 + 2.0**-bits + 2.0**-20)
    vectors = np.full((len(task.passage_ids) + 20, 64), worst, np.float32) / 9
    vectors *= np.exp2(rng.integers(-2, 1, vectors.shape)).astype(np.float32)
    vectors *= np.float32(scale)
    queries, passages = vectors[:20], vectors[20:]
    shard = Shard.of(0, passages, ALONE.device)
    scan = CoarseScan(shard, task, K, coarse)
    block = shard.grid.load(queries, ALONE.device)
    slack, rounding = scan._bounds(block)
    out = shard.grid.new_tiles(2, ALONE.device)
    coarse_product(shard.tile(0).to(scan.dtype), block.to(scan.dtype), out[0])
    shard.score(0, block, out[1])
    exact = passages.astype(np.float64) @ queries.astype(np.float64).T
    off = (out[0] - out[1])[: len(passages), :20].abs()
    assert (off <= slack[:20]).all()
    assert (np.abs(out[1][: len(passages), :20].numpy() - exact) <= rounding[:20].numpy()).all()
    if scale == 1:
        assert off.max() > 0.3 * slack[:20].max(), "the bound is near what happens"


def test_crowds_and_open_ends_are_searched_in_fp32() -> None:
    """More near ties around the tenth than candidates."""
    rng = np.random.default_rng(6)
    task = random_task(rng, 2, queries=30, passages=1500, most_answers=1)
    queries, passages = unit_vectors(rng, 30), unit_vectors(rng, len(task.passage_ids))
    crowd = rng.choice(len(passages), 100, replace=False)
    noise = rng.standard_normal((100, passages.shape[1])) * 1e-8
    passages[crowd] = (queries[7] + noise).astype(np.float32)
    for coarse in ("bf16", "fp16"):
        ranking, top, scans = by_coarse(task, queries, passages, coarse)
        assert_equal((ranking, top), plain(task, queries, passages))
        bounds = scans[0].candidate_bounds(30)
        assert bounds is not None and bounds.needed == K + SPARE
    limits = Bounds(np.array([0.4, 0.6, 0.4]), np.full(3, 0.01), needed=3)
    scores = np.array([[0.9, 0.8, 0.5, 0.3], [0.9, 0.8, 0.5, 0.3], [0.9, 0.5, 0.5, 0.49]])
    assert limits.leave_open(scores, 3).tolist() == [1, 2], "an open end; four for three places"


def test_pools_smaller_than_the_candidates() -> None:
    rng = np.random.default_rng(8)
    task = random_task(rng, 2, queries=9, passages=30, most_answers=2)
    queries, passages = unit_vectors(rng, 9), unit_vectors(rng, len(task.passage_ids))
    for k in (3, 10, 40):
        expected = plain(task, queries, passages, k=k)
        for shards in (1, 2):
            ranking, top, _ = by_coarse(task, queries, passages, "bf16", shards, k=k)
            assert_equal((ranking, top), expected)


def test_keys_give_their_scores_back() -> None:
    values = torch.tensor([-1.5, -1e-40, 0.0, 1e-40, 0.5])
    assert torch.equal(scores_of(keys_of(values, torch.arange(5))), values)


@pytest.mark.parametrize("change", ["dims", "half", "host memory"])
def test_an_evaluation_finds_the_same_on_any_number_of_ranks(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    task = random_task(rng, languages=3, queries=60, passages=3000, most_answers=4)
    passages = unit_vectors(rng, len(task.passage_ids))
    plant_duplicates(rng, passages, task)
    given = Given(unit_vectors(rng, 60), passages)
    if change == "host memory":
        monkeypatch.setattr("hybrid_dist.evaluation.tiles.free_memory", lambda device: 1e6)
    dims = (5, 12) if change == "dims" else ()
    logged: list[str] = []

    def scored(coarse: coarse_module.Coarse, world: int) -> list[Scored]:
        results: list[Scored] = []
        options = ScoringOptions(half=change == "half", dims=dims, coarse=coarse)

        def work(rank: int, ranks: Ranks) -> None:
            log: Callable[[str], None] = logged.append if ranks.is_first else lambda _: None
            results.append(score_vectors(task, given, ranks, log, K, options))

        together(world, work)
        return results

    (expected,) = scored("none", 1)
    assert not any("left open" in line for line in logged)
    for world in (1, 2, 3):
        for found in scored("fp16", world):
            assert_equal((found.ranking, found.top), (expected.ranking, expected.top))
            for dim in dims:
                cut, its = found.cuts[dim], expected.cuts[dim]
                assert_equal((cut.ranking, cut.top), (its.ranking, its.top))
            assert found.settings["coarse pass"].startswith("in fp16")
    assert sum("of the fp16 scores could not decide" in line for line in logged) == 3 * (
        1 + len(dims)
    )
