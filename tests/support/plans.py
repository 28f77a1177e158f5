"""Corpora and plans over them, and the chi-square test of counts."""

import numpy as np

from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.index import Index
from tests.support.pair_rows import store_of


def corpus(present: dict[str, list[int]], passages: int = 10**9, queries: int = 10**9) -> Index:
    """An index of the uids that each language has; uids equal modulo a number share a text."""
    rows = [
        (lang, f"{uid:05d}", f"q {lang} {uid % queries}", f"p {lang} {uid % passages}")
        for lang in sorted(present)
        for uid in sorted(present[lang])
    ]
    return store_of(rows).index


def batching(mix: Mix, size: int, temperature: float = 0.0) -> Batching:
    return Batching(mix=mix, size=size, language_alpha=temperature)


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    expected = counts.sum() * shares / shares.sum()
    return float(((counts - expected) ** 2 / expected).sum())


# The statistic's 99.9% quantiles by degrees of freedom, from a table
QUANTILE = {1: 10.83, 2: 13.82, 3: 16.27, 5: 20.52, 11: 31.26, 15: 37.70}
