"""The statistics of studies, validated by simulation of whole studies."""

import math

import numpy as np
import pytest

from hybrid_dist.evaluation.bootstrap import RESAMPLES
from hybrid_dist.studies.study_statistics import (
    MIN_SEEDS,
    QUERIES,
    SEEDS,
    Effect,
    Summary,
    holm,
    optimum,
    seed_test,
    slope,
    two_sided_p,
)

STUDIES, CELLS, QUERY_IDS = 2000, 6, 60
rng = np.random.default_rng(7)


def p_values(
    seed_spread: float, query_spread: float, noise: float, effect: float = 0.0
) -> np.ndarray:
    """[STUDIES, CELLS]: p-values of studies with five seeds whose cells differ by `effect`.

    `query_spread`: of a query's own difference between a cell and the baseline, which all seeds
    share and whose mean over all possible queries is 0. `noise`: of one query in one run.
    """
    result = np.empty((STUDIES, CELLS))
    for at in range(0, STUDIES, 250):
        shape = (250, CELLS + 1, MIN_SEEDS)
        runs = rng.normal(0, seed_spread, (*shape, 1)) + rng.normal(0, noise, (*shape, QUERY_IDS))
        runs += rng.normal(0, query_spread, (250, CELLS + 1, 1, QUERY_IDS))
        differences = runs[:, 1:] - runs[:, :1] + effect
        of_mean = differences.mean(2).var(-1, ddof=1) / QUERY_IDS
        of_one = differences.var(-1, ddof=1).mean(-1) / QUERY_IDS
        result[at : at + 250] = seed_test(differences.mean(-1), of_mean, of_one, QUERY_IDS)
    return result


NULLS = [
    pytest.param(1.0, 0.0, 1.0, id="seeds decide"),
    pytest.param(0.05, 0.0, 1.0, id="the noise of single queries decides"),
    pytest.param(0.3, 1.0, 1.0, id="seeds and queries"),
    pytest.param(0.02, 1.0, 0.3, id="queries decide"),
]


@pytest.mark.parametrize(("seeds", "queries", "noise"), NULLS)
def test_null_studies_are_rejected_as_often_as_they_should(
    seeds: float, queries: float, noise: float
) -> None:
    p = p_values(seeds, queries, noise)
    assert 0.03 <= np.mean(p[:, 0] < 0.05) <= 0.07, "of single tests"
    assert 0.03 <= np.mean(p < 0.05) <= 0.07, "of all tests"
    assert np.mean(holm(p).min(-1) < 0.05) <= 0.06, "family-wise, after Holm"


@pytest.mark.parametrize(("seeds", "queries", "noise"), NULLS)
def test_a_planted_effect_is_found(seeds: float, queries: float, noise: float) -> None:
    error = math.sqrt(
        2 * (seeds**2 + noise**2 / QUERY_IDS) / MIN_SEEDS + 2 * queries**2 / QUERY_IDS
    )
    found = np.mean(holm(p_values(seeds, queries, noise, 9 * error)) < 0.05)
    assert found > 0.85


def test_a_bootstrap_of_five_seeds_would_reject_too_often() -> None:
    """Why the test is not the two-level bootstrap of the intervals."""
    seeds = rng.normal(size=(STUDIES, MIN_SEEDS))
    drawn = rng.integers(0, MIN_SEEDS, (500, MIN_SEEDS))
    low, high = np.percentile(seeds[:, drawn].mean(-1), [2.5, 97.5], axis=1)
    assert np.mean((low > 0) | (high < 0)) > 0.1


def test_students_distribution_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    t = np.array([0.0, 0.1, 1.0, 2.0, 2.776, 12.0, 80.0])
    for freedom in (1.0, 2.5, 4.0, 30.0, 1189.0):
        wanted = 2 * stats.t.sf(t, freedom)
        assert two_sided_p(t, np.array(freedom)) == pytest.approx(wanted, rel=1e-8, abs=1e-300)
    assert two_sided_p(np.array(np.inf), np.array(4.0)) == 0


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([]).shape == (0,)


def values(means: list[float], spread: float = 0.01) -> np.ndarray:
    """[S, B]: runs with these figures, and normal draws of query ids around them."""
    draws = np.random.default_rng(3).normal(0, spread, (1, 1 + RESAMPLES))
    draws[0, 0] = 0
    return np.array(means)[:, None] + draws


def test_a_summary_keeps_seeds_and_queries_apart() -> None:
    summary = Summary.of(values([0.5, 0.6, 0.7], 0.01))
    assert summary.mean == pytest.approx(0.6)
    assert summary.deviation == pytest.approx(0.1)
    assert (summary.lowest, summary.highest, summary.seeds) == (0.5, 0.7, 3)
    low, high = summary.query_interval
    assert 0.57 < low < 0.59 and 0.61 < high < 0.63, "of the queries alone"
    low, high = summary.two_level_interval
    assert low < 0.54 and high > 0.66, "wider, with the seeds"
    one = Summary.of(values([0.5]))
    assert one.deviation is None


def test_with_few_seeds_the_p_value_is_that_of_the_queries() -> None:
    theirs = values([0.50, 0.52, 0.51, 0.53])
    ours = values([0.55, 0.50, 0.56, 0.54])
    effect = Effect.of(ours, theirs, 100)
    assert (effect.level, effect.seeds) == (QUERIES, 4)
    assert effect.p == pytest.approx(1 / 1001), "the draws are paired: the queries agree"


def test_with_five_seeds_the_p_value_is_that_of_the_seeds_and_queries() -> None:
    stats = pytest.importorskip("scipy.stats")
    means = [0.50, 0.52, 0.51, 0.53, 0.50], [0.53, 0.54, 0.55, 0.54, 0.53]
    effect = Effect.of(values(means[1]), values(means[0]), 100)
    assert effect.level == SEEDS
    assert effect.p == pytest.approx(stats.ttest_rel(*means).pvalue, rel=1e-6)
    differences = np.subtract(means[1], means[0])
    ratio = differences.mean() / differences.std(ddof=1)
    assert effect.size == pytest.approx(ratio * (1 - 3 / 15))
    assert effect.low < effect.value < effect.high


def test_variances_under_draws_of_query_ids_are_those_of_the_formula() -> None:
    """The test takes them from draws, since figures are no plain means over queries."""
    draw = np.random.default_rng(5)
    ids = 200
    queries = draw.normal(0, 1, ids) + draw.normal(0, 2, (MIN_SEEDS, ids))
    runs = queries + draw.normal(0.3, 0.2, (MIN_SEEDS, 1))
    weights = draw.multinomial(ids, np.full(ids, 1 / ids), 4000) / ids
    values = np.concatenate([runs.mean(1)[:, None], runs @ weights.T], axis=1)
    effect = Effect.of(values, np.zeros_like(values), ids)
    of_mean = runs.mean(0).var(ddof=1) / ids
    of_one = runs.var(1, ddof=1).mean() / ids
    wanted = seed_test(runs.mean(1), of_mean, of_one, ids)
    assert effect.p == pytest.approx(float(wanted), rel=0.1)


def test_an_optimum_has_an_interval_and_a_plateau() -> None:
    x = [0.0, 0.25, 0.5, 0.75, 1.0]
    noise = np.random.default_rng(4)
    curves = []
    for mean in (0.4, 0.598, 0.6, 0.599, 0.3):
        curve = mean + noise.normal(0, 0.005, (3, 1 + RESAMPLES))
        curve[:, 0] = mean
        curves.append(curve)
    found = optimum(x, curves, lower_is_better=False)
    assert found.best == 0.5
    assert found.plateau == (0.25, 0.5, 0.75)
    assert (found.low, found.high) == (0.25, 0.75)
    assert optimum(x, curves, lower_is_better=True).best == 1.0


def test_a_slope_is_that_of_least_squares() -> None:
    found = slope([0, 1, 2], [values([0.5, 0.5]), values([0.4, 0.4]), values([0.3, 0.3])])
    assert found.value == pytest.approx(-0.1)
    assert found.low <= found.value <= found.high
