"""The passages that a language's queries are ranked against, and the texts of a store to embed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.text_views import StoredTexts
from hybrid_dist.errors import UserError, nearest
from hybrid_dist.mining.rules import Rules

OWN, ALL = "own", "all"


@dataclass(frozen=True)
class StoreTexts:
    """The texts of a store as the vector cache takes them."""

    name: str
    query_texts: Sequence[str]
    passage_texts: Sequence[str]

    @classmethod
    def of(cls, store: Store) -> "StoreTexts":
        columns = store.query_column, store.passage_column
        return cls(store.folder.name, *map(StoredTexts, columns))


@dataclass(frozen=True)
class Pool:
    """Passages of one or more languages."""

    languages: tuple[str, ...]
    numbers: np.ndarray
    """Passage numbers, ascending."""


def pools_of(store: Store, wanted: Sequence[str]) -> list[Pool]:
    """The pool of the queries of each language of the store.

    `wanted`: OWN, ALL, or names of languages.
    """
    languages = store.index.languages
    if tuple(wanted) == (OWN,):
        return [_pool(store, [language]) for language in languages]
    if tuple(wanted) == (ALL,):
        return [_pool(store, languages)] * len(languages)
    if not wanted:
        raise UserError(f"--pool: names nothing; give {OWN}, {ALL} or languages")
    for name in wanted:
        if name in (OWN, ALL):
            raise UserError(f"--pool: {name} stands alone; leave the languages out, or {name}")
        if name not in languages:
            raise UserError(
                f"--pool {name}: {store.folder} has no such language{nearest(name, languages)}; it "
                f"has {', '.join(languages)}"
            )
    return [_pool(store, sorted({*wanted}))] * len(languages)


def _pool(store: Store, languages: Sequence[str]) -> Pool:
    counts = [store.manifest["languages"][name]["passages"] for name in store.index.languages]
    ends = dict(zip(store.index.languages, np.cumsum(counts).tolist(), strict=True))
    starts = dict(zip(store.index.languages, [0, *ends.values()], strict=False))
    ranges = [np.arange(starts[name], ends[name]) for name in languages]
    return Pool(tuple(languages), np.concatenate(ranges))


def check_pools(store: Store, pools: Sequence[Pool], rules: Rules) -> list[str]:
    """Refuse a window that no pool can fill; returns a note on each that is smaller than it."""
    languages = store.index.languages
    holds_own = [name in pool.languages for name, pool in zip(languages, pools, strict=True)]
    sizes = [len(pool.numbers) - own for pool, own in zip(pools, holds_own, strict=True)]
    beside = [" beside the query's own" if own else "" for own in holds_own]
    largest = max(sizes)
    if rules.last > largest:
        at = sizes.index(largest)
        which = ", ".join(pools[at].languages[:5])
        raise UserError(
            f"--to {rules.last}: the window is larger than the pool, which has {largest:,} "
            f"passages ({which}){beside[at]}; give --to {largest} or less, or a larger --pool"
        )
    return [
        f"{language}: its pool has {size:,} passages{own}, fewer than --to {rules.last}"
        for language, size, own in zip(languages, sizes, beside, strict=True)
        if size < rules.last
    ]
