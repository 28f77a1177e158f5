"""Metrics and bias: against ir_measures, against loops, and where the answer is known."""

from itertools import product

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.evaluation import bias, metrics
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Shard
from tests.unit.evaluation_problems import (
    exact_vectors,
    make_task,
    order,
    parallel_task,
    random_task,
    unit_vectors,
)

MEASURES = (
    (ir_measures.AP, metrics.average_precision),
    (ir_measures.R @ 1, metrics.recall_at(1)),
    (ir_measures.R @ 10, metrics.recall_at(10)),
    (ir_measures.RR @ 10, metrics.reciprocal_rank_at(10)),
)


def rank(task: Task, questions: np.ndarray, passages: np.ndarray) -> Ranking:
    ranks = Ranks()
    return exact_ranks(task, questions, [Shard.of(0, passages, ranks.device)], ranks)


def answers(task: Task, question: int) -> list[int]:
    starts = task.relevant_starts
    return task.relevant[starts[question] : starts[question + 1]].tolist()


def trusted(task: Task, ordered: np.ndarray, measure: object, pool: int | None) -> dict[int, float]:
    """ir_measures on the same rankings: scores fall strictly, so its tie order says nothing."""
    qrels, run = [], []
    for question, passages in enumerate(ordered.tolist()):
        kept = [p for p in passages if pool is None or task.passage_language[p] == pool]
        right = set(answers(task, question)) & set(kept)
        qrels += [ir_measures.Qrel(str(question), str(p), 1) for p in right]
        if right:
            found = enumerate(kept)
            run += [ir_measures.ScoredDoc(str(question), str(p), float(-at)) for at, p in found]
    return {int(m.query_id): m.value for m in ir_measures.iter_calc([measure], qrels, run)}


@pytest.mark.parametrize(("measure", "metric"), MEASURES, ids=lambda m: str(m)[:12])
@pytest.mark.parametrize("tied", [False, True])
def test_metrics_equal_ir_measures(measure: object, metric: metrics.Metric, tied: bool) -> None:
    rng = np.random.default_rng(int(tied))
    task = random_task(rng, languages=3, questions=60, passages=150, most_answers=9)
    dimension = 3 if tied else 40
    asked = exact_vectors(rng, 60, dimension)
    given_ = exact_vectors(rng, len(task.passage_ids), dimension)
    ordered = order(asked @ given_.T)
    scores = metrics.score(metric, task, rank(task, asked, given_))
    for pool in (None, 0, 1, 2):
        ours = scores.pooled if pool is None else scores.by_pool[:, pool]
        theirs = trusted(task, ordered, measure, pool)
        assert np.flatnonzero(~np.isnan(ours)).tolist() == sorted(theirs)
        for question, value in theirs.items():
            assert ours[question] == pytest.approx(value, abs=1e-9)


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
    for question, passages in enumerate(ordered.tolist()):
        own, right = int(task.question_language[question]), set(answers(task, question))
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
    for question, passages in enumerate(ordered.tolist()):
        places = [passages.index(passage) for passage in answers(task, question)]
        if len(places) > 1:
            own = int(task.question_language[question])
            by_language.setdefault(own, []).append(max(places) - min(places))
    means = [np.mean(values) for values in by_language.values()]
    return float(np.mean(means)) if means else np.nan


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    languages=st.integers(1, 4),
    questions=st.integers(1, 12),
    passages=st.integers(1, 25),
    dimension=st.integers(1, 10),
)
def test_settings_and_rank_distance_equal_their_definitions(
    seed: int, languages: int, questions: int, passages: int, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    task = random_task(rng, languages, questions, passages, most_answers=6)
    asked = exact_vectors(rng, questions, dimension)
    given_ = exact_vectors(rng, len(task.passage_ids), dimension)
    ordered, ranking = order(asked @ given_.T), rank(task, asked, given_)
    scores = metrics.score(metrics.average_precision, task, ranking)
    expected = looped_settings(task, ordered)
    assert metrics.settings(task, scores) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    found = bias.summary(task, bias.rank_distance(task, ranking))["mean"]
    assert found == pytest.approx(looped_distance(task, ordered), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("languages", [2, 5])
def test_an_oracle_finds_everything_without_bias(languages: int) -> None:
    task = parallel_task(languages, per_language=40)
    vectors = np.tile(unit_vectors(np.random.default_rng(1), 40), (languages, 1))
    ranking = rank(task, vectors, vectors)
    scores = metrics.score(metrics.average_precision, task, ranking)
    assert set(metrics.settings(task, scores).values()) == {1.0}
    found = bias.summary(task, bias.rank_distance(task, ranking))
    assert found["mean"] == languages - 1
    assert found["normalised"] == 0


def test_random_vectors_have_a_normalised_rank_distance_of_1() -> None:
    rng = np.random.default_rng(2)
    task = parallel_task(languages=8, per_language=120)
    ranking = rank(task, unit_vectors(rng, 960), unit_vectors(rng, 960))
    found = bias.summary(task, bias.rank_distance(task, ranking))
    assert found["normalised"] == pytest.approx(1, abs=0.03)


def test_rank_distance_of_every_question() -> None:
    """Percentiles within a language; a question with one right answer has no distance."""
    task = make_task([0, 0, 1, 1], [0, 0, 0, 1, 1, 1], [[0, 3], [1, 2, 4], [5], [2, 5]])
    pooled = np.array([6, 2, 1, 5, 3, 1, 4, 1])
    found = bias.rank_distance(task, Ranking(pooled, pooled))
    assert found.distance.tolist()[:2] == [4, 4]
    assert np.isnan(found.distance[2])
    assert found.distance[3] == 3
    random_two, random_three = 7 / 3, 7 * 2 / 4
    assert found.normalised[0] == pytest.approx((4 - 1) / (random_two - 1))
    assert found.normalised[1] == pytest.approx((4 - 2) / (random_three - 2))
    told = bias.summary(task, found)
    assert told["mean"] == pytest.approx((4 + 3) / 2)
    assert told["questions"] == 3


def test_means_are_over_languages_not_over_questions() -> None:
    """One language asks four questions, all answered first; the other one, answered second."""
    task = make_task([0, 0, 0, 0, 1], [0, 0, 1, 1], [[0], [0], [1], [1], [2]])
    places = np.array([1, 1, 1, 1, 2])
    scores = metrics.score(metrics.average_precision, task, Ranking(places, places))
    found = metrics.settings(task, scores)
    assert found["monolingual"] == found["multilingual"] == pytest.approx((1 + 0.5) / 2)
    assert np.isnan(found["cross_lingual"])


def test_a_language_pair_keeps_the_questions_that_have_an_answer_there() -> None:
    task = make_task([0, 0, 1], [0, 0, 1, 1], [[0, 2], [1], [3]])
    places = np.array([1, 2, 1, 1])
    pairs = metrics.by_pair(
        task, metrics.score(metrics.average_precision, task, Ranking(places, places))
    )
    assert pairs[0].tolist() == [1.0, 0.5]
    assert np.isnan(pairs[1, 0])
    assert pairs[1, 1] == 1.0


def test_language_share_counts_what_was_found() -> None:
    task = make_task([0, 1, 1], [0, 0, 1, 1, 2], [[0], [2], [3]])
    top = np.array([[0, 1, 2], [2, 3, -1], [2, 4, -1]])
    share = bias.language_share(task, top)
    assert share[0] == pytest.approx([2 / 3, 1 / 3, 0])
    assert share[1] == pytest.approx([0, 3 / 4, 1 / 4])
    assert np.isnan(share[2]).all()
    assert bias.pool_share(task) == pytest.approx([0.4, 0.4, 0.2])


def test_every_pair_has_one_rank_in_its_pool_and_one_in_all() -> None:
    task = parallel_task(languages=3, per_language=5)
    rng = np.random.default_rng(3)
    found = rank(task, unit_vectors(rng, 15), unit_vectors(rng, 15))
    for question, language in product(range(15), range(3)):
        pair = task.relevant_starts[question] + language
        assert 1 <= found.in_language[pair] <= 5
        assert found.in_language[pair] <= found.pooled[pair] <= 15
