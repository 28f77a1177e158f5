"""Vectors cut to their first values: as if they had been cut and normalised beforehand."""

from dataclasses import replace

import numpy as np
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.cuts import cut, parse_dims
from hybrid_dist.evaluation.debiasing import Debiasing
from hybrid_dist.evaluation.evaluator import Found, Scored, ScoringOptions, score_vectors
from hybrid_dist.evaluation.quantisation import Quantisation
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import Given, random_task, unit_vectors
from tests.support.thread_ranks import together

DEPTH = 10


def cut_beforehand(vectors: np.ndarray, dim: int) -> np.ndarray:
    rows = [row[:dim].astype(np.float64) for row in vectors]
    return np.array([row / np.sqrt((row**2).sum()) for row in rows], np.float32)


def test_rows_are_of_norm_1_again() -> None:
    vectors = unit_vectors(np.random.default_rng(1), 20_000)
    short = cut(vectors, 5)
    assert short.dtype == np.float32 and short.shape == (20_000, 5)
    assert np.array_equal(short, cut_beforehand(vectors, 5))
    assert cut(np.array([[0, 0, 1], [3, 4, 0]], np.float32), 2).tolist() == [
        [0, 0],
        [np.float32(0.6), np.float32(0.8)],
    ]


def test_dims_are_numbers_in_ascending_order() -> None:
    assert parse_dims("") == ()
    assert parse_dims("256, 64,128") == (64, 128, 256)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "'0' is no number of dimensions"),
        ("64,-1", "'-1' is no number"),
        ("64,", "'' is no number"),
        ("6.4", "'6.4' is no number"),
        ("64,128,64", "64 is given twice"),
    ],
)
def test_other_dims_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"--dims: {message}"):
        parse_dims(text)


@pytest.fixture(scope="module")
def case() -> tuple[Task, Given]:
    rng = np.random.default_rng(5)
    task = random_task(rng, languages=3, queries=60, passages=3000, most_answers=4)
    return task, Given(unit_vectors(rng, 60), unit_vectors(rng, len(task.passage_ids)))


def scored(case: tuple[Task, Given], options: ScoringOptions, world: int = 1) -> list[Scored]:
    results: list[Scored] = []

    def work(rank: int, ranks: Ranks) -> None:
        results.append(score_vectors(*case, ranks, lambda _: None, DEPTH, options))

    together(world, work)
    return results


def assert_equal(one: Scored | Found, other: Scored | Found) -> None:
    assert np.array_equal(one.ranking.pooled, other.ranking.pooled)
    assert np.array_equal(one.ranking.in_language, other.ranking.in_language)
    assert np.array_equal(one.top.numbers, other.top.numbers)
    assert np.array_equal(one.top.scores, other.top.scores)


@pytest.mark.parametrize("code", ["none", "int8:20", "binary"])
def test_a_cut_is_scored_as_vectors_cut_beforehand(code: str, case: tuple[Task, Given]) -> None:
    task, given = case
    quantisation = Quantisation.parse(code)
    (both,) = scored(case, ScoringOptions(quantisation=quantisation, dims=(5, 12)))
    plain = ScoringOptions(quantisation=quantisation)
    assert_equal(both, scored(case, plain)[0])
    assert list(both.cuts) == [5, 12]
    for dim, found in both.cuts.items():
        short = Given(
            cut_beforehand(given.query_vectors, dim), cut_beforehand(given.passage_vectors, dim)
        )
        assert_equal(found, scored((task, short), plain)[0])
        assert not np.array_equal(found.ranking.pooled, both.ranking.pooled)


@pytest.mark.parametrize("method", ["mean", "directions:2"])
def test_languages_are_removed_from_vectors_that_are_cut_already(
    method: str, case: tuple[Task, Given]
) -> None:
    task, given = case
    plain = ScoringOptions(debiasing=Debiasing.parse(method))
    (both,) = scored(case, replace(plain, dims=(5, 12)))
    assert_equal(both, scored(case, plain)[0])
    assert not np.array_equal(both.ranking.pooled, scored(case, ScoringOptions())[0].ranking.pooled)
    for dim, found in both.cuts.items():
        short = Given(
            cut_beforehand(given.query_vectors, dim), cut_beforehand(given.passage_vectors, dim)
        )
        assert_equal(found, scored((task, short), plain)[0])


@pytest.mark.parametrize("method", ["none", "mean"])
def test_any_number_of_ranks_gives_equal_bits(method: str, case: tuple[Task, Given]) -> None:
    options = ScoringOptions(dims=(5, 12), debiasing=Debiasing.parse(method))
    (alone,) = scored(case, options)
    for other in (*scored(case, options, 2), *scored(case, options, 3)):
        assert_equal(other, alone)
        for dim, found in alone.cuts.items():
            assert_equal(other.cuts[dim], found)


def test_no_cut_is_wider_than_the_vectors(case: tuple[Task, Given]) -> None:
    width = case[1].query_vectors.shape[1]
    (result,) = scored(case, ScoringOptions(dims=(5, width)))
    assert list(result.cuts) == [5], "the whole vectors are the report itself"
    with pytest.raises(UserError, match=rf"--dims: {width + 1} is more than .* have, {width};"):
        scored(case, ScoringOptions(dims=(5, width + 1)))
