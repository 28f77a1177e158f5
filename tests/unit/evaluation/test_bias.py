"""Language bias: where the answer is known."""

import numpy as np
import pytest

from hybrid_dist.evaluation import bias, metrics
from hybrid_dist.evaluation.bootstrap import Resampled, interval
from hybrid_dist.evaluation.per_query import PerQuery
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK, top_k
from hybrid_dist.evaluation.tiles import Shard
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import make_task, no_top, parallel_task, rank, unit_vectors


def test_random_vectors_have_a_normalized_rank_distance_of_1_within_its_interval() -> None:
    rng = np.random.default_rng(2)
    task = parallel_task(languages=8, per_language=120)
    ranking = rank(task, unit_vectors(rng, 960), unit_vectors(rng, 960))
    measured = bias.measure(task, ranking, no_top(task))
    scores = {"map": metrics.score(metrics.average_precision, task, ranking)}
    resampled = Resampled.of(PerQuery.of(task, scores, measured))
    low, high = interval(resampled.figures()["bias.rank_distance.normalised"])
    assert low < 1 < high
    assert high - low < 0.06


@pytest.mark.parametrize("seed", range(3))
def test_random_vectors_show_no_bias(seed: int) -> None:
    """Every bias figure has the value that docs/metrics.md gives for a random ranking."""
    rng = np.random.default_rng(seed)
    task = parallel_task(languages=5, per_language=200)
    queries, passages = unit_vectors(rng, 1000), unit_vectors(rng, 1000)
    shards, ranks = [Shard.of(0, passages, Ranks().device)], Ranks()
    top = top_k(queries, shards, 10, ranks)
    figures = bias.summary(task, bias.measure(task, exact_ranks(task, queries, shards, ranks), top))
    assert figures["first_hit_own"]["expected"] == pytest.approx(0.2)
    assert figures["first_hit_own"]["mean"] == pytest.approx(0.2, abs=0.05)
    assert figures["self_preference"]["mean"] == pytest.approx(1, abs=0.1)
    assert figures["worst_rank"]["mean"] == pytest.approx(1001 * 5 / 6, rel=0.03)
    divergence = bias.divergence(bias.language_share(task, top.numbers), bias.pool_share(task))
    assert divergence.max() < 0.01


def test_bias_of_a_search_that_returns_only_the_query_language() -> None:
    """Two languages: the query language fills the top 10, and its relevant passage is first."""
    task = parallel_task(languages=2, per_language=10)
    own = np.tile([1, 11], 20).reshape(20, 2)  # the first answer is in the first language
    places = np.where(task.query_language[:, None] == 0, own, own[:, ::-1]).ravel()
    top = np.stack([np.arange(10) + 10 * code for code in task.query_language])
    figures = bias.summary(
        task, bias.measure(task, Ranking(places, places), TopK(top, top.astype(float), "none"))
    )
    assert figures["first_hit_own"]["mean"] == 1
    assert figures["self_preference"]["mean"] == 2
    assert figures["rank_distance"]["mean"] == 10
    assert figures["worst_rank"]["mean"] == 11
    assert figures["complete_at_20"]["mean"] == 1
    share, pool = bias.language_share(task, top), bias.pool_share(task)
    assert bias.lift(share, pool).tolist() == [[2, 0], [0, 2]]
    assert bias.divergence(share, pool).tolist() == [1, 1]


def test_self_preference_is_of_the_pool_s_share() -> None:
    """A language with a quarter of the pool fills half of the top: twice its share."""
    task = make_task([0, 1], [0, 1, 1, 1], [[0, 1], [0, 1]])
    places = np.array([1, 1, 1, 1])
    top = TopK(np.array([[0, 1], [2, NO_PASSAGE]]), np.zeros((2, 2)), "none")
    preference = bias.measure(task, Ranking(places, places), top).self_preference
    assert preference.tolist() == pytest.approx([2, 1 / 0.75])


def test_complete_at_k_requires_every_relevant_passage() -> None:
    task = parallel_task(languages=2, per_language=60)
    places = np.tile([1, 20], 120)
    places[1] = 21
    figures = bias.summary(task, bias.measure(task, Ranking(places, places), no_top(task)))
    assert figures["complete_at_20"]["mean"] == pytest.approx(119 / 120)
    assert figures["complete_at_100"]["mean"] == 1


def test_complete_at_k_is_undefined_where_more_than_k_passages_are_relevant() -> None:
    """12 relevant passages cannot be among the top 10, whatever the order."""
    task = parallel_task(languages=12, per_language=2)
    places = np.tile(np.arange(1, 13), 24)
    measured = bias.measure(task, Ranking(places, places), no_top(task))
    assert np.isnan(measured.complete[10]).all()
    assert measured.complete[20].tolist() == [1] * 24
    few = make_task([0, 0], [0] * 12 + [1], [[*range(13)], [0, 12]])
    measured = bias.measure(few, Ranking(np.arange(1, 16), np.arange(1, 16)), no_top(few))
    assert measured.complete[20].tolist() == [1, 1]
    assert np.isnan(measured.complete[10][0]) and measured.complete[10][1] == 0


def test_a_run_without_all_relevant_passages_has_no_rank_distance() -> None:
    task = parallel_task(languages=2, per_language=2)
    places = np.array([1, 2, 1, 2, 1, np.inf, 1, 2])
    measured = bias.measure(task, Ranking(places, places), no_top(task))
    assert np.isnan(measured.distance).all() and np.isnan(measured.worst_rank).all()
    assert measured.complete[20].tolist() == [1, 1, 0, 1]


def test_rank_distance_of_every_query() -> None:
    """Percentiles within a language; a query with one relevant passage has no distance."""
    task = make_task([0, 0, 1, 1], [0, 0, 0, 1, 1, 1], [[0, 3], [1, 2, 4], [5], [2, 5]])
    pooled = np.array([6, 2, 1, 5, 3, 1, 4, 1])
    measured = bias.measure(task, Ranking(pooled, pooled), no_top(task))
    assert measured.distance.tolist()[:2] == [4, 4]
    assert np.isnan(measured.distance[2])
    assert measured.distance[3] == 3
    random_two, random_three = 7 / 3, 7 * 2 / 4
    assert measured.normalised[0] == pytest.approx((4 - 1) / (random_two - 1))
    assert measured.normalised[1] == pytest.approx((4 - 2) / (random_three - 2))
    distance = bias.summary(task, measured)["rank_distance"]
    assert distance["mean"] == pytest.approx((4 + 3) / 2)
    assert distance["queries"] == 3


def test_language_share_counts_the_top_passages() -> None:
    task = make_task([0, 1, 1], [0, 0, 1, 1, 2], [[0], [2], [3]])
    top = np.array([[0, 1, 2], [2, 3, -1], [2, 4, -1]])
    share = bias.language_share(task, top)
    assert share[0] == pytest.approx([2 / 3, 1 / 3, 0])
    assert share[1] == pytest.approx([0, 3 / 4, 1 / 4])
    assert np.isnan(share[2]).all()
    assert bias.pool_share(task) == pytest.approx([0.4, 0.4, 0.2])
