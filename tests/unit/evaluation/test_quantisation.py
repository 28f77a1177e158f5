"""Codes of passages, and two-stage search against sorting everything twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.evaluator import Scored, ScoringOptions, score_vectors
from hybrid_dist.evaluation.quantisation import Quantisation
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.rescoring import check_memory, rescore
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import Given, exact_vectors, random_task, unit_vectors
from tests.support.thread_ranks import together

CPU = torch.device("cpu")
GRID = Grid(rows=64, columns=32)
DEPTH = 10


def test_int8_codes_are_127_steps_to_the_largest_value() -> None:
    vectors = np.array([[0.5, -0.02, 0], [-1.0, 0.0075, 0]], np.float32)
    decoded = Quantisation("int8").decoded(vectors, Ranks())
    expected = [[64 / 127, -0.02, 0], [-1.0, 48 * 0.02 / 127, 0]]
    np.testing.assert_allclose(decoded, expected, rtol=1e-6)


def test_binary_codes_are_signs_of_norm_1() -> None:
    vectors = np.array([[0.5, -0.02, 0, 1e-9]], np.float32)
    decoded = Quantisation("binary").decoded(vectors, Ranks())
    assert decoded.tolist() == [[0.5, -0.5, -0.5, 0.5]]


def test_bytes() -> None:
    assert Quantisation("int8").bytes_per_passage(384) == 384
    assert Quantisation("binary").bytes_per_passage(384) == 48


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("int8", Quantisation("int8")),
        ("binary:100", Quantisation("binary", 100)),
    ],
)
def test_options(text: str, expected: Quantisation | None) -> None:
    assert Quantisation.parse(text) == expected


@pytest.mark.parametrize("text", ["int4", "binary:0", "int8:", "none:5", ""])
def test_other_options_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--quantise: .* is unknown; give none, int8 or binary"):
        Quantisation.parse(text)


Case = tuple[Task, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(params=["unit", "ties"])
def case(request: pytest.FixtureRequest) -> Case:
    """A task, queries, decoded passages and whole ones; with many ties in `ties`."""
    rng = np.random.default_rng(5)
    task = random_task(rng, languages=4, queries=90, passages=400, most_answers=6)
    make = unit_vectors if request.param == "unit" else exact_vectors
    queries, fine = make(rng, 90), make(rng, len(task.passage_ids))
    coarse = make(rng, len(fine)) / 2 + fine
    return task, queries, coarse.astype(np.float32), fine


def ranked(case: Case, rescored: int, world: int = 1) -> tuple[Ranking, TopK]:
    task, queries, coarse, fine = case
    edges = GRID.shards(len(fine), world)
    results: list[tuple[Ranking, TopK]] = []

    def work(rank: int, ranks: Ranks) -> None:
        own = slice(edges[rank].start, edges[rank].stop)
        shards = [Shard.of(own.start, vectors[own], CPU, GRID) for vectors in (coarse, fine)]
        ranking = exact_ranks(task, queries, shards[:1], ranks)
        result = rescore(task, queries, shards[0], shards[1], rescored, ranking, DEPTH, ranks)
        if rank == 0:
            results.append(result)

    together(world, work)
    return results[0]


def order(pool: np.ndarray, coarse: np.ndarray, fine: np.ndarray, rescored: int) -> list[int]:
    """The passages of a pool by sorting, and sorting the first once more."""
    by_coarse = sorted(pool.tolist(), key=lambda number: (-coarse[number], number))
    first = sorted(by_coarse[:rescored], key=lambda number: (-fine[number], number))
    return first + by_coarse[rescored:]


@pytest.mark.parametrize("rescored", [10, 25, 1000])
def test_ranks_and_top_are_those_of_sorting_twice(case: Case, rescored: int) -> None:
    task, queries, coarse, fine = case
    ranking, top = ranked(case, rescored)
    everything = np.arange(len(fine))
    pair = 0
    for query in range(len(queries)):
        scores = coarse @ queries[query], fine @ queries[query]
        pooled = order(everything, *scores, rescored)
        assert top.numbers[query].tolist() == pooled[:DEPTH]
        for passage in task.relevant[slice(*task.relevant_starts[[query, query + 1]])].tolist():
            own = everything[task.passage_language == task.passage_language[passage]]
            expected = order(own, *scores, rescored).index(passage) + 1
            assert ranking.in_language[pair] == expected
            assert ranking.pooled[pair] == pooled.index(passage) + 1
            pair += 1


@pytest.mark.parametrize("world", [2, 3, 8])
def test_any_number_of_ranks_gives_equal_bits(case: Case, world: int) -> None:
    (alone, top), (ranking, other) = ranked(case, 25), ranked(case, 25, world)
    assert np.array_equal(ranking.in_language, alone.in_language)
    assert np.array_equal(ranking.pooled, alone.pooled)
    assert np.array_equal(top.numbers, other.numbers) and np.array_equal(top.scores, other.scores)


@pytest.mark.parametrize("code", ["int8:20", "binary:20", "binary"])
def test_an_evaluation_does_not_depend_on_the_number_of_ranks(code: str) -> None:
    rng = np.random.default_rng(5)
    task = random_task(rng, languages=3, queries=60, passages=3000, most_answers=4)
    given = Given(unit_vectors(rng, 60), unit_vectors(rng, len(task.passage_ids)))
    options = ScoringOptions(quantisation=Quantisation.parse(code))

    def scored(world: int) -> list[Scored]:
        results: list[Scored] = []

        def work(rank: int, ranks: Ranks) -> None:
            results.append(score_vectors(task, given, ranks, lambda _: None, DEPTH, options))

        together(world, work)
        return results

    (alone,) = scored(1)
    for other in (*scored(2), *scored(3)):
        assert np.array_equal(other.ranking.pooled, alone.ranking.pooled)
        assert np.array_equal(other.ranking.in_language, alone.ranking.in_language)
        assert np.array_equal(other.top.numbers, alone.top.numbers)
        assert np.array_equal(other.top.scores, alone.top.scores)
        assert other.settings == alone.settings


def test_no_more_is_held_than_the_largest_language_has(monkeypatch: pytest.MonkeyPatch) -> None:
    task = random_task(np.random.default_rng(5), 4, queries=5, passages=400, most_answers=2)
    largest = int(np.bincount(task.passage_language).max())
    monkeypatch.setattr("hybrid_dist.evaluation.rescoring.MAX_BYTES", 8 * 32 * 4 * largest)
    check_memory(task, 10**6, GRID)
    monkeypatch.setattr("hybrid_dist.evaluation.rescoring.MAX_BYTES", 8 * 32 * 4 * largest - 1)
    with pytest.raises(UserError, match="--quantise: the best 1,000,000 passages in each of 4 lan"):
        check_memory(task, 10**6, GRID)


@pytest.mark.parametrize("code", ["int8", "binary"])
@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_ranks_has_the_same_codes(code: str, world: int) -> None:
    vectors = unit_vectors(np.random.default_rng(2), 100)
    edges = [100 * rank // world for rank in range(world + 1)]
    parts: list[np.ndarray] = [vectors] * world

    def work(rank: int, ranks: Ranks) -> None:
        parts[rank] = Quantisation(code).decoded(vectors[edges[rank] : edges[rank + 1]], ranks)

    together(world, work)
    assert np.array_equal(np.concatenate(parts), Quantisation(code).decoded(vectors, Ranks()))


def test_a_pool_smaller_than_the_depth_is_padded(case: Case) -> None:
    task, queries, coarse, fine = case
    few = 6
    answers = np.minimum(task.relevant, few - 1)
    small = replace(
        task,
        passage_ids=task.passage_ids[:few],
        passage_texts=task.passage_texts[:few],
        passage_language=task.passage_language[:few],
        relevant=answers[task.relevant_starts[:-1]],
        relevant_starts=np.arange(len(queries) + 1),
        grades=np.ones(len(queries), np.int64),
    )
    _, top = ranked((small, queries, coarse[:few], fine[:few]), 25)
    assert (top.numbers[:, few:] == NO_PASSAGE).all() and np.isneginf(top.scores[:, few:]).all()
