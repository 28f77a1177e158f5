"""Pools of passages by language, and windows that do not fit."""

import re

import numpy as np
import pytest

from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from hybrid_dist.mining.pools import StoreTexts, check_pools, pools_of
from hybrid_dist.mining.rules import Rules
from tests.support.pair_rows import store_of

SIZES = {"de": 5, "en": 9, "sw": 3}


@pytest.fixture(scope="module")
def store() -> Store:
    rows = [
        (lang, f"{n}", f"{lang} {n}?", f"{lang} {n}.")
        for lang, size in SIZES.items()
        for n in range(size)
    ]
    return store_of(rows)


def test_pools_hold_the_passages_of_their_languages(store: Store) -> None:
    texts = store.passage_texts(np.arange(len(store.passage_column)))
    for wanted, languages in {
        ("own",): [["de"], ["en"], ["sw"]],
        ("all",): [["de", "en", "sw"]] * 3,
        ("sw", "de"): [["de", "sw"]] * 3,
    }.items():
        pools = pools_of(store, wanted)
        for pool, names in zip(pools, languages, strict=True):
            assert pool.languages == tuple(names)
            found = [texts[number] for number in pool.numbers]
            assert found == [text for text in texts if text[:2] in names]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("fr",), "--pool fr: "),
        (("en", "own"), "--pool: own stands alone"),
        (("all", "en"), "--pool: all stands alone"),
        ((), "--pool: names nothing"),
        (("eng",), "has no such language; did you mean 'en'?; it has de, en, sw"),
    ],
)
def test_pools_that_there_are_not_are_refused(
    store: Store, wanted: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        pools_of(store, wanted)


def test_a_window_beyond_every_pool_is_refused_and_one_beyond_some_noted(store: Store) -> None:
    own = pools_of(store, ("own",))
    with pytest.raises(UserError, match=r"--to 9: .* has 8 passages \(en\).*give --to 8 or less"):
        check_pools(store, own, Rules(1, 9))
    notes = check_pools(store, own, Rules(1, 8))
    assert [note[:2] for note in notes] == ["de", "sw"]
    assert check_pools(store, pools_of(store, ("all",)), Rules(1, 16)) == []


def test_a_pool_of_other_languages_has_no_passage_of_the_query_s_own(store: Store) -> None:
    english = pools_of(store, ("en",))
    with pytest.raises(UserError, match=r"--to 10: .* has 9 passages \(en\); give --to 9 or less"):
        check_pools(store, english, Rules(1, 10))
    assert check_pools(store, english, Rules(1, 9)) == [
        "en: its pool has 8 passages beside the query's own, fewer than --to 9"
    ]
    assert check_pools(store, pools_of(store, ("de", "sw")), Rules(1, 8)) == [
        "de: its pool has 7 passages beside the query's own, fewer than --to 8",
        "sw: its pool has 7 passages beside the query's own, fewer than --to 8",
    ]


def test_texts_to_embed_are_the_columns_of_the_store(store: Store) -> None:
    texts = StoreTexts.of(store)
    rows = np.arange(store.index.num_rows)
    assert list(texts.query_texts) == store.queries(rows) == texts.query_texts[:]
    assert texts.passage_texts[2:5] == store.passage_texts(np.arange(2, 5))
    assert texts.passage_texts[3] == texts.passage_texts[3:4][0]
    assert len(texts.query_texts) == len(rows)
