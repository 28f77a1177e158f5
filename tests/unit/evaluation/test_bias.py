"""Language bias: where the answer is known."""

import numpy as np
import pytest

from hybrid_dist.evaluation import bias, metrics
from hybrid_dist.evaluation.bootstrap import Resampled, interval
from hybrid_dist.evaluation.per_query import PerQuery
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.search import NOTHING, TopK, top_k
from hybrid_dist.evaluation.tiles import Shard
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import NO_TOP, make_task, parallel_task, rank, unit_vectors


def test_random_vectors_have_a_normalised_rank_distance_of_1_within_its_interval() -> None:
    rng = np.random.default_rng(2)
    task = parallel_task(languages=8, per_language=120)
    ranking = rank(task, unit_vectors(rng, 960), unit_vectors(rng, 960))
    found = bias.measure(task, ranking, NO_TOP)
    scores = {"map": metrics.score(metrics.average_precision, task, ranking)}
    resampled = Resampled.of(PerQuery.of(task, scores, found))
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
    places = np.where(task.query_language[:, None] == 0, own, own[:, ::-1]).ravel()
    top = np.stack([np.arange(10) + 10 * code for code in task.query_language])
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


def test_rank_distance_of_every_query() -> None:
    """Percentiles within a language; a query with one right answer has no distance."""
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
    assert told["queries"] == 3


def test_language_share_counts_what_was_found() -> None:
    task = make_task([0, 1, 1], [0, 0, 1, 1, 2], [[0], [2], [3]])
    top = np.array([[0, 1, 2], [2, 3, -1], [2, 4, -1]])
    share = bias.language_share(task, top)
    assert share[0] == pytest.approx([2 / 3, 1 / 3, 0])
    assert share[1] == pytest.approx([0, 3 / 4, 1 / 4])
    assert np.isnan(share[2]).all()
    assert bias.pool_share(task) == pytest.approx([0.4, 0.4, 0.2])
