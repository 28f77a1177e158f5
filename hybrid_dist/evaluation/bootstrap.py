"""Confidence intervals by the cluster bootstrap: figures recomputed over resampled queries.

Query ids are drawn with replacement, each with its queries in all languages, since parallel queries
are not independent. Draws depend on the ids alone: two runs on the same queries share their draws,
so differences can be taken draw by draw.

Shapes: B = 1 + RESAMPLES draws, the first of which is the sample itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.metrics import divide_or_nan
from hybrid_dist.evaluation.per_query import PerQuery

RESAMPLES = 1000
SEED = 1
LEVEL = 95
"""Percent of the draws that an interval covers."""
INTERVAL_METHOD = f"{LEVEL}%, from {RESAMPLES:,} draws of query ids with replacement"
MIN_IDS = 20
"""With fewer query ids no difference is tested: draws of them vary too little, so that p-values
below 0.05 are far more frequent than 1 in 20 (docs/metrics.md)."""
MAX_FLOAT_WEIGHTS = 1 << 24
"""Weights that are converted to float64 at once (128 MiB)."""
MAX_TABLE = 1 << 24
"""Sums by id and cell that are multiplied by the weights at once, unless those of one array of
values are more: with 122 languages there are 13 million of them."""


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
    ) -> list[np.ndarray]:
        """For each array of values, [B, cells]: the means in each cell; NaN for an empty one.

        All arrays in `values` have the same length; `query` and `cell` give the query and the cell
        of each position.
        """
        ids = self.weights.shape[1]
        slot = self.cluster[query] * cells + cell
        (sizes,) = self._sums([np.bincount(slot, minlength=ids * cells)], cells)
        at_once = max(1, MAX_TABLE // (ids * cells))
        found = []
        for low in range(0, len(values), at_once):
            tables = [
                np.bincount(slot, weights=_on_grid(v), minlength=ids * cells)
                for v in values[low : low + at_once]
            ]
            found += [divide_or_nan(sums, sizes) for sums in self._sums(tables, cells)]
        return found

    def ids(self, query: np.ndarray, cell: np.ndarray, cells: int) -> np.ndarray:
        """[cells]: the different query ids in each cell."""
        ids = self.weights.shape[1]
        table = np.bincount(self.cluster[query] * cells + cell, minlength=ids * cells)
        return np.count_nonzero(table.reshape(ids, cells), axis=0)

    def _sums(self, tables: Sequence[np.ndarray], cells: int) -> np.ndarray:
        """[tables, B, cells]: the sums in each draw of what ids have in each cell [ids * cells]."""
        ids = self.weights.shape[1]
        table = np.stack([t.reshape(ids, cells) for t in tables], axis=1).astype(float, copy=False)
        sums = np.empty((len(self.weights), len(tables), cells))
        step = max(1, MAX_FLOAT_WEIGHTS // ids)
        for low in range(0, len(sums), step):
            weights = self.weights[low : low + step].astype(float)
            sums[low : low + step] = (weights @ table.reshape(ids, -1)).reshape(-1, *sums.shape[1:])
        return sums.transpose(1, 0, 2)


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
    ids_of_pairs: np.ndarray
    """[pairs]: query ids with a value."""
    ids_of_languages: Mapping[str, np.ndarray]
    """Pooled figure -> [languages]: query ids with a value."""

    @classmethod
    def of(cls, scores: PerQuery, draws: Draws | None = None) -> "Resampled":
        draws = Draws.of(scores.ids) if draws is None else draws
        count = len(scores.languages)
        query_language = scores.language[scores.cell_query]
        pairs, cell = np.unique(query_language * count + scores.cell_pool, return_inverse=True)
        by_pair = draws.means(
            scores.cell_query, cell, len(pairs), [scores.by_pool[name] for name in scores.by_pool]
        )
        by_language, ids_of_languages = {}, {}
        for name, values in scores.pooled.items():
            known = np.flatnonzero(~np.isnan(values))
            (by_language[name],) = draws.means(
                known, scores.language[known], count, [values[known]]
            )
            ids_of_languages[name] = draws.ids(known, scores.language[known], count)
        return cls(
            languages=scores.languages,
            pairs=np.stack([pairs // count, pairs % count], axis=1),
            by_pair=dict(zip(scores.by_pool, by_pair, strict=True)),
            by_language=by_language,
            ids_of_pairs=draws.ids(scores.cell_query, cell, len(pairs)),
            ids_of_languages=ids_of_languages,
        )

    def figures(
        self, languages: Sequence[str] | None = None, names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Dotted name -> figure over all draws [B]; figures without a value are left out.

        `languages` restricts the queries to those languages, `names` chooses figures.
        """
        included = self.languages if languages is None else languages
        chosen = np.array([name in included for name in self.languages])
        figures = {
            name: _mean(values[:, kept])
            for name, values, kept in self._cells(chosen)
            if names is None or name in names
        }
        return {name: values for name, values in figures.items() if not np.isnan(values[0])}

    def _cells(self, chosen: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Figures, the values [B, cells] that they come from, and which cells they average."""
        same = self.pairs[:, 0] == self.pairs[:, 1]
        among = chosen[self.pairs[:, 0]]
        for name, values in self.by_pair.items():
            yield f"{name}.monolingual", values, same & among
            yield f"{name}.cross_lingual", values, ~same & among
            yield f"{name}.multilingual", self.by_language[f"{name}.multilingual"], chosen
        metrics = {f"{name}.multilingual" for name in self.by_pair}
        for name, values in self.by_language.items():
            if name not in metrics:
                yield name, values, chosen


def _mean(values: np.ndarray) -> np.ndarray:
    """[B]: the mean over the cells of each draw, without those that the draw leaves empty."""
    known = ~np.isnan(values)
    return divide_or_nan(np.where(known, values, 0.0).sum(1), known.sum(1))


def interval(draws: np.ndarray) -> list[float]:
    """[low, high]: the central LEVEL percent of a figure's draws [B], without the sample itself."""
    edge = (100 - LEVEL) / 2
    return [float(v) for v in np.nanpercentile(draws[1:], [edge, 100 - edge])]


def p_values(differences: np.ndarray, ids: np.ndarray | int) -> np.ndarray:
    """[...]: two-sided p-values of differences over draws [B, ...], of `ids` query ids each; NaN
    for fewer than MIN_IDS.

    The share of draws, shifted to mean 0, with a difference at least as large.
    """
    value, resampled = differences[0], differences[1:]
    as_large = np.sum(np.abs(resampled - value) >= np.abs(value), axis=0)
    p = (1 + as_large) / (1 + np.sum(~np.isnan(resampled), axis=0))
    return np.where(np.asarray(ids) < MIN_IDS, np.nan, p)


@dataclass(frozen=True)
class Difference:
    """One run's figure minus another's, with its interval and p-value."""

    value: float
    low: float
    high: float
    p: float
    """NaN if there are too few query ids for a test."""

    @classmethod
    def of(cls, ours: np.ndarray, theirs: np.ndarray, ids: int) -> "Difference":
        """Of figures over draws [B] of `ids` query ids."""
        difference = ours - theirs
        low, high = interval(difference)
        return cls(float(difference[0]), low, high, float(p_values(difference, ids)))
