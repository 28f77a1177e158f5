"""Metrics and bias: against ir_measures, against loops, and where the answer is known."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.evaluation import bias, metrics
from hybrid_dist.evaluation.certainty import Resampled, interval
from hybrid_dist.evaluation.per_question import PerQuestion
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.search import NOTHING, TopK, top_k
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

MEASURES = {
    "map": ir_measures.AP,
    "recall_at_1": ir_measures.R @ 1,
    "recall_at_10": ir_measures.R @ 10,
    "recall_at_100": ir_measures.R @ 100,
    "mrr_at_10": ir_measures.RR,
    "ndcg_at_10": ir_measures.nDCG @ 10,
    "accuracy": ir_measures.Success @ 1,
    "map_at_20": ir_measures.AP @ 20,
    "map_at_100": ir_measures.AP @ 100,
}


def test_every_metric_is_checked() -> None:
    assert set(MEASURES) == set(metrics.METRICS)


def rank(task: Task, questions: np.ndarray, passages: np.ndarray) -> Ranking:
    ranks = Ranks()
    return exact_ranks(task, questions, [Shard.of(0, passages, ranks.device)], ranks)


NO_TOP = TopK(np.full((1, 1), NOTHING), np.full((1, 1), -np.inf), "none")


def distances(task: Task, ranking: Ranking) -> dict[str, Any]:
    return bias.summary(task, bias.measure(task, ranking, NO_TOP))["rank_distance"]


def answers(task: Task, question: int) -> list[int]:
    starts = task.relevant_starts
    return task.relevant[starts[question] : starts[question + 1]].tolist()


def trusted(
    task: Task, scores: np.ndarray, measure: Any, pool: int | None, names: Sequence[str]
) -> dict[int, float]:
    """ir_measures on the scores as they are: trec_eval orders the ties."""
    qrels, run = [], []
    for question, row in enumerate(scores):
        starts = task.relevant_starts
        pairs = slice(starts[question], starts[question + 1])
        grades = dict(zip(task.relevant[pairs].tolist(), task.grades[pairs].tolist(), strict=True))
        kept = [p for p in range(len(row)) if pool is None or task.passage_language[p] == pool]
        right = {p: grade for p, grade in grades.items() if p in set(kept)}
        asked = str(question)
        qrels += [ir_measures.Qrel(asked, names[p], grade) for p, grade in right.items()]
        if right:
            run += [ir_measures.ScoredDoc(asked, names[p], float(row[p])) for p in kept]
    return {int(m.query_id): m.value for m in ir_measures.iter_calc([measure], qrels, run)}


def compare_with_trusted(task: Task, asked: np.ndarray, given_: np.ndarray) -> None:
    """Every metric in every pool; names fall as numbers rise, as trec_eval's ties do."""
    scores, ranking = asked @ given_.T, rank(task, asked, given_)
    names = [f"p{len(task.passage_ids) - number:05d}" for number in range(len(task.passage_ids))]
    for name, (_, metric) in metrics.METRICS.items():
        ours = metrics.score(metric, task, ranking)
        for pool in (None, *range(len(task.languages))):
            values = ours.pooled if pool is None else ours.by_pool[:, pool]
            theirs = trusted(task, scores, MEASURES[name], pool, names)
            assert np.flatnonzero(~np.isnan(values)).tolist() == sorted(theirs)
            for question, value in theirs.items():
                if name == "mrr_at_10":  # RR@10 of ir_measures is not trec_eval's
                    value = value if value >= 1 / 10 else 0
                if name.startswith("map_at_"):  # trec_eval divides by R where R is more than k
                    k = int(name.removeprefix("map_at_"))
                    right = [task.passage_language[p] for p in answers(task, question)]
                    count = len(right) if pool is None else right.count(pool)
                    value *= count / min(count, k)
                assert values[question] == pytest.approx(value, abs=1e-9), (name, pool, question)


def graded(rng: np.random.Generator, task: Task) -> Task:
    return replace(task, grades=rng.integers(1, 4, len(task.relevant)))


@pytest.mark.parametrize("tied", [False, True])
def test_metrics_equal_trec_eval(tied: bool) -> None:
    rng = np.random.default_rng(int(tied))
    task = graded(rng, random_task(rng, 3, questions=40, passages=150, most_answers=40))
    dimension = 3 if tied else 40
    asked = exact_vectors(rng, 40, dimension)
    compare_with_trusted(task, asked, exact_vectors(rng, len(task.passage_ids), dimension))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    languages=st.integers(1, 3),
    questions=st.integers(1, 5),
    passages=st.integers(1, 40),
    dimension=st.integers(1, 3),
)
def test_metrics_equal_trec_eval_among_ties(
    seed: int, languages: int, questions: int, passages: int, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    task = graded(rng, random_task(rng, languages, questions, passages, most_answers=passages))
    asked = exact_vectors(rng, questions, dimension)
    compare_with_trusted(task, asked, exact_vectors(rng, len(task.passage_ids), dimension))


def test_the_best_order_has_ndcg_1_whatever_the_grades() -> None:
    task = replace(make_task([0], [0, 0, 0], [[0, 1, 2]]), grades=np.array([1, 3, 2]))
    ndcg = metrics.METRICS["ndcg_at_10"][1]
    places = (np.array([3, 1, 2]), np.array([1, 2, 3]))
    best, other = (metrics.score(ndcg, task, Ranking(p, p)).pooled[0] for p in places)
    assert best == 1
    gains, logs = np.array([1, 3, 2]), np.log2([2, 3, 4])
    assert other == pytest.approx((gains / logs).sum() / (np.sort(gains)[::-1] / logs).sum())


def test_what_is_not_listed_adds_nothing() -> None:
    task = make_task([0], [0, 0, 0], [[0, 2]])
    places = np.array([2.0, np.inf])
    found = {
        name: float(metrics.score(metric, task, Ranking(places, places)).pooled[0])
        for name, (_, metric) in metrics.METRICS.items()
    }
    assert found["map"] == found["map_at_100"] == 0.25
    assert found["recall_at_100"] == found["mrr_at_10"] == 0.5
    assert found["accuracy"] == 0


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
    found = distances(task, ranking)["mean"]
    assert found == pytest.approx(looped_distance(task, ordered), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("languages", [2, 5])
def test_an_oracle_finds_everything_without_bias(languages: int) -> None:
    task = parallel_task(languages, per_language=40)
    vectors = np.tile(unit_vectors(np.random.default_rng(1), 40), (languages, 1))
    ranking = rank(task, vectors, vectors)
    scores = metrics.score(metrics.average_precision, task, ranking)
    assert set(metrics.settings(task, scores).values()) == {1.0}
    found = distances(task, ranking)
    assert found["mean"] == languages - 1
    assert found["normalised"] == 0


def test_random_vectors_have_a_normalised_rank_distance_of_1_within_its_interval() -> None:
    rng = np.random.default_rng(2)
    task = parallel_task(languages=8, per_language=120)
    ranking = rank(task, unit_vectors(rng, 960), unit_vectors(rng, 960))
    found = bias.measure(task, ranking, NO_TOP)
    scores = {"map": metrics.score(metrics.average_precision, task, ranking)}
    resampled = Resampled.of(PerQuestion.of(task, scores, found))
    low, high = interval(resampled.figures()["bias.rank_distance.normalised"])
    assert low < 1 < high
    assert high - low < 0.06


@pytest.mark.parametrize("seed", range(3))
def test_random_vectors_show_no_bias(seed: int) -> None:
    """Every figure of the bias at what docs/metrics.md says that chance gives."""
    rng = np.random.default_rng(seed)
    task = parallel_task(languages=5, per_language=200)
    asked, told = unit_vectors(rng, 1000), unit_vectors(rng, 1000)
    shards, ranks = [Shard.of(0, told, Ranks().device)], Ranks()
    top = top_k(asked, shards, 10, ranks)
    found = bias.summary(task, bias.measure(task, exact_ranks(task, asked, shards, ranks), top))
    assert found["first_hit_own"]["expected"] == pytest.approx(0.2)
    assert found["first_hit_own"]["mean"] == pytest.approx(0.2, abs=0.05)
    assert found["self_preference"]["mean"] == pytest.approx(1, abs=0.1)
    assert found["worst_rank"]["mean"] == pytest.approx(1001 * 5 / 6, rel=0.03)
    divergence = bias.divergence(bias.language_share(task, top.numbers), bias.pool_share(task))
    assert divergence.max() < 0.01


def test_a_search_that_finds_its_own_language_alone() -> None:
    """Two languages of ten: the own language fills the top, and its answer comes first."""
    task = parallel_task(languages=2, per_language=10)
    own = np.tile([1, 11], 20).reshape(20, 2)  # the first answer is in the first language
    places = np.where(task.question_language[:, None] == 0, own, own[:, ::-1]).ravel()
    top = np.stack([np.arange(10) + 10 * code for code in task.question_language])
    found = bias.summary(
        task, bias.measure(task, Ranking(places, places), TopK(top, top.astype(float), "none"))
    )
    assert found["first_hit_own"]["mean"] == 1
    assert found["self_preference"]["mean"] == 2
    assert found["rank_distance"]["mean"] == 10
    assert found["worst_rank"]["mean"] == 11
    assert found["complete_at_20"]["mean"] == 1
    share, pool = bias.language_share(task, top), bias.pool_share(task)
    assert bias.lift(share, pool).tolist() == [[2, 0], [0, 2]]
    assert bias.divergence(share, pool).tolist() == [1, 1]


def test_self_preference_is_of_the_pool_s_share() -> None:
    """A language with a quarter of the pool fills half of the top: twice its share."""
    task = make_task([0, 1], [0, 1, 1, 1], [[0, 1], [0, 1]])
    places = np.array([1, 1, 1, 1])
    top = TopK(np.array([[0, 1], [2, NOTHING]]), np.zeros((2, 2)), "none")
    found = bias.measure(task, Ranking(places, places), top).self_preference
    assert found.tolist() == pytest.approx([2, 1 / 0.75])


def test_complete_wants_every_right_answer() -> None:
    task = parallel_task(languages=2, per_language=60)
    places = np.tile([1, 20], 120)
    places[1] = 21
    found = bias.summary(task, bias.measure(task, Ranking(places, places), NO_TOP))
    assert found["complete_at_20"]["mean"] == pytest.approx(119 / 120)
    assert found["complete_at_100"]["mean"] == 1


def test_a_run_that_leaves_answers_out_has_no_rank_distance() -> None:
    task = parallel_task(languages=2, per_language=2)
    places = np.array([1, 2, 1, 2, 1, np.inf, 1, 2])
    found = bias.measure(task, Ranking(places, places), NO_TOP)
    assert np.isnan(found.distance).all() and np.isnan(found.worst_rank).all()
    assert found.complete[20].tolist() == [1, 1, 0, 1]


def test_rank_distance_of_every_question() -> None:
    """Percentiles within a language; a question with one right answer has no distance."""
    task = make_task([0, 0, 1, 1], [0, 0, 0, 1, 1, 1], [[0, 3], [1, 2, 4], [5], [2, 5]])
    pooled = np.array([6, 2, 1, 5, 3, 1, 4, 1])
    found = bias.measure(task, Ranking(pooled, pooled), NO_TOP)
    assert found.distance.tolist()[:2] == [4, 4]
    assert np.isnan(found.distance[2])
    assert found.distance[3] == 3
    random_two, random_three = 7 / 3, 7 * 2 / 4
    assert found.normalised[0] == pytest.approx((4 - 1) / (random_two - 1))
    assert found.normalised[1] == pytest.approx((4 - 2) / (random_three - 2))
    told = bias.summary(task, found)["rank_distance"]
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
