"""Language preference of the first results, on rankings with known answers."""

from dataclasses import replace

import numpy as np
import pytest

from hybrid_dist.evaluation import bias, preference
from hybrid_dist.evaluation.preference import TOP_1
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK
from tests.support.evaluation_problems import make_task, no_top, parallel_task


def test_the_four_outcomes_of_the_first_result() -> None:
    """Each query of one language has another outcome; the last has no result."""
    task = make_task([0, 0, 0, 0, 0], [0, 0, 1, 1], [[0, 2]] * 5)
    top = np.array([[0, 1], [2, 0], [1, 0], [3, 0], [NO_PASSAGE, NO_PASSAGE]])
    outcomes = preference.top_1(task, top)
    for number, name in enumerate(TOP_1):
        expected = [float(number == query) for query in range(4)]
        assert outcomes[name][:4].tolist() == expected
        assert np.isnan(outcomes[name][4])
    places = np.array([1, 2] * 5)
    top_k = TopK(top, np.zeros(top.shape), "none")
    figures = bias.summary(task, bias.measure(task, Ranking(places, places), top_k))
    assert sum(figures[f"top_1_{name}"]["mean"] for name in TOP_1) == pytest.approx(1)


def test_the_first_result_is_judged_where_there_is_a_choice_of_language() -> None:
    task = make_task([0, 0, 1], [0, 0, 1], [[0, 1], [2], [1, 2]])
    outcomes = preference.top_1(task, np.array([[0], [2], [2]]))
    assert np.isnan(outcomes["relevant_own"]).tolist() == [True, True, False]
    apart = make_task([0], [0, 1], [[0, 1]], one_pool=False)
    assert np.isnan(preference.top_1(apart, np.array([[0]]))["relevant_own"]).all()


def test_first_hits_by_language_pair() -> None:
    """Queries in l00 find l00, l01 and l01 first, those in l01 find l02."""
    task = make_task([0, 0, 0, 1], [0, 1, 1, 2], [[0, 1, 2], [0, 1], [0, 3, 1], [0, 3]])
    pooled = np.array([1, 2, 3, 9, 4, 6, 2, 8, 5, 3])
    assert preference.first_hits(task, Ranking(pooled, pooled)).tolist() == [0, 1, 1, 2]
    share, expected = preference.first_hits_by_pair(task, Ranking(pooled, pooled))
    assert share[0] == pytest.approx([1 / 3, 2 / 3, 0])
    assert share[1] == pytest.approx([0, 0, 1])
    thirds = np.array([[1, 2, 0], [1.5, 1.5, 0], [1, 1, 1]]) / 3
    assert expected[0] == pytest.approx(thirds.mean(axis=0))
    assert expected[1] == pytest.approx([1 / 2, 0, 1 / 2])
    assert np.isnan(share[2]).all() and np.isnan(expected[2]).all()


def test_only_queries_with_several_languages_to_find_count_for_pairs() -> None:
    task = make_task([0, 0], [0, 0, 1], [[0, 1], [1, 2]])
    share, _ = preference.first_hits_by_pair(task, Ranking(np.arange(4), np.arange(4)))
    assert share[0].tolist() == [1, 0]
    unlisted = np.array([1, 2, np.inf, np.inf])
    share, expected = preference.first_hits_by_pair(task, Ranking(unlisted, unlisted))
    assert np.isnan(share).all() and np.isnan(expected).all()
    apart = replace(task, one_pool=False)
    assert np.isnan(preference.first_hits_by_pair(apart, Ranking(unlisted, unlisted))[0]).all()


def test_the_diagonal_is_the_preference_for_the_own_language() -> None:
    rng = np.random.default_rng(6)
    task = parallel_task(languages=4, per_language=25)
    places = np.argsort(rng.random((100, 100)), axis=1)[:, :4].ravel() + 1
    ranking = Ranking(places, places)
    figures = bias.summary(task, bias.measure(task, ranking, no_top(task)))
    share, expected = preference.first_hits_by_pair(task, ranking)
    assert np.diag(share).mean() == pytest.approx(figures["first_hit_own"]["mean"])
    assert expected == pytest.approx(np.full((4, 4), 0.25))
    assert share.sum(axis=1) == pytest.approx(np.ones(4))
