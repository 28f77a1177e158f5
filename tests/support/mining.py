"""Mining on toy data, with its definition in float64 over whole matrices of scores."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.data.store.reader import Store
from hybrid_dist.model.embedder import TextEmbedder

TIED = 2e-6
"""Scores that differ by less may be in either order."""
Mined = list[list[tuple[str, float]]]
"""Texts and scores of the negatives of each row."""


def mined(store: Store) -> Mined:
    """What a mined store holds."""
    starts, scores = store.index.negative_starts.tolist(), store.scores["negative_scores"]
    texts = store.passage_texts(np.array(store.index.negatives))
    listed = list(zip(texts, scores.tolist(), strict=True))
    return [listed[low:high] for low, high in pairwise(starts)]


def languages_of_passages(store: Store) -> list[str]:
    counts = [store.manifest["languages"][name]["passages"] for name in store.index.languages]
    return np.repeat(store.index.languages, counts).tolist()


def positives_of(store: Store) -> list[set[str]]:
    """The texts of each row's positives: of all rows with its query or uid, and those that share
    a text or uid with these."""
    rows = np.arange(store.index.num_rows)
    queries, passages, uids = store.queries(rows), store.passages(rows), store.uids(rows)
    texts_of: dict[str, set[str]] = {}
    uids_of: dict[str, set[str]] = {}
    for uid, passage in zip(uids, passages, strict=True):
        texts_of.setdefault(uid, set()).add(passage)
        uids_of.setdefault(passage, set()).add(uid)
    same_query: dict[str, set[str]] = {}
    queries_of: dict[str, set[str]] = {}
    for uid, query in zip(uids, queries, strict=True):
        same_query.setdefault(query, set()).add(uid)
        queries_of.setdefault(uid, set()).add(query)

    def closed(found: set[str], first: dict[str, set[str]], back: dict[str, set[str]]) -> set[str]:
        """All uids that are connected to some by shared texts."""
        left = list(found)
        while left:
            for text in first[left.pop()]:
                more = back[text] - found
                found |= more
                left += more
        return found

    known: dict[str, set[str]] = {}
    for uid in set(uids):
        alike = closed({uid}, queries_of, same_query)
        answers = closed(alike, texts_of, uids_of)
        known[uid] = {text for other in answers for text in texts_of[other]}
    return [known[uid] for uid in uids]


def by_definition(
    store: Store,
    model: Path,
    first: int,
    last: int,
    number: int,
    *,
    pool: Sequence[str] = (),
    relative: float = 0.0,
    absolute: float = 0.0,
) -> Mined:
    """The best negatives of each row; `pool`: languages, its own by default."""
    embedder = TextEmbedder.load(model, "cpu")
    rows, passages = np.arange(store.index.num_rows), np.arange(len(store.passage_column))
    texts, languages = store.passage_texts(passages), languages_of_passages(store)
    queries = embedder.encode_queries(store.queries(rows)).astype(float)
    scores = queries @ embedder.encode_passages(texts).astype(float).T
    result = []
    for row, known in enumerate(positives_of(store)):
        own = [store.index.languages[int(store.index.language_of(np.array([row]))[0])]]
        positive = scores[row, store.index.passage_of[row]]
        ranked = [
            passage
            for passage in np.argsort(-scores[row], kind="stable")
            if languages[passage] in (pool or own) and texts[passage] not in known
        ]
        kept = [
            passage
            for passage in ranked[first - 1 : last]
            if (not relative or scores[row, passage] <= positive - (1 - relative) * abs(positive))
            and (not absolute or scores[row, passage] <= positive - absolute)
        ]
        result.append([(texts[passage], scores[row, passage]) for passage in kept[:number]])
    return result


def contents(store: Path) -> dict[str, str]:
    """The hash of every file of a store."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in store.iterdir()}


def same_up_to_ties(ours: dict[str, float], theirs: dict[str, float]) -> None:
    """Equal scores, and equal texts but for those that tie with the first or the last."""
    scores = sorted(theirs.values())
    assert sorted(ours.values()) == pytest.approx(scores, abs=TIED)
    for text in ours.keys() ^ theirs.keys():
        score = ours.get(text, theirs.get(text, 9.0))
        assert min(abs(score - scores[0]), abs(score - scores[-1])) < TIED, (text, score, scores)
    for text in ours.keys() & theirs.keys():
        assert ours[text] == pytest.approx(theirs[text], abs=TIED)
