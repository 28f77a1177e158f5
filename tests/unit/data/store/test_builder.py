"""Scores of pairs stay with their rows and negatives, however a store is put together."""

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.collecting import Pair, ScoredPair, blocks
from hybrid_dist.data.store.reader import Store


def scored(count: int) -> Iterator[ScoredPair]:
    """Pairs in no order, with shared passages; each score is a number of its own."""
    rng = random.Random(0)
    numbers = rng.sample(range(count), count)
    for number in numbers:
        negatives = [f"passage {rng.randrange(count)}" for _ in range(rng.randrange(4))]
        scores = [number + place / 8 for place in range(len(negatives))]
        lang, passage = rng.choice(["de", "en", "ru"]), f"passage {rng.randrange(count // 3)}"
        pair = Pair(f"u{number}", lang, f"query {number}", passage, negatives, number)
        yield ScoredPair(*pair, -float(number), scores)


@pytest.mark.parametrize(("part", "passes"), [(128 << 20, 8), (20_000, 8), (20_000, 2)])
def test_scores_stay_with_their_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int, passes: int
) -> None:
    monkeypatch.setattr("hybrid_dist.data.store.builder.PART", part)
    monkeypatch.setattr("hybrid_dist.data.store.builder.PASSES", passes)
    reading = Reading()
    reading.place(Path("x"), 0)
    expected = {pair.uid: pair for pair in scored(5000)}
    Store.build(blocks(scored(5000)), tmp_path / "store", reading=reading)
    store = Store(tmp_path / "store", check="now")
    rows = np.arange(store.index.num_rows)
    texts = store.passage_texts(np.asarray(store.index.negatives))
    wrong = store.scores["negative_scores"].tolist()
    bounds = pairwise(store.index.negative_starts.tolist())
    for uid, score, (low, high) in zip(
        store.uids(rows), store.scores["positive_scores"].tolist(), bounds, strict=True
    ):
        pair = expected.pop(uid)
        assert (pair.positive_score, pair.negatives) == (score, texts[low:high])
        assert pair.negative_scores == wrong[low:high]
    assert not expected


def test_pairs_without_scores_have_no_files_of_them(tmp_path: Path) -> None:
    reading = Reading()
    reading.place(Path("x"), 0)
    Store.build(blocks([Pair("u", "en", "q", "p", ["n"], 1)]), tmp_path / "store", reading=reading)
    assert Store(tmp_path / "store").scores == {}
    assert not list((tmp_path / "store").glob("*scores*"))
