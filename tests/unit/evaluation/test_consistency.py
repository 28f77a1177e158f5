"""Consistency of parallel queries: against literal loops, scipy, and known answers."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from hybrid_dist.evaluation import consistency
from hybrid_dist.evaluation.consistency import MEASURES, Consistency
from hybrid_dist.evaluation.metrics import average_ranks
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK
from hybrid_dist.evaluation.tasks import Task
from tests.support.evaluation_problems import make_task, parallel_task, rank, unit_vectors


def lists(rows: Sequence[Sequence[int]], depth: int = 10) -> TopK:
    """Top passages of every query, filled up with NO_PASSAGE."""
    numbers = np.array([[*row, *[NO_PASSAGE] * (depth - len(row))] for row in rows])
    return TopK(numbers, np.zeros(numbers.shape), "none")


def two_queries(one: Sequence[int], other: Sequence[int], depth: int = 10) -> dict[str, float]:
    """The measures of one query in two languages, by their lists."""
    task = make_task([0, 1], [0, 1] * 15, [[0, 1], [0, 1]], ["a", "a"])
    places = np.array([1, 2, 1, 2])
    measured = consistency.measure(task, Ranking(places, places), lists([one, other], depth))
    return {name: float(values[0]) for name, values in measured.queries.items()}


def test_equal_lists_agree_wholly_and_disjoint_lists_not_at_all() -> None:
    first, second = list(range(10)), list(range(10, 20))
    assert two_queries(first, first) == pytest.approx(dict.fromkeys(MEASURES, 1))
    apart = two_queries(first, second)
    assert apart["rbo"] == apart["jaccard_at_10"] == 0


def test_overlap_of_lists_by_hand() -> None:
    """Lists a b and b a: nothing in common at depth 1, everything at depth 2."""
    values = two_queries([1, 2], [2, 1], depth=2)
    assert values["rbo"] == pytest.approx(0.9**2 + 0.1 / 0.9 * 0.9**2)
    assert values["jaccard_at_10"] == 1
    values = two_queries([1, 2], [3, 1], depth=2)
    assert values["rbo"] == pytest.approx(0.9**2 / 2 + 0.1 / 0.9 * 0.9**2 / 2)
    assert values["jaccard_at_10"] == pytest.approx(1 / 3)


def test_the_first_ranks_count_most_for_rbo_and_alike_for_jaccard() -> None:
    at_top = two_queries([0, *range(10, 19)], [0, *range(20, 29)])
    at_end = two_queries([*range(10, 19), 0], [*range(20, 29), 0])
    assert at_top["rbo"] > 4 * at_end["rbo"] > 0
    assert at_top["jaccard_at_10"] == at_end["jaccard_at_10"] == pytest.approx(1 / 19)


def looped_rbo(one: Sequence[int], other: Sequence[int], p: float = 0.9) -> float:
    """Extrapolated rank-biased overlap of the shorter depth, from its definition."""
    depth = min(len(one), len(other))
    if not one and not other:
        return np.nan
    if depth == 0:
        return 0
    agreement = [len(set(one[:d]) & set(other[:d])) / d for d in range(1, depth + 1)]
    series = sum(p**d * a for d, a in enumerate(agreement, 1))
    return agreement[-1] * p**depth + (1 - p) / p * series


def looped_jaccard(one: Sequence[int], other: Sequence[int]) -> float:
    either = set(one) | set(other)
    return len(set(one) & set(other)) / len(either) if either else np.nan


def looped_spearman(one: dict[int, float], other: dict[int, float]) -> float:
    """Pearson's correlation of the mean ranks of the passages; NaN if the passages differ."""
    if one.keys() != other.keys():
        return np.nan
    left, right = (
        [sum((w < v) + (w == v) / 2 for w in side.values()) for v in side.values()]
        for side in (one, {passage: other[passage] for passage in one})
    )
    if np.std(left) == 0 or np.std(right) == 0:
        return np.nan
    return float(np.corrcoef(left, right)[0, 1])


def parallel_problem(
    rng: np.random.Generator, full: bool
) -> tuple[Task, Ranking, TopK, list[list[int]]]:
    """Queries missing in some languages; relevant passages of some ids differ by language.

    Unless `full`, lists are of different lengths and some relevant passages are not listed.
    """
    ids, languages, passages = 9, 4, 40
    present = [(i, lang) for lang, i in product(range(languages), range(ids)) if rng.random() < 0.8]
    shared = [rng.choice(passages, rng.integers(1, 6), replace=False).tolist() for _ in range(ids)]
    answers = [
        rng.choice(passages, 3, replace=False).tolist() if i == 0 else shared[i] for i, _ in present
    ]
    own = [lang for _, lang in present]
    task = make_task(
        own, [n % languages for n in range(passages)], answers, [f"u{i}" for i, _ in present]
    )
    rows, pooled = [], []
    for answer in answers:
        order = rng.permutation(passages).tolist()
        places = [float(order.index(passage) + 1) for passage in sorted(answer)]
        length = 10 if full else int(rng.integers(0, 11))
        pooled += places if full else [place if place <= 20 else np.inf for place in places]
        rows.append(order[:length])
    ranks = np.array(pooled)
    return task, Ranking(ranks, ranks), lists(rows), rows


def looped(task: Task, ranking: Ranking, rows: list[list[int]]) -> dict[str, Any]:
    """Every measure: the mean over translations by query, and over ids by pair of languages."""
    starts, relevant = task.relevant_starts, task.relevant
    ranks = [
        dict(zip(relevant[a:b].tolist(), ranking.pooled[a:b].tolist(), strict=True))
        for a, b in pairwise(starts.tolist())
    ]
    queries = range(len(task.query_ids))
    by_query: dict[str, list[float]] = {name: [] for name in MEASURES}
    by_pair: dict[tuple[str, int, int], list[float]] = {}
    for one in queries:
        values: dict[str, list[float]] = {name: [] for name in MEASURES}
        for other in queries:
            if one == other or task.query_ids[one] != task.query_ids[other]:
                continue
            pair = (int(task.query_language[one]), int(task.query_language[other]))
            compared = (
                looped_spearman(ranks[one], ranks[other]),
                looped_rbo(rows[one], rows[other]),
                looped_jaccard(rows[one], rows[other]),
            )
            for name, value in zip(MEASURES, compared, strict=True):
                if not np.isnan(value):
                    values[name].append(value)
                    by_pair.setdefault((name, *pair), []).append(value)
        for name in MEASURES:
            by_query[name].append(float(np.mean(values[name])) if values[name] else np.nan)
    return {"queries": by_query, "pairs": {k: np.mean(v) for k, v in by_pair.items()}}


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_all_measures_equal_their_definitions(seed: int, full: bool) -> None:
    task, ranking, top, rows = parallel_problem(np.random.default_rng(seed), full)
    measured, expected = consistency.measure(task, ranking, top), looped(task, ranking, rows)
    languages = range(len(task.languages))
    for name in MEASURES:
        assert measured.queries[name] == pytest.approx(expected["queries"][name], nan_ok=True)
        for one, other in product(languages, languages):
            value = expected["pairs"].get((name, one, other), np.nan)
            assert measured.pairs[name][one, other] == pytest.approx(value, nan_ok=True)
    assert not np.isnan(measured.queries["mrc"]).all()


def test_the_correlation_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    task = parallel_task(languages=2, per_language=30)
    task = make_task(
        task.query_language.tolist(),
        task.passage_language.tolist(),
        [sorted(rng.choice(60, 7, replace=False).tolist())] * 60,
        list(task.query_ids),
    )
    places = np.argsort(rng.random((60, 60)), axis=1)[:, :7] + 1
    measured = consistency.measure(task, Ranking(places.ravel(), places.ravel()), lists([[0]] * 60))
    for query in range(30):
        expected = stats.spearmanr(places[query], places[query + 30]).statistic
        assert measured.queries["mrc"][query] == pytest.approx(expected)
        assert measured.queries["mrc"][query + 30] == pytest.approx(expected)


def test_mean_ranks_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 6, 80)
    values = np.where(rng.random(80) < 0.3, np.inf, rng.integers(1, 9, 80).astype(float))
    ranks = average_ranks(groups, values)
    for group in range(6):
        here = groups == group
        assert ranks[here] == pytest.approx(stats.rankdata(values[here]))
    assert len(average_ranks(np.empty(0, int), np.empty(0))) == 0


def test_opposite_orders_correlate_with_minus_1() -> None:
    """Each query finds its own language first, so two languages agree on nothing."""
    task = parallel_task(languages=2, per_language=3)
    places = np.where(task.pair_language == task.query_language[task.pair_query], 1, 2)
    measured = consistency.measure(task, Ranking(places, places), lists([[0]] * 6))
    assert measured.queries["mrc"] == pytest.approx([-1] * 6)
    assert measured.pairs["mrc"] == pytest.approx(
        np.array([[np.nan, -1], [-1, np.nan]]), nan_ok=True
    )


def test_means_are_over_queries_of_a_language_then_over_languages() -> None:
    """Three languages; one id lacks the last one."""
    task = make_task([0, 0, 1, 1, 2], [0, 1, 2], [[0, 1, 2]] * 5, ["a", "b", "a", "b", "a"])
    places = np.tile([1, 2, 3], 5)
    rows = [[0, 1], [0, 1], [0, 1], [2, 1], [2, 1]]
    section = consistency.summary(
        task, consistency.measure(task, Ranking(places, places), lists(rows, 2))
    )
    third = 1 / 3
    by_language = {
        "l00": ((1 + third) / 2 + third) / 2,
        "l01": ((1 + third) / 2 + third) / 2,
        "l02": third,
    }
    assert section["jaccard_at_10"]["by_language"] == pytest.approx(by_language)
    assert section["jaccard_at_10"]["mean"] == pytest.approx(np.mean(list(by_language.values())))
    assert section["mrc"]["mean"] == pytest.approx(1)


def test_random_vectors_agree_by_chance_and_an_oracle_wholly() -> None:
    rng = np.random.default_rng(5)
    task = parallel_task(languages=4, per_language=100)
    same = np.tile(unit_vectors(rng, 100), (4, 1))
    ranking = rank(task, unit_vectors(rng, 400), same)
    top = lists(rng.permuted(np.tile(np.arange(400), (400, 1)), axis=1)[:, :10].tolist())
    by_chance = consistency.summary(task, consistency.measure(task, ranking, top))
    assert by_chance["rbo"]["mean"] < 0.03 and by_chance["jaccard_at_10"]["mean"] < 0.03
    random = rank(task, unit_vectors(rng, 400), unit_vectors(rng, 400))
    measured = consistency.measure(task, random, top)
    assert abs(np.nanmean(measured.queries["mrc"])) < 0.1
    oracle = rank(task, same, same)
    assert np.nanmin(consistency.measure(task, oracle, top).queries["mrc"]) == pytest.approx(1)


def empty(measured: Consistency) -> bool:
    return all(np.isnan(values).all() for values in measured.queries.values())


def test_a_task_without_parallel_queries_has_no_consistency_and_a_reason() -> None:
    places = np.array([1, 2, 1, 2])
    ranking, top = Ranking(places, places), lists([[0], [1]])
    cases = (
        (["a", "b"], True, "no query id occurs in two languages"),
        (["a", "a"], False, "every language pair has a pool of its own"),
    )
    for ids, one_pool, reason in cases:
        task = make_task([0, 1], [0, 1], [[0, 1], [0, 1]], ids, one_pool)
        assert empty(consistency.measure(task, ranking, top))
        assert consistency.missing_reason(task) == reason
    task = make_task([0, 1], [0, 1], [[0, 1], [0, 1]], ["a", "a"])
    assert consistency.missing_reason(task) == ""
    assert not empty(consistency.measure(task, ranking, top))
