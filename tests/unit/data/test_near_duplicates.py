"""Near duplicates: MinHash beside the exact similarity of all pairs."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from hybrid_dist.data.near_duplicates import (
    MINIMA,
    band_minima,
    band_shape,
    jaccard,
    minhashes,
    near_duplicates,
)
from hybrid_dist.data.ngrams import normalized_text
from hybrid_dist.data.reading import PAIRS
from hybrid_dist.data.store.reader import Store

WORDS = ("mill", "rye", "corn", "ada", "wrote", "grinds", "field", "stone", "river", "bread")


def store_of(texts: Sequence[tuple[str, str]], language: str = "en") -> Store:
    columns = {
        "uid": [f"{n:04}" for n in range(len(texts))],
        "lang": [language] * len(texts),
        "query": [query for query, _ in texts],
        "passage": [passage for _, passage in texts],
        "negatives": [[]] * len(texts),
        "place": range(len(texts)),
    }
    return Store.build([pa.RecordBatch.from_pydict(columns, PAIRS)])


def found(store: Store, threshold: float, order: np.ndarray | None = None) -> dict[int, int]:
    rows = range(store.index.num_rows)
    order = np.arange(len(rows)) if order is None else order
    return {one.row: one.of for one in near_duplicates(store, rows, order, threshold)}


def texts_with_repeats(random: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Texts, of which every second one is an earlier one with some words replaced."""

    def word() -> str:
        return f"{random.choice(WORDS)}{random.integers(1000)}"

    texts: list[tuple[list[str], list[str]]] = []
    for number in range(count):
        query, passage = [word() for _ in range(10)], [word() for _ in range(30)]
        if number % 2:
            query, passage = map(list, texts[random.integers(len(texts))])
            for words in (passage, query)[: 1 + number % 4 // 2]:
                for at in random.integers(len(words), size=random.integers(0, 4)):
                    words[at] = word()
        texts.append((query, passage))
    return [(" ".join(query), " ".join(passage)) for query, passage in texts]


@cache
def compared() -> tuple[list[tuple[str, str]], np.ndarray]:
    """Texts, and the similarity of each two pairs."""
    texts = texts_with_repeats(np.random.default_rng(3), 160)
    grams = [[{text[n : n + 4] for n in range(len(text) - 3)} for text in pair] for pair in texts]
    similar = np.array(
        [
            [min(len(a & b) / len(a | b) for a, b in zip(*two, strict=True)) for two in both]
            for both in ([(one, other) for other in grams] for one in grams)
        ]
    )
    return texts, similar


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_what_is_found_is_what_comparing_all_pairs_finds(threshold: float) -> None:
    """All of what is left out is a near duplicate, and at most one in fifty is missed."""
    texts, similar = compared()
    order = np.random.default_rng(4).permutation(len(texts))
    ours = found(store_of(texts), threshold, order)
    expected: set[int] = set()
    for place, row in enumerate(order.tolist()):
        stay = [one for one in order[:place].tolist() if one not in expected]
        if stay and similar[row, stay].max() >= threshold:
            expected.add(row)
    assert all(similar[row, of] >= threshold and of not in ours for row, of in ours.items())
    assert len(expected) > 15
    assert len(ours.keys() & expected) >= 0.98 * len(expected)
    assert len(ours.keys() - expected) <= 0.02 * len(expected)


def test_as_many_minima_are_equal_as_ngrams() -> None:
    texts = [one for pair in texts_with_repeats(np.random.default_rng(5), 200) for one in pair]
    hashes = minhashes(texts, 4)
    errors = [
        (hashes[n] == hashes[m]).mean() - jaccard(texts[n], texts[m], 4)
        for n, m in pairwise(range(0, len(texts), 2))
    ]
    errors += [
        (minhashes([text, text[:cut]], 4)[0] == minhashes([text[:cut]], 4)[0]).mean()
        - jaccard(text, text[:cut], 4)
        for text in texts[:40]
        for cut in (40, 50)
    ]
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.5 / MINIMA**0.5


def test_both_texts_count() -> None:
    query, passage = "who grinds the rye of the mill?", "The miller of the old mill grinds the rye."
    store = store_of(
        [
            (query, passage),
            (query.upper(), f"{passage}  "),
            (query, "Ada wrote a program for an engine that was never built."),
            ("when was it that ada wrote a program?", passage),
        ]
    )
    assert found(store, 0.9) == {1: 0}
    assert found(store, 0.9, np.array([3, 2, 1, 0])) == {0: 1}


def test_short_texts_and_other_scripts_are_compared() -> None:
    assert found(store_of([("a", "b"), ("a", "c"), ("A", "b")]), 0.5) == {2: 0}
    chinese = [("什么地方有磨坊？", "河边有一座磨坊。"), ("什么地方有磨坊", "河边有一座磨坊")]
    assert found(store_of(chinese, "zh"), 0.8) == {1: 0}
    assert found(store_of([chinese[0], ("谁写了程序？", chinese[0][1])], "zh"), 0.8) == {}


def test_an_ngram_lies_in_one_text() -> None:
    texts = ["mill", "a mill grinds rye", "x", "rye"]
    together = minhashes(texts, 4)
    for number, text in enumerate(texts):
        assert np.array_equal(together[number], minhashes([text], 4)[0])


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_bands_miss_few_at_the_threshold(threshold: float) -> None:
    assert band_shape(threshold)[0] <= 64
    random = np.random.default_rng(1)
    queries, passages = random.random((2, 40_000, MINIMA)) < threshold  # which minima are equal
    equal = np.zeros(len(queries), bool)
    for of_query, of_passage in band_minima(threshold):
        equal |= queries[:, of_query].all(axis=1) & passages[:, of_passage].all(axis=1)
    assert np.mean(~equal) <= 0.005


def test_normalization_ignores_case_and_spaces() -> None:
    assert normalized_text(" Die\u00a0STRASSE\n") == normalized_text("die straße")
