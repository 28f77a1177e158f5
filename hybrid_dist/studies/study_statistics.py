"""The statistics of a study: spread over seeds, intervals over queries, tests and effect sizes.

A figure of a cell is an array [S, B]: S seeds, and B draws of query ids, of which the first is the
sample itself (evaluation/bootstrap.py). All cells share the draws of query ids.

**The test.** A difference from the baseline, in seed s and averaged over queries, varies for two
reasons: other seeds and other queries. With S seeds the variance of its mean is

    var(seeds) / S  +  var(queries)  -  what both count

The first part is the sample variance of the S differences. The second is the variance of the mean
over seeds under draws of query ids. Noise of a single query in a single seed is in both, so it is
taken off once; the variance of each seed's own difference under the same draws tells its size. The
mean over the root of this is compared with Student's t distribution, with Satterthwaite's degrees
of freedom: S - 1 if seeds decide and more if queries do. They are worked out from the seeds' part
times (S - 1) / (S - 3): without that, a part that five seeds happen to make too small gives too
many degrees of freedom, and Holm's correction rejected in 8% of null studies. Where all queries
agree the test is the paired t-test over seeds. A bootstrap over five seeds would reject too often,
because few values underestimate their own spread: it gives intervals only.

With fewer than MIN_SEEDS seeds the spread over seeds cannot be estimated well enough, and p-values
are those of the queries alone: they hold for these trained models and not for other seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hybrid_dist.evaluation.bootstrap import MIN_IDS, interval, p_values

MIN_SEEDS = 5
"""Fewer seeds than this give query-level p-values only."""
SIGNIFICANCE = 0.05
SEED = 1
ITERATIONS = 300
SEEDS, QUERIES = "seeds and queries", "queries only"
"""What a p-value accounts for."""


@dataclass(frozen=True)
class Summary:
    """A figure of a cell."""

    mean: float
    seeds: int
    deviation: float | None
    """Standard deviation over seeds; None for one seed."""
    lowest: float
    highest: float
    """Over seeds."""
    query_interval: tuple[float, float]
    """Of the mean over seeds, over draws of query ids: other queries, the same trained models."""
    two_level_interval: tuple[float, float]
    """Over draws of seeds and of query ids."""

    @classmethod
    def of(cls, values: np.ndarray) -> "Summary":
        """Of the values [S, B] of a cell."""
        seeds = values[:, 0]
        low, high = interval(values.mean(0))
        both_low, both_high = interval(two_level(values))
        return cls(
            mean=float(seeds.mean()),
            seeds=len(seeds),
            deviation=float(seeds.std(ddof=1)) if len(seeds) > 1 else None,
            lowest=float(seeds.min()),
            highest=float(seeds.max()),
            query_interval=(low, high),
            two_level_interval=(both_low, both_high),
        )


@dataclass(frozen=True)
class Effect:
    """How far a cell's figure is from the baseline's."""

    value: float
    low: float
    high: float
    """Of the two-level bootstrap."""
    seeds: int
    """Pairs of runs with the same seed."""
    deviation: float | None
    """Standard deviation of the differences over seeds."""
    size: float | None
    """Hedges' g of the differences: their mean over their standard deviation, corrected for few
    seeds; None for fewer than three."""
    p: float
    level: str
    """SEEDS or QUERIES."""
    agreeing: int
    """The seeds whose difference has the sign of the mean."""
    p_holm: float = math.nan
    """p after Holm's correction over the family."""

    @classmethod
    def of(cls, ours: np.ndarray, theirs: np.ndarray, ids: int) -> "Effect":
        """Of two cells' values [S, B], seed by seed; `ids` is the number of query ids."""
        differences = ours - theirs
        seeds = differences[:, 0]
        low, high = interval(two_level(differences))
        deviation = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
        if len(seeds) >= MIN_SEEDS:
            of_mean = np.nanvar(differences[:, 1:].mean(0), ddof=1)
            of_one = np.nanvar(differences[:, 1:], axis=1, ddof=1).mean()
            p, level = float(seed_test(seeds, of_mean, of_one, ids)), SEEDS
        else:
            p, level = float(p_values(differences.mean(0), MIN_IDS)), QUERIES
        size = None
        if deviation and len(seeds) > 2:
            size = float(seeds.mean()) / deviation * (1 - 3 / (4 * len(seeds) - 5))
        return cls(
            value=float(seeds.mean()),
            low=low,
            high=high,
            seeds=len(seeds),
            deviation=deviation,
            size=size,
            p=p,
            level=level,
            agreeing=int(np.sum(np.sign(seeds) == np.sign(seeds.mean()))),
        )


def two_level(values: np.ndarray) -> np.ndarray:
    """[B]: the mean over seeds in draws of seeds and query ids; the first is the sample itself.

    Cells with the same number of seeds get the same draws.
    """
    count, draws = values.shape
    drawn = np.random.default_rng(SEED).integers(0, count, (count, draws))
    drawn[:, 0] = np.arange(count)
    mean: np.ndarray = np.take_along_axis(values, drawn, axis=0).mean(0)
    return mean


def seed_test(
    differences: np.ndarray,
    variance_of_mean: np.ndarray | float,
    variance_of_one: np.ndarray | float,
    ids: int,
) -> np.ndarray:
    """The two-sided p-values of differences [..., S] over seeds; see the module's docstring.

    `variance_of_mean`, `variance_of_one`: under draws of query ids, the variance of the mean over
    seeds and the mean variance of one seed's difference.
    """
    count = differences.shape[-1]
    mean = differences.mean(-1)
    of_seeds = differences.var(-1, ddof=1) / count
    counted_twice = np.maximum(0, np.asarray(variance_of_one) - variance_of_mean) / (count - 1)
    of_queries = np.maximum(0, variance_of_mean - counted_twice)
    total = of_seeds + of_queries
    cautious = of_seeds * (count - 1) / (count - 3)
    parts = cautious**2 / (count - 1) + of_queries**2 / max(1, ids - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(parts > 0, (cautious + of_queries) ** 2 / parts, count - 1)
        t = np.where(total > 0, mean / np.sqrt(total), np.where(mean == 0, 0.0, np.inf))
    return two_sided_p(t, freedom)


def two_sided_p(t: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """The probability of a |t| as large under Student's distribution."""
    t, freedom = np.broadcast_arrays(np.asarray(t, float), np.asarray(freedom, float))
    with np.errstate(over="ignore"):
        x = freedom / (freedom + t**2)
    return _incomplete_beta(freedom / 2, 0.5, x)


def _incomplete_beta(a: np.ndarray, b: float, x: np.ndarray) -> np.ndarray:
    """The regularised incomplete beta function, by Lentz's continued fraction."""
    flip = x > (a + 1) / (a + b + 2)
    p, q = np.where(flip, b, a), np.where(flip, a, b)
    y = np.where(flip, 1 - x, x)
    log_gamma = np.vectorize(math.lgamma, otypes=[float])
    with np.errstate(divide="ignore"):
        front = np.exp(
            log_gamma(p + q) - log_gamma(p) - log_gamma(q) + p * np.log(y) + q * np.log1p(-y)
        )
    result = np.where((y <= 0) | (y >= 1), 0.0, front * _fraction(p, q, y) / p)
    return np.where(flip, 1 - result, result)


def _fraction(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / np.where(np.abs(d) < tiny, tiny, d)
    value = d.copy()
    for m in range(1, ITERATIONS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            c = 1 + step / c
            d = 1 / np.where(np.abs(d) < tiny, tiny, d)
            c = np.where(np.abs(c) < tiny, tiny, c)
            value = value * d * c
        if np.all(np.abs(d * c - 1) < 1e-14):
            break
    return value


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values over the last axis: each at most 1 and none below a smaller p's."""
    values = np.asarray(p, float)
    if not values.shape[-1]:
        return values
    count = values.shape[-1]
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, -1) * np.arange(count, 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(ordered, axis=-1))
    result = np.empty_like(values)
    np.put_along_axis(result, order, adjusted, -1)
    return result


@dataclass(frozen=True)
class Optimum:
    """Where on a numeric axis a figure is best."""

    best: float
    low: float
    high: float
    """The central 95% of the best value over draws of seeds and query ids."""
    plateau: tuple[float, ...]
    """The values that are not distinguishable from the best one: the interval of their difference
    from it holds 0."""


def optimum(x: Sequence[float], curves: Sequence[np.ndarray], lower_is_better: bool) -> Optimum:
    """The optimum of a figure over the values `x`, from each cell's [S, B]."""
    sign = -1 if lower_is_better else 1
    draws = np.stack([two_level(values) for values in curves]) * sign
    places = np.asarray(x, float)
    best = int(np.argmax(draws[:, 0]))
    low, high = interval(places[np.argmax(draws, axis=0)])
    plateau = []
    for at, place in enumerate(places):
        edges = interval(draws[at] - draws[best])
        if at == best or edges[0] <= 0 <= edges[1]:
            plateau.append(float(place))
    return Optimum(float(places[best]), low, high, tuple(sorted(plateau)))


@dataclass(frozen=True)
class Slope:
    """The change of a figure per unit of a numeric axis, by least squares."""

    value: float
    low: float
    high: float
    """Over draws of seeds and query ids."""


def slope(x: Sequence[float], curves: Sequence[np.ndarray]) -> Slope:
    """The slope of a figure over the values `x`, from each cell's [S, B]."""
    places = np.asarray(x, float)
    centred = places - places.mean()
    draws = np.stack([two_level(values) for values in curves])
    slopes = centred @ draws / (centred @ centred)
    low, high = interval(slopes)
    return Slope(float(slopes[0]), low, high)


def with_holm(effects: Mapping[tuple[str, str], Effect]) -> dict[tuple[str, str], Effect]:
    """The effects of a family, corrected for their number."""
    adjusted = holm([effect.p for effect in effects.values()])
    return {
        key: replace(effect, p_holm=float(p))
        for (key, effect), p in zip(effects.items(), adjusted, strict=True)
    }
