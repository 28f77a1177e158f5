"""Checks that a store's index fits its texts, so that no lookup is out of bounds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_dist.data.store.columns import TextColumn
from hybrid_dist.data.store.format import ARRAY_NAMES, NEGATIVE_SCORES
from hybrid_dist.data.store.index import Index
from hybrid_dist.data.store.teacher_vectors import TeacherVectors
from hybrid_dist.data.store.token_cache import TokenCache


def check(
    index: Index,
    columns: Mapping[str, TextColumn],
    tokens: TokenCache | None,
    scores: Mapping[str, np.ndarray],
    teacher: TeacherVectors | None,
    manifest: Mapping[str, Any],
) -> None:
    """Raise a ValueError that says what does not fit, if anything."""
    counts, passages = manifest["languages"], len(columns["passages"])
    for name, column in columns.items():
        try:
            column.check()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    _sizes(index, {name: len(column) for name, column in columns.items()})
    _starts("language_starts", index.language_starts, index.num_rows)
    _starts("uid_starts", index.uid_starts, index.num_rows)
    _starts("negative_starts", index.negative_starts, len(index.negatives))
    _within("row_uid", index.row_uid, index.num_uids)
    _within("uid_rows", index.uid_rows, index.num_rows)
    _within("uid_passage_cluster", index.uid_passage_cluster, index.num_uids)
    _within("uid_query_cluster", index.uid_query_cluster, index.num_uids)
    _within("passage_of", index.passage_of, passages)
    _within("negatives", index.negatives, passages)
    _within("passage_cluster", index.passage_cluster, index.num_uids + passages)
    ascending = index.row_uid[1:] > index.row_uid[:-1]
    ascending[index.language_starts[1:-1] - 1] = True  # a language begins
    _hold(bool(ascending.all()), "row_uid: is not sorted in every language")
    pairs = [counts[language]["pairs"] for language in index.languages]
    recorded = sum(counts[language]["passages"] for language in index.languages)
    _hold(index.language_sizes().tolist() == pairs, "its counts of pairs are not its languages'")
    _hold(recorded == passages, "its counts of passages are not its languages'")
    if tokens is not None:
        texts = {"query": index.num_rows, "passage": passages}
        _tokens(tokens, manifest["tokens"], texts)
    for name, values in scores.items():
        size = len(index.negatives) if name == NEGATIVE_SCORES else index.num_rows
        _hold(values.shape == (size,), f"{name}: has other than {size:,} numbers")
        _hold(values.dtype == np.float32 and bool(np.isfinite(values).all()), f"{name}: no scores")
    if teacher is not None:
        sides = (
            ("queries", teacher.queries, index.num_rows),
            ("passages", teacher.passages, passages),
        )
        for name, vectors, size in sides:
            _hold(len(vectors) == size, f"teacher_{name}: is of other texts")
            _hold(vectors.dtype == np.float16, f"teacher_{name}: is not in float16")


def _sizes(index: Index, texts: Mapping[str, int]) -> None:
    rows, uids, passages = texts["queries"], texts["uids"], texts["passages"]
    expected = {
        **dict.fromkeys(("row_uid", "uid_rows", "query_length", "passage_of"), rows),
        **dict.fromkeys(("uid_passage_cluster", "uid_query_cluster"), uids),
        **dict.fromkeys(("passage_length", "passage_cluster"), passages),
        "language_starts": len(index.languages) + 1,
        "uid_starts": uids + 1,
        "negative_starts": rows + 1,
    }
    for name, size in expected.items():
        file = ARRAY_NAMES.get(name, name)
        _hold(getattr(index, name).shape == (size,), f"{file}: has other than {size:,} numbers")
    _hold(index.negatives.ndim == 1, "negatives: is no list of numbers")


def _starts(name: str, starts: np.ndarray, end: int) -> None:
    right = len(starts) > 0 and starts[0] == 0 and starts[-1] == end
    _hold(right and bool((starts[1:] >= starts[:-1]).all()), f"{name}: does not divide {end:,}")


def _within(name: str, numbers: np.ndarray, end: int) -> None:
    if len(numbers):
        low, high = int(numbers.min()), int(numbers.max())
        _hold(low >= 0 and high < end, f"{name}: has numbers outside of 0 to {end:,}")


def _tokens(tokens: TokenCache, description: Mapping[str, Any], texts: Mapping[str, int]) -> None:
    ids = [
        description["longest"],
        description["passage_prefix_length"],
        *description["before"],
        *description["after"],
    ]
    _hold(all(type(number) is int for number in ids), "tokens: are not described by numbers")
    for kind, (flat, starts) in tokens.kinds.items():
        _hold(starts.shape == (texts[kind] + 1,), f"{kind}_token_starts: is of other texts")
        _starts(f"{kind}_token_starts", starts, len(flat))


def _hold(right: bool, problem: str) -> None:
    if not right:
        raise ValueError(problem)
