"""How sure a figure is: the same figure over queries drawn again, with replacement.

What is drawn is a query id with its queries in all languages, since parallel queries are
not independent. The draws depend on the ids alone, so that two runs on the same queries are drawn
alike and their difference can be taken draw by draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.per_query import PerQuery

RESAMPLES = 1000
SEED = 1
LEVEL = 95
"""Percent of the draws that an interval holds."""
INTERVAL_METHOD = f"{LEVEL}%, from {RESAMPLES:,} draws of query ids with replacement"
AT_ONCE = 1 << 24
"""Weights of ids in draws that are turned into floats at once (128 MiB)."""


@dataclass(frozen=True)
class Draws:
    """How often each id is in each draw. The first draw is the sample itself."""

    cluster: np.ndarray
    """Of each query: its id's number."""
    weights: np.ndarray
    """[1 + RESAMPLES, ids]"""

    @classmethod
    def of(cls, ids: np.ndarray) -> "Draws":
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
        """[values, draws, cells]: means over the queries of a cell; NaN in an empty one.

        Values stand in cells and are queries'; all `values` stand in the same.
        """
        ids = self.weights.shape[1]
        place = self.cluster[query] * cells + cell
        tables = [np.bincount(place, minlength=ids * cells)]
        tables += [np.bincount(place, weights=_addable(v), minlength=ids * cells) for v in values]
        table = np.stack([one.reshape(ids, cells) for one in tables], axis=1).astype(float)
        sums = np.empty((len(self.weights), 1 + len(values), cells))
        step = max(1, AT_ONCE // ids)
        for low in range(0, len(sums), step):
            some = self.weights[low : low + step].astype(float)
            sums[low : low + step] = (some @ table.reshape(ids, -1)).reshape(-1, *sums.shape[1:])
        found = np.full((len(self.weights), len(values), cells), np.nan)
        sizes = np.broadcast_to(sums[:, :1], found.shape)
        np.divide(sums[:, 1:], sizes, out=found, where=sizes > 0)
        return found.transpose(1, 0, 2)


def _addable(values: np.ndarray) -> np.ndarray:
    """Values rounded to a grid on which float64 adds them exactly, whatever the order.

    So a figure has the same bits with any number of threads. What is lost is below 1e-9 of the
    largest value; there is room for draws four times as large as the sample.
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
    """Figures of an evaluation over all draws."""

    languages: tuple[str, ...]
    pairs: np.ndarray
    """[pairs, 2]: query language and pool language of the language pairs that there are."""
    by_pair: Mapping[str, np.ndarray]
    """Of each metric, [draws, pairs]."""
    by_language: Mapping[str, np.ndarray]
    """Of each pooled figure, [draws, languages]."""

    @classmethod
    def of(cls, found: PerQuery, draws: Draws | None = None) -> "Resampled":
        draws = Draws.of(found.ids) if draws is None else draws
        count = len(found.languages)
        asked = found.language[found.cell_query]
        pairs, cell = np.unique(asked * count + found.cell_pool, return_inverse=True)
        by_pair = draws.means(
            found.cell_query, cell, len(pairs), [found.by_pool[name] for name in found.by_pool]
        )
        by_language = {}
        for name, values in found.pooled.items():
            known = np.flatnonzero(~np.isnan(values))
            (by_language[name],) = draws.means(known, found.language[known], count, [values[known]])
        return cls(
            languages=found.languages,
            pairs=np.stack([pairs // count, pairs % count], axis=1),
            by_pair=dict(zip(found.by_pool, by_pair, strict=True)),
            by_language=by_language,
        )

    def figures(self, languages: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Figures by their dotted names, each over all draws; those without a value are left out.

        With `languages`, over the queries in these alone.
        """
        asked = self.languages if languages is None else languages
        chosen = np.array([name in asked for name in self.languages])
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
    """The mean over cells of every draw, without those that a draw leaves empty."""
    known = ~np.isnan(values)
    found = np.full(len(values), np.nan)
    np.divide(np.where(known, values, 0.0).sum(1), known.sum(1), out=found, where=known.any(1))
    return found


def interval(draws: np.ndarray) -> list[float]:
    """[low, high]: the middle LEVEL percent of the draws of a figure, the sample left out."""
    edge = (100 - LEVEL) / 2
    return [float(v) for v in np.nanpercentile(draws[1:], [edge, 100 - edge])]


@dataclass(frozen=True)
class Difference:
    """How much one run's figure is above another's."""

    value: float
    low: float
    high: float
    p: float
    """How often chance alone gives a difference as large: the draws, moved to be 0 on average."""

    @classmethod
    def of(cls, ours: np.ndarray, theirs: np.ndarray) -> "Difference":
        difference = ours - theirs
        low, high = interval(difference)
        value, drawn = float(difference[0]), difference[1:]
        drawn = drawn[~np.isnan(drawn)]
        as_large = int(np.sum(np.abs(drawn - value) >= abs(value)))
        return cls(value, low, high, (1 + as_large) / (1 + len(drawn)))
