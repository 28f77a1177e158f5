"""Setting pairs aside before training: some to choose a checkpoint by, others to evaluate on.

A text is on one side only: uids that share a passage or a query, in any language, stay together.
What is set aside depends on the pairs alone.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hybrid_dist.data.hashing import hash_texts
from hybrid_dist.data.store.index import Index
from hybrid_dist.data.store.numbering import components, first_occurrences
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError

FEWEST_PAIRS = 50
SHARE = 10
"""One in so many pairs is set aside, of each language and of those with translations."""
MOST = 3000
"""Pairs that are set aside, about, shared equally among languages."""
FEWEST_OF_A_LANGUAGE = 30
"""The most of a language that are set aside however many languages there are."""
DEV_EACH = 3
"""One in so many of the pairs that are set aside is for the loss."""
FEWEST_DEV = 8
"""Pairs of a language, and translated uids, that a loss needs: each of them fills a batch."""
FEWEST_TRANSLATED = 16
"""Uids with translations from which there are cross-lingual batches."""


@dataclass(frozen=True)
class HeldOut:
    """Ascending rows of a store."""

    train: np.ndarray
    dev: np.ndarray
    """For the loss; empty if there are too few."""
    heldout: np.ndarray
    """To evaluate on."""
    shares_texts: bool
    """Whether all uids are linked by texts that they share, so that texts are on both sides."""


def hold_out(store: Store) -> HeldOut:
    """Set pairs of every language aside, and of those with translations."""
    index = store.index
    if index.num_rows < FEWEST_PAIRS:
        raise UserError(
            f"{index.num_rows} pairs are too few to set some aside; give {FEWEST_PAIRS} or more"
        )
    hashes = np.concatenate([hash_texts(uids) for uids in store.columns["uids"].arrays()])
    order = np.argsort(hashes, kind="stable")
    groups = _groups(index)
    held = _held(index, groups, order)
    shares_texts = not held.any()
    if shares_texts:
        groups = np.arange(index.num_uids)
        held = _held(index, groups, order)
    dev = _dev(index, groups, order, held)
    row_held, row_dev = held[index.row_uid], dev[index.row_uid]
    return HeldOut(
        train=np.flatnonzero(~row_held),
        dev=np.flatnonzero(row_dev),
        heldout=np.flatnonzero(row_held & ~row_dev),
        shares_texts=shares_texts,
    )


def _groups(index: Index) -> np.ndarray:
    """The group of each uid [uids]: uids that share texts, by way of any number of others."""
    uids = np.arange(index.num_uids)
    linked = np.concatenate([index.uid_passage_cluster, index.uid_query_cluster])
    return components(np.concatenate([uids, uids]), linked, index.num_uids)


def _strata(index: Index) -> list[np.ndarray]:
    """The uids of each language, the smallest first, and those with translations."""
    languages = [index.row_uid[first:last] for first, last in pairwise(index.language_starts)]
    return sorted([*languages, index.parallel_uids], key=len)


def _held(index: Index, groups: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Which uids are set aside [uids]. `order`: the order in which they are considered."""
    most = max(MOST // len(index.languages), FEWEST_OF_A_LANGUAGE)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    held = np.zeros(index.num_uids, bool)
    for uids in _strata(index):
        quota = min(len(uids) // SHARE, most)
        wanted = quota - int(held[uids].sum())
        if wanted <= 0:
            continue
        uids = uids[np.argsort(place[uids])]
        group = groups[uids]
        sizes = np.bincount(group, minlength=index.num_uids)
        small = sizes[group] <= max(1, quota // 5)  # no group takes up a quota
        uids, group = uids[small & ~held[uids]], group[small & ~held[uids]]
        first, _ = first_occurrences(group)
        taken = np.cumsum(sizes[group[first]]) <= wanted
        chosen = np.zeros(index.num_uids, bool)
        chosen[group[first[taken]]] = True
        held |= chosen[groups]
    return held


def _dev(index: Index, groups: np.ndarray, order: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Which of the held-out uids the loss is measured on [uids]; none if that were too few.

    Languages with few held-out pairs are left to the evaluation, since a batch of the loss is no
    larger than the smallest language, or than the uids with translations.
    """
    counts = np.bincount(index.row_language[held[index.row_uid]], minlength=len(index.languages))
    rare = counts < max(DEV_EACH * FEWEST_DEV, int(counts.max()) // 4)
    barred = np.zeros(index.num_uids, bool)
    barred[groups[index.row_uid[rare[index.row_language]]]] = True
    candidates = groups[order[held[order] & ~barred[groups[order]]]]
    first, _ = first_occurrences(candidates)
    chosen = np.zeros(index.num_uids, bool)
    chosen[candidates[first[::DEV_EACH]]] = True
    dev = chosen[groups]
    translated = int(dev[index.parallel_uids].sum())
    is_enough = translated >= FEWEST_DEV or len(index.parallel_uids) < FEWEST_TRANSLATED
    return dev if is_enough else np.zeros_like(dev)
