"""Intervals, differences and groups: against formulas, loops, and where the answer is known."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import bias, bootstrap, groups, metrics
from hybrid_dist.evaluation.bootstrap import (
    MIN_IDS,
    Difference,
    Draws,
    Resampled,
    interval,
    p_values,
)
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.per_query import PerQuery
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task
from tests.support.evaluation_problems import make_task, no_top, parallel_task, random_task
from tests.support.patience import slowness


def measured(task: Task, ranking: Ranking) -> tuple[PerQuery, dict[str, metrics.Scores]]:
    scores = {
        name: metrics.score(metric, task, ranking) for name, (_, metric) in metrics.METRICS.items()
    }
    return PerQuery.of(task, scores, bias.measure(task, ranking, no_top(task))), scores


def random_ranking(rng: np.random.Generator, task: Task) -> Ranking:
    places = rng.integers(1, len(task.passage_ids) + 1, (2, len(task.relevant)))
    return Ranking(places.min(0), places.max(0))


def of_one_language(values: np.ndarray, ids: list[str]) -> PerQuery:
    """Queries of one language with these reciprocal ranks."""
    count = len(values)
    return PerQuery(
        languages=("en",),
        ids=np.array(ids),
        language=np.zeros(count, np.int64),
        cell_query=np.arange(count),
        cell_pool=np.zeros(count, np.int64),
        by_pool={"map": values},
        pooled={"map.multilingual": values},
    )


def test_the_first_draw_is_the_sample() -> None:
    rng = np.random.default_rng(1)
    task = random_task(rng, languages=4, queries=60, passages=80, most_answers=5)
    ranking = random_ranking(rng, task)
    values, scores = measured(task, ranking)
    figures = Resampled.of(values).figures()
    for name, one in scores.items():
        for setting, value in metrics.settings(task, one).items():
            assert figures[f"{name}.{setting}"][0] == pytest.approx(value, abs=1e-12)
    summary = bias.summary(task, bias.measure(task, ranking, no_top(task)))
    for name, key in (("rank_distance", "mean"), ("rank_distance", "normalised")):
        assert figures[f"bias.{name}.{key}"][0] == pytest.approx(summary[name][key])


def test_metrics_in_parts_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with many languages, where the sums of all metrics would take gigabytes."""
    rng = np.random.default_rng(6)
    task = random_task(rng, languages=4, queries=60, passages=80, most_answers=5)
    values, _ = measured(task, random_ranking(rng, task))
    at_once = Resampled.of(values).by_pair
    monkeypatch.setattr(bootstrap, "MAX_TABLE", 2 * 60 * len(Resampled.of(values).pairs))
    in_parts = Resampled.of(values).by_pair
    for name, draws in at_once.items():
        assert np.array_equal(draws, in_parts[name], equal_nan=True)


def test_a_draw_is_the_figure_of_the_queries_drawn() -> None:
    """A few draws, replayed as tasks with the queries repeated."""
    rng = np.random.default_rng(2)
    task = random_task(rng, languages=3, queries=30, passages=40, most_answers=4)
    task = replace(task, query_ids=[f"u{number % 12}" for number in range(30)])
    values, scores = measured(task, random_ranking(rng, task))
    draws = Draws.of(values.ids)
    figures = Resampled.of(values, draws).figures()
    for draw in (1, 2, 500):
        rows = np.repeat(np.arange(30), draws.weights[draw][draws.cluster])
        again = replace(task, query_language=task.query_language[rows])
        taken = metrics.Scores(scores["map"].by_pool[rows], scores["map"].pooled[rows])
        for setting, value in metrics.settings(again, taken).items():
            expected = pytest.approx(value, abs=1e-12, nan_ok=True)
            assert figures[f"map.{setting}"][draw] == expected


def test_an_interval_has_the_width_of_the_formula() -> None:
    rng = np.random.default_rng(3)
    values = rng.random(2000)
    alone = of_one_language(values, [str(number) for number in range(2000)])
    low, high = interval(Resampled.of(alone).figures()["map.monolingual"])
    error = values.std() / np.sqrt(2000)
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert low < values.mean() < high


def test_parallel_queries_are_drawn_together() -> None:
    """Duplicating values does not narrow the interval."""
    rng = np.random.default_rng(4)
    values = rng.random(500)
    ids = [str(number) for number in range(500)]
    widths = []
    for sample in (of_one_language(values, ids), of_one_language(np.tile(values, 4), ids * 4)):
        low, high = interval(Resampled.of(sample).figures()["map.monolingual"])
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0])


def test_draws_depend_on_the_ids_alone() -> None:
    ids = np.array(["b", "a", "c", "a"])
    one, two = Draws.of(ids), Draws.of(np.array(["c", "b", "a"]))
    assert np.array_equal(one.weights, two.weights)
    assert one.cluster.tolist() == [1, 0, 2, 0]
    assert (one.weights.sum(1) == 3).all()


def test_intervals_cover_the_true_value_at_their_level() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(100):
        values = (rng.random(150) < 0.3).astype(float)
        sample = of_one_language(values, [str(number) for number in range(150)])
        low, high = interval(Resampled.of(sample).figures()["map.monolingual"])
        held += low <= 0.3 <= high
    assert 88 <= held <= 100


def test_draws_for_xquad_r_take_less_than_a_second() -> None:
    task = parallel_task(languages=11, per_language=1190)
    values, _ = measured(task, random_ranking(np.random.default_rng(6), task))
    begin = time.process_time()
    Resampled.of(values).figures()
    seconds = (time.process_time() - begin) / slowness()
    assert seconds < 2, "it takes a third of a second where nothing else runs"


def difference(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    ids = [str(number) for number in range(len(ours))]
    figures = [Resampled.of(of_one_language(v, ids)).figures() for v in (ours, theirs)]
    first, second = (each["map.monolingual"] for each in figures)
    return Difference.of(first, second, len(ids))


def test_pairing_detects_a_small_difference() -> None:
    """Queries vary more than runs, so that only pairing separates the runs."""
    rng = np.random.default_rng(7)
    theirs = rng.random(400)
    shift = difference(theirs + rng.normal(0.01, 0.02, 400), theirs)
    assert shift.low < shift.value < shift.high
    assert shift.low > 0 and shift.p < 0.002


def test_p_values_are_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(8)
    p_values = [difference(rng.random(100), rng.random(100)).p for _ in range(60)]
    assert np.mean(np.array(p_values) < 0.05) < 0.17
    assert 0.3 < np.mean(p_values) < 0.7
    same = rng.random(100)
    assert difference(same, same) == Difference(0.0, 0.0, 0.0, 1.0)


def test_few_ids_are_not_tested_and_tests_of_enough_hold_their_level() -> None:
    """The draws of 5 ids reject a true null hypothesis three times too often."""
    rng = np.random.default_rng(10)

    def rejected(ids: int, enough: int) -> float:
        values = rng.normal(size=(ids, 1000))
        weights = Draws.of(np.arange(ids).astype(str)).weights
        return float(np.mean(p_values(weights @ values / ids, enough) < 0.05))

    assert rejected(5, MIN_IDS) > 0.12
    assert rejected(MIN_IDS, MIN_IDS) < 0.09
    assert rejected(MIN_IDS - 1, MIN_IDS - 1) == 0
    counts = np.array([MIN_IDS - 1, MIN_IDS])
    assert np.isnan(p_values(np.ones((11, 2)), counts)).tolist() == [True, False]


def test_scores_survive_a_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    task = random_task(rng, languages=3, queries=20, passages=30, most_answers=3)
    values, _ = measured(task, random_ranking(rng, task))
    values.save(tmp_path / "scores.npz")
    kept = PerQuery.load(tmp_path / "scores.npz")
    assert kept.languages == values.languages
    assert kept.ids.tolist() == task.query_ids
    for name, draws in Resampled.of(values).figures().items():
        assert Resampled.of(kept).figures()[name] == pytest.approx(draws, rel=1e-6, nan_ok=True)
    (tmp_path / "scores.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="cannot be read as the scores of an evaluation"):
        PerQuery.load(tmp_path / "scores.npz")


def test_groups_are_groups_of_query_languages() -> None:
    task = make_task([0, 0, 1, 2], [0, 1, 2], [[0, 1], [0], [1, 2], [2]])
    places = np.array([1, 2, 1, 4, 5, 1])
    values, _ = measured(task, Ranking(places, places))
    language_groups = LanguageGroups({"pair": ("l00", "l02")}, frozenset({"l01", "l09"}))
    rows = groups.summary(Resampled.of(values), language_groups.within(task))
    assert [(name, row["languages"]) for name, row in rows.items()] == [
        ("seen", ["l01"]),
        ("unseen", ["l00", "l02"]),
        ("pair", ["l00", "l02"]),
    ]
    assert rows["unseen"]["figures"] == rows["pair"]["figures"]
    assert rows["seen"]["figures"]["map.monolingual"] == 0.25
    assert rows["seen"]["figures"]["map.cross_lingual"] == pytest.approx(0.2)
    assert rows["pair"]["figures"]["map.monolingual"] == 1
    low, high = rows["pair"]["intervals"]["map.cross_lingual"]
    assert low == high == 0.5


def test_the_best_and_the_worst_language() -> None:
    task = make_task([0, 1, 2], [0, 1, 2], [[0], [1], [2]])
    places = np.array([1, 4, 2])
    values, _ = measured(task, Ranking(places, places))
    row = groups.spread(Resampled.of(values))["map.monolingual"]
    assert (row["best"], row["worst"], row["gap"]) == ("l00", "l01", 0.75)
    assert row["standard_deviation"] == pytest.approx(np.std([1, 0.25, 0.5]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["few"], "'few' is not NAME=LANGUAGE,LANGUAGE"),
        (["=de"], "is not NAME="),
        (["few=de,"], "is not NAME="),
        (["few=german"], "'german'"),
        (["few=fr"], r"no task has queries in 'fr' .*\(they have de, en\)|in 'fr'; did you"),
        (["few=de", "few=en"], "a name is used twice"),
    ],
)
def test_wrong_groups_are_refused(given: list[str], message: str) -> None:
    task = replace(make_task([0, 1], [0, 1], [[0], [1]]), languages=("de", "en"))
    assert LanguageGroups.of(["few=deu"], [task]).named == {"few": ("de",)}
    with pytest.raises(UserError, match=message):
        LanguageGroups.of(given, [task])


def test_the_report_states_its_interval_method() -> None:
    assert bootstrap.INTERVAL_METHOD == "95%, from 1,000 draws of query ids with replacement"


def test_means_have_the_same_bits_in_any_order_of_summation() -> None:
    rng = np.random.default_rng(2)
    ids = np.array([f"{number % 700:03d}" for number in range(2000)])
    values = rng.standard_normal(len(ids)) * 1e6
    draws, query = Draws.of(ids), np.arange(len(ids))
    (means,) = draws.means(query, query % 3, 3, [values])
    exact = bootstrap._on_grid(values)
    assert exact == pytest.approx(values, rel=0, abs=1e-3)
    for draw in (0, 1, len(means) - 1):
        weight = draws.weights[draw][draws.cluster].astype(float)
        for cell in range(3):
            here = query % 3 == cell
            total = math.fsum(weight[here] * exact[here])
            assert means[draw, cell] == total / weight[here].sum()
