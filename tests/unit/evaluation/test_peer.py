"""PEER: against scipy's Kruskal-Wallis test, and where the answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hybrid_dist.evaluation.peer import peer
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task
from tests.support.evaluation_problems import make_task, parallel_task, random_task


def of(task: Task, places: list[float]) -> list[float]:
    return peer(task, Ranking(np.array(places), np.array(places))).tolist()


def test_peer_by_hand() -> None:
    """Two languages of two passages each: H is 2.4 where one is first, 0 where both alternate."""
    task = make_task([0, 0, 0], [0, 0, 1, 1], [[0, 1, 2, 3]] * 3)
    apart, alternating, other = of(task, [1, 2, 30, 40, 1, 40, 2, 30, 7, 9, 8, 10])
    assert apart == pytest.approx(math.erfc(math.sqrt(2.4 / 2)))
    assert alternating == pytest.approx(1)
    assert other == pytest.approx(math.erfc(math.sqrt(0.6 / 2)))


@pytest.mark.parametrize("listed", [True, False])
def test_peer_is_scipys_test_by_grade(listed: bool) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(7)
    task = random_task(rng, languages=3, queries=60, passages=40, most_answers=14)
    task = replace(task, grades=rng.integers(1, 4, len(task.relevant)))
    places = np.concatenate([rng.permutation(43)[:n] + 1.0 for n in np.diff(task.relevant_starts)])
    if not listed:
        places[places > 20] = np.inf
    values, query = peer(task, Ranking(places, places)), task.pair_query
    tested = 0
    for number, value in enumerate(values):
        of_grades = []
        for grade in (1, 2, 3):
            here = (query == number) & (task.grades == grade)
            ranks = stats.rankdata(places[here])
            samples = [ranks[task.pair_language[here] == code] for code in range(3)]
            samples = [sample for sample in samples if len(sample)]
            total = sum(map(len, samples))
            if len(samples) > 1 and total > len(samples) and len(set(ranks.tolist())) > 1:
                of_grades.append(stats.kruskal(*samples).pvalue)
        tested += len(of_grades)
        expected = np.mean(of_grades) if of_grades else np.nan
        assert value == pytest.approx(expected, nan_ok=True)
    assert tested > 30


def test_peer_is_about_a_half_for_a_random_order() -> None:
    rng = np.random.default_rng(8)
    task = make_task([0] * 400, [0] * 12 + [1] * 12, [list(range(24))] * 400)
    places = np.concatenate([rng.permutation(24) + 1 for _ in range(400)])
    assert peer(task, Ranking(places, places)).mean() == pytest.approx(0.5, abs=0.04)


def test_peer_is_undefined_where_it_would_say_nothing() -> None:
    """One passage in each language, one language, and pools of their own."""
    task = parallel_task(languages=3, per_language=2)
    places = [float(1 + number % 3) for number in range(18)]
    assert np.isnan(of(task, places)).all()
    assert np.isnan(of(make_task([0], [0, 0, 1], [[0, 1]]), [1, 2])).all()
    apart = make_task([0], [0, 0, 1], [[0, 1, 2]], one_pool=False)
    assert np.isnan(of(apart, [1, 2, 3])).all()
    unlisted = make_task([0], [0, 0, 1], [[0, 1, 2]])
    assert np.isnan(of(unlisted, [np.inf] * 3)).all()
    assert not np.isnan(of(unlisted, [1, np.inf, np.inf])).any()
