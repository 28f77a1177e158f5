"""Metrics: against ir_measures, against loops, and where the answer is known."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.evaluation import bias, metrics
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task
from tests.support.evaluation_problems import (
    exact_vectors,
    make_task,
    no_top,
    order,
    parallel_task,
    random_task,
    rank,
    unit_vectors,
)

MEASURES = {
    "map": ir_measures.AP,
    "recall_at_1": ir_measures.R @ 1,
    "recall_at_10": ir_measures.R @ 10,
    "recall_at_100": ir_measures.R @ 100,
    "mrr_at_10": ir_measures.RR,
    "ndcg_at_10": ir_measures.nDCG @ 10,
    "ndcg_at_20": ir_measures.nDCG @ 20,
    "accuracy": ir_measures.Success @ 1,
    "map_at_20": ir_measures.AP @ 20,
    "map_at_100": ir_measures.AP @ 100,
}


def test_every_metric_is_checked() -> None:
    assert set(MEASURES) == set(metrics.METRICS)


def distances(task: Task, ranking: Ranking) -> dict[str, Any]:
    return bias.summary(task, bias.measure(task, ranking, no_top(task)))["rank_distance"]


def answers(task: Task, query: int) -> list[int]:
    starts = task.relevant_starts
    return task.relevant[starts[query] : starts[query + 1]].tolist()


def trusted(
    task: Task, scores: np.ndarray, measure: Any, pool: int | None, names: Sequence[str]
) -> dict[int, float]:
    """ir_measures on the scores as they are: trec_eval orders the ties."""
    qrels, run = [], []
    for query, row in enumerate(scores):
        starts = task.relevant_starts
        pairs = slice(starts[query], starts[query + 1])
        grades = dict(zip(task.relevant[pairs].tolist(), task.grades[pairs].tolist(), strict=True))
        kept = [p for p in range(len(row)) if pool is None or task.passage_language[p] == pool]
        right = {p: grade for p, grade in grades.items() if p in set(kept)}
        query_id = str(query)
        qrels += [ir_measures.Qrel(query_id, names[p], grade) for p, grade in right.items()]
        if right:
            run += [ir_measures.ScoredDoc(query_id, names[p], float(row[p])) for p in kept]
    return {int(m.query_id): m.value for m in ir_measures.iter_calc([measure], qrels, run)}


def compare_with_trusted(
    task: Task, query_vectors: np.ndarray, passage_vectors: np.ndarray
) -> None:
    """Every metric in every pool; names fall as numbers rise, as trec_eval's ties do."""
    scores, ranking = query_vectors @ passage_vectors.T, rank(task, query_vectors, passage_vectors)
    names = [f"p{len(task.passage_ids) - number:05d}" for number in range(len(task.passage_ids))]
    for name, (_, metric) in metrics.METRICS.items():
        ours = metrics.score(metric, task, ranking)
        for pool in (None, *range(len(task.languages))):
            values = ours.pooled if pool is None else ours.by_pool[:, pool]
            theirs = trusted(task, scores, MEASURES[name], pool, names)
            assert np.flatnonzero(~np.isnan(values)).tolist() == sorted(theirs)
            for query, value in theirs.items():
                if name == "mrr_at_10":  # RR@10 of ir_measures is not trec_eval's
                    value = value if value >= 1 / 10 else 0
                if name.startswith("map_at_"):  # trec_eval divides by R where R is more than k
                    k = int(name.removeprefix("map_at_"))
                    right = [task.passage_language[p] for p in answers(task, query)]
                    count = len(right) if pool is None else right.count(pool)
                    value *= count / min(count, k)
                assert values[query] == pytest.approx(value, abs=1e-9), (name, pool, query)


def graded(rng: np.random.Generator, task: Task) -> Task:
    return replace(task, grades=rng.integers(1, 4, len(task.relevant)))


@pytest.mark.parametrize("tied", [False, True])
def test_metrics_equal_trec_eval(tied: bool) -> None:
    rng = np.random.default_rng(int(tied))
    task = graded(rng, random_task(rng, 3, queries=40, passages=150, most_answers=40))
    dimension = 3 if tied else 40
    query_vectors = exact_vectors(rng, 40, dimension)
    compare_with_trusted(task, query_vectors, exact_vectors(rng, len(task.passage_ids), dimension))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    languages=st.integers(1, 3),
    queries=st.integers(1, 5),
    passages=st.integers(1, 40),
    dimension=st.integers(1, 3),
)
def test_metrics_equal_trec_eval_among_ties(
    seed: int, languages: int, queries: int, passages: int, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    task = graded(rng, random_task(rng, languages, queries, passages, most_answers=passages))
    query_vectors = exact_vectors(rng, queries, dimension)
    compare_with_trusted(task, query_vectors, exact_vectors(rng, len(task.passage_ids), dimension))


def test_the_best_order_has_ndcg_1_whatever_the_grades() -> None:
    task = replace(make_task([0], [0, 0, 0], [[0, 1, 2]]), grades=np.array([1, 3, 2]))
    ndcg = metrics.METRICS["ndcg_at_10"][1]
    places = (np.array([3, 1, 2]), np.array([1, 2, 3]))
    best, other = (metrics.score(ndcg, task, Ranking(p, p)).pooled[0] for p in places)
    assert best == 1
    gains, logs = np.array([1, 3, 2]), np.log2([2, 3, 4])
    assert other == pytest.approx((gains / logs).sum() / (np.sort(gains)[::-1] / logs).sum())


def test_unlisted_passages_contribute_nothing() -> None:
    task = make_task([0], [0, 0, 0], [[0, 2]])
    places = np.array([2.0, np.inf])
    values = {
        name: float(metrics.score(metric, task, Ranking(places, places)).pooled[0])
        for name, (_, metric) in metrics.METRICS.items()
    }
    assert values["map"] == values["map_at_100"] == 0.25
    assert values["recall_at_100"] == values["mrr_at_10"] == 0.5
    assert values["accuracy"] == 0


def looped_precision(ordered: list[int], right: set[int]) -> float:
    hits, total = 0, 0.0
    for place, passage in enumerate(ordered, 1):
        if passage in right:
            hits += 1
            total += hits / place
    return total / hits


def looped_settings(task: Task, ordered: np.ndarray) -> dict[str, float]:
    """The three mAPs by their definitions."""
    cells: dict[tuple[int, int], list[float]] = {}
    pooled: dict[int, list[float]] = {}
    for query, passages in enumerate(ordered.tolist()):
        own, right = int(task.query_language[query]), set(answers(task, query))
        pooled.setdefault(own, []).append(looped_precision(passages, right))
        for language in range(len(task.languages)):
            pool = [p for p in passages if task.passage_language[p] == language]
            if right & set(pool):
                value = looped_precision(pool, right & set(pool))
                cells.setdefault((own, language), []).append(value)
    means = {cell: np.mean(values) for cell, values in cells.items()}
    same = [mean for (a, b), mean in means.items() if a == b]
    other = [mean for (a, b), mean in means.items() if a != b]
    return {
        "monolingual": float(np.mean(same)) if same else np.nan,
        "cross_lingual": float(np.mean(other)) if other else np.nan,
        "multilingual": float(np.mean([np.mean(values) for values in pooled.values()])),
    }


def looped_distance(task: Task, ordered: np.ndarray) -> float:
    by_language: dict[int, list[int]] = {}
    for query, passages in enumerate(ordered.tolist()):
        places = [passages.index(passage) for passage in answers(task, query)]
        if len(places) > 1:
            own = int(task.query_language[query])
            by_language.setdefault(own, []).append(max(places) - min(places))
    means = [np.mean(values) for values in by_language.values()]
    return float(np.mean(means)) if means else np.nan


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    languages=st.integers(1, 4),
    queries=st.integers(1, 12),
    passages=st.integers(1, 25),
    dimension=st.integers(1, 10),
)
def test_settings_and_rank_distance_equal_their_definitions(
    seed: int, languages: int, queries: int, passages: int, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    task = random_task(rng, languages, queries, passages, most_answers=6)
    query_vectors = exact_vectors(rng, queries, dimension)
    passage_vectors = exact_vectors(rng, len(task.passage_ids), dimension)
    ordered, ranking = (
        order(query_vectors @ passage_vectors.T),
        rank(task, query_vectors, passage_vectors),
    )
    scores = metrics.score(metrics.average_precision, task, ranking)
    expected = looped_settings(task, ordered)
    assert metrics.settings(task, scores) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    distance = distances(task, ranking)["mean"]
    assert distance == pytest.approx(looped_distance(task, ordered), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("languages", [2, 5])
def test_an_oracle_has_no_bias(languages: int) -> None:
    task = parallel_task(languages, per_language=40)
    vectors = np.tile(unit_vectors(np.random.default_rng(1), 40), (languages, 1))
    ranking = rank(task, vectors, vectors)
    scores = metrics.score(metrics.average_precision, task, ranking)
    assert set(metrics.settings(task, scores).values()) == {1.0}
    distance = distances(task, ranking)
    assert distance["mean"] == languages - 1
    assert distance["normalised"] == 0


def test_means_are_over_languages_not_over_queries() -> None:
    """One language has four queries with rank 1, the other one query with rank 2."""
    task = make_task([0, 0, 0, 0, 1], [0, 0, 1, 1], [[0], [0], [1], [1], [2]])
    places = np.array([1, 1, 1, 1, 2])
    scores = metrics.score(metrics.average_precision, task, Ranking(places, places))
    means = metrics.settings(task, scores)
    assert means["monolingual"] == means["multilingual"] == pytest.approx((1 + 0.5) / 2)
    assert np.isnan(means["cross_lingual"])


def test_a_language_pair_counts_queries_with_a_relevant_passage() -> None:
    task = make_task([0, 0, 1], [0, 0, 1, 1], [[0, 2], [1], [3]])
    places = np.array([1, 2, 1, 1])
    pairs = metrics.by_pair(
        task, metrics.score(metrics.average_precision, task, Ranking(places, places))
    )
    assert pairs[0].tolist() == [1.0, 0.5]
    assert np.isnan(pairs[1, 0])
    assert pairs[1, 1] == 1.0


def test_every_pair_has_one_rank_in_its_pool_and_one_in_all() -> None:
    task = parallel_task(languages=3, per_language=5)
    rng = np.random.default_rng(3)
    ranking = rank(task, unit_vectors(rng, 15), unit_vectors(rng, 15))
    for query, language in product(range(15), range(3)):
        pair = task.relevant_starts[query] + language
        assert 1 <= ranking.in_language[pair] <= 5
        assert ranking.in_language[pair] <= ranking.pooled[pair] <= 15
