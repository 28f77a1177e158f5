"""Confidence intervals by the cluster bootstrap: figures recomputed over resampled queries.

Query ids are drawn with replacement, each with its queries in all languages, since parallel queries
are not independent. Draws depend on the ids alone: two runs on the same queries share their draws,
so differences can be taken draw by draw.

Shapes: B = 1 + RESAMPLES draws, the first of which is the sample itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.metrics import divide_or_nan
from hybrid_dist.evaluation.per_query import PerQuery

RESAMPLES = 1000
SEED = 1
LEVEL = 95
"""Percent of the draws that an interval covers."""
INTERVAL_METHOD = f"{LEVEL}%, from {RESAMPLES:,} draws of query ids with replacement"
MAX_FLOAT_WEIGHTS = 1 << 24
"""Weights that are converted to float64 at once (128 MiB)."""


@dataclass(frozen=True)
class Draws:
    """How often each query id occurs in each draw."""

    cluster: np.ndarray
    """[queries]: the number of each query's id."""
    weights: np.ndarray
    """[B, ids]"""

    @classmethod
    def of(cls, ids: np.ndarray) -> "Draws":
        """Draw from the distinct ids; `ids` [queries] has the id of each query."""
        known, cluster = np.unique(ids, return_inverse=True)
        count = len(known)
        rng = np.random.default_rng(SEED)
        weights = np.ones((1 + RESAMPLES, count), dtype=np.uint8)
        for row in range(1, 1 + RESAMPLES):
            drawn = np.bincount(rng.integers(0, count, count), minlength=count)
            weights[row] = np.minimum(drawn, 255)
        return cls(cluster, weights)

    def means(
        self, query: np.ndarray, cell: np.ndarray, cells: int, values: Sequence[np.ndarray]
    ) -> np.ndarray:
        """[len(values), B, cells]: means over the values in each cell; NaN for an empty one.

        All arrays in `values` have the same length; `query` and `cell` give the query and the cell
        of each position.
        """
        ids = self.weights.shape[1]
        slot = self.cluster[query] * cells + cell
        tables = [np.bincount(slot, minlength=ids * cells)]
        tables += [np.bincount(slot, weights=_on_grid(v), minlength=ids * cells) for v in values]
        table = np.stack([t.reshape(ids, cells) for t in tables], axis=1).astype(float)
        sums = np.empty((len(self.weights), 1 + len(values), cells))
        step = max(1, MAX_FLOAT_WEIGHTS // ids)
        for low in range(0, len(sums), step):
            weights = self.weights[low : low + step].astype(float)
            sums[low : low + step] = (weights @ table.reshape(ids, -1)).reshape(-1, *sums.shape[1:])
        return divide_or_nan(sums[:, 1:], sums[:, :1]).transpose(1, 0, 2)


def _on_grid(values: np.ndarray) -> np.ndarray:
    """Values rounded to a grid on which float64 sums are exact in any order.

    So figures have the same bits with any number of BLAS threads. Rounding changes a value by less
    than 1e-9 of the largest; the grid allows for sums over four times the sample.
    """
    largest = np.max(np.abs(values), initial=0.0)
    if largest == 0:
        return values
    _, exponent = np.frexp(largest)
    grid = np.ldexp(1.0, int(exponent) + (4 * len(values)).bit_length() - 53)
    rounded: np.ndarray = np.round(values / grid) * grid
    return rounded


@dataclass(frozen=True)
class Resampled:
    """The figures of an evaluation over all draws."""

    languages: tuple[str, ...]
    pairs: np.ndarray
    """[pairs, 2]: query and pool language of each language pair that has queries."""
    by_pair: Mapping[str, np.ndarray]
    """Metric -> [B, pairs]."""
    by_language: Mapping[str, np.ndarray]
    """Pooled figure -> [B, languages]."""

    @classmethod
    def of(cls, scores: PerQuery, draws: Draws | None = None) -> "Resampled":
        draws = Draws.of(scores.ids) if draws is None else draws
        count = len(scores.languages)
        query_language = scores.language[scores.cell_query]
        pairs, cell = np.unique(query_language * count + scores.cell_pool, return_inverse=True)
        by_pair = draws.means(
            scores.cell_query, cell, len(pairs), [scores.by_pool[name] for name in scores.by_pool]
        )
        by_language = {}
        for name, values in scores.pooled.items():
            known = np.flatnonzero(~np.isnan(values))
            (by_language[name],) = draws.means(
                known, scores.language[known], count, [values[known]]
            )
        return cls(
            languages=scores.languages,
            pairs=np.stack([pairs // count, pairs % count], axis=1),
            by_pair=dict(zip(scores.by_pool, by_pair, strict=True)),
            by_language=by_language,
        )

    def figures(self, languages: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Dotted name -> figure over all draws [B]; figures without a value are left out.

        `languages` restricts the queries to those languages.
        """
        included = self.languages if languages is None else languages
        chosen = np.array([name in included for name in self.languages])
        same = self.pairs[:, 0] == self.pairs[:, 1]
        among = chosen[self.pairs[:, 0]]
        cells = {}
        for name, values in self.by_pair.items():
            cells[f"{name}.monolingual"] = values[:, same & among]
            cells[f"{name}.cross_lingual"] = values[:, ~same & among]
            cells[f"{name}.multilingual"] = self.by_language[f"{name}.multilingual"][:, chosen]
        bias = {name: v for name, v in self.by_language.items() if name not in cells}
        cells |= {name: values[:, chosen] for name, values in bias.items()}
        figures = {name: _mean(values) for name, values in cells.items()}
        return {name: values for name, values in figures.items() if not np.isnan(values[0])}


def _mean(values: np.ndarray) -> np.ndarray:
    """[B]: the mean over the cells of each draw, without those that the draw leaves empty."""
    known = ~np.isnan(values)
    return divide_or_nan(np.where(known, values, 0.0).sum(1), known.sum(1))


def interval(draws: np.ndarray) -> list[float]:
    """[low, high]: the central LEVEL percent of a figure's draws [B], without the sample itself."""
    edge = (100 - LEVEL) / 2
    return [float(v) for v in np.nanpercentile(draws[1:], [edge, 100 - edge])]


@dataclass(frozen=True)
class Difference:
    """One run's figure minus another's, with its interval and p-value."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided: the share of draws, shifted to mean 0, with a difference at least as large."""

    @classmethod
    def of(cls, ours: np.ndarray, theirs: np.ndarray) -> "Difference":
        difference = ours - theirs
        low, high = interval(difference)
        value, resampled = float(difference[0]), difference[1:]
        resampled = resampled[~np.isnan(resampled)]
        as_large = int(np.sum(np.abs(resampled - value) >= abs(value)))
        return cls(value, low, high, (1 + as_large) / (1 + len(resampled)))
