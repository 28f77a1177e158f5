"""Differences between two runs by language, by language pair and by query."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.bootstrap import Resampled, p_values
from hybrid_dist.evaluation.metrics import means
from hybrid_dist.evaluation.per_query import PerQuery
from hybrid_dist.reporting.matrix import BETTER, OPEN, WORSE

SIGNIFICANCE = 0.05
"""Differences with a smaller p-value are called better or worse."""
MAP, POOLED, DISTANCE = "map", "map.multilingual", "bias.rank_distance.mean"


@dataclass(frozen=True)
class Tested:
    """Differences with a paired test each."""

    values: np.ndarray
    """NaN where either run has no figure."""
    marks: np.ndarray
    """Of each: BETTER, WORSE or OPEN, also without a test."""

    @classmethod
    def of(
        cls,
        ours: np.ndarray,
        theirs: np.ndarray,
        ids: np.ndarray,
        lower_is_better: bool = False,
    ) -> "Tested":
        """From figures over draws [B, ...] of `ids` [...] query ids each."""
        differences = ours - theirs
        value, p = differences[0], p_values(differences, ids)
        good, bad = (WORSE, BETTER) if lower_is_better else (BETTER, WORSE)
        direction = np.where(value > 0, good, bad)
        return cls(value, np.where((p < SIGNIFICANCE) & (value != 0), direction, OPEN))


@dataclass(frozen=True)
class LanguageFigures:
    """The draws of one run that differences by language and by pair are computed from."""

    pairs: np.ndarray
    """[B, languages, languages]: mAP by query and pool language; NaN without queries."""
    pooled: np.ndarray
    """[B, languages]"""
    distance: np.ndarray
    """[B, languages]"""
    ids: tuple[np.ndarray, np.ndarray, np.ndarray]
    """The query ids that have each: [languages, languages], [languages], [languages]."""

    @classmethod
    def of(cls, resampled: Resampled) -> "LanguageFigures":
        count, draws = len(resampled.languages), len(resampled.by_pair[MAP])
        query, pool = resampled.pairs.T
        pairs = np.full((draws, count, count), np.nan, dtype=np.float32)
        pairs[:, query, pool] = resampled.by_pair[MAP]
        ids_of_pairs = np.zeros((count, count), dtype=np.int64)
        ids_of_pairs[query, pool] = resampled.ids_of_pairs
        nothing, none = np.full((draws, count), np.nan), np.zeros(count, dtype=np.int64)
        pooled, distance = (resampled.by_language.get(name, nothing) for name in (POOLED, DISTANCE))
        known = resampled.ids_of_languages
        ids = ids_of_pairs, known.get(POOLED, none), known.get(DISTANCE, none)
        return cls(pairs, pooled, distance, ids)


@dataclass(frozen=True)
class QueryChange:
    """A query whose average precision differs between two runs."""

    language: str
    id: str
    text: str
    """Empty in reports that did not keep texts."""
    before: float
    after: float


@dataclass(frozen=True)
class LanguageDifferences:
    """One run minus the first, by language."""

    languages: tuple[str, ...]
    pairs: Tested
    """mAP [languages, languages] by query and pool language."""
    pooled: Tested
    """mAP [languages] in the pool of all languages."""
    distance: Tested
    """Rank distance [languages]."""
    queries: list[QueryChange]
    """By language, the most improved ones and then the most degraded ones."""

    @classmethod
    def of(
        cls,
        ours: tuple[PerQuery, LanguageFigures],
        theirs: tuple[PerQuery, LanguageFigures],
        shown: int,
    ) -> "LanguageDifferences":
        """`shown`: improved queries, and degraded ones, of each language."""
        (scores, figures), (base, base_figures) = ours, theirs
        of_pairs, of_pooled, of_distance = figures.ids
        return cls(
            scores.languages,
            Tested.of(figures.pairs, base_figures.pairs, of_pairs),
            Tested.of(figures.pooled, base_figures.pooled, of_pooled),
            Tested.of(figures.distance, base_figures.distance, of_distance, lower_is_better=True),
            list(_changes(scores, base, shown)),
        )


def _changes(ours: PerQuery, theirs: PerQuery, shown: int) -> Iterator[QueryChange]:
    after, before = _precision(ours), _precision(theirs)
    change = after - before
    texts = ours.texts or theirs.texts
    for code, language in enumerate(ours.languages):
        queries = np.flatnonzero((ours.language == code) & (np.abs(change) > 0))
        order = queries[np.argsort(change[queries], kind="stable")]
        worse, better = order[change[order] < 0][:shown], order[change[order] > 0][::-1][:shown]
        for query in [*better.tolist(), *worse.tolist()]:
            text = texts[query] if len(texts) else ""
            yield QueryChange(
                language, str(ours.ids[query]), text, float(before[query]), float(after[query])
            )


def _precision(scores: PerQuery) -> np.ndarray:
    """[queries]: average precision in the pool of all languages, else the mean over pools."""
    pooled = scores.pooled[POOLED]
    if not np.isnan(pooled).all():
        return pooled
    return means(scores.cell_query, scores.by_pool[MAP], len(scores.ids))
