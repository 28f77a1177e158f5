"""Pairs that are set aside: how many, of which languages, and that no text is on both sides."""

from collections import Counter

import numpy as np
import pytest

from hybrid_dist.data.holding_out import FEWEST_DEV, MOST, HeldOut, hold_out
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from tests.support.pair_rows import Row, store_of


def parallel(uids: int, languages: str = "de en sw", per_passage: int = 1) -> list[Row]:
    """Pairs in all languages; so many uids in a row have the same passage."""
    return [
        (lang, f"u{n}", f"query {n} {lang}", f"passage {n // per_passage} {lang}")
        for n in range(uids)
        for lang in languages.split()
    ]


def counts(store: Store, rows: np.ndarray) -> Counter[str]:
    return Counter(store.index.languages[code] for code in store.index.language_of(rows))


def sides(held: HeldOut) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return held.train, held.dev, held.heldout


@pytest.mark.parametrize("per_passage", [1, 5])
def test_a_tenth_is_held_out_and_shares_no_text(per_passage: int) -> None:
    store = store_of(parallel(1000, per_passage=per_passage))
    held = hold_out(store)
    assert sorted(np.concatenate(sides(held)).tolist()) == list(range(3000))
    assert 2700 <= len(held.train) <= 2730
    assert 80 <= len(held.dev) <= 110 and 170 <= len(held.heldout) <= 220
    assert len(set(counts(store, held.train).values())) == 1, "translations stay together"
    for read in (store.queries, store.passages, store.uids):
        train, dev, heldout = (set(read(rows)) for rows in sides(held))
        assert not train & dev and not train & heldout and not dev & heldout
    again = hold_out(store)
    assert all((a == b).all() for a, b in zip(sides(held), sides(again), strict=True))
    assert not held.shares_texts


def test_no_more_is_held_out_of_large_data() -> None:
    store = store_of(parallel(20_000, "de en"))
    held = hold_out(store)
    assert 0.9 * MOST <= len(held.dev) + len(held.heldout) <= MOST


def test_languages_and_translations_are_held_out_in_proportion() -> None:
    rows = [*parallel(400, "de en")]
    rows += [("en", f"only {n}", f"only query {n}", f"only passage {n}") for n in range(2000)]
    rows += [("sw", f"rare {n}", f"rare query {n}", f"rare passage {n}") for n in range(60)]
    store = store_of(rows)
    held = hold_out(store)
    out = counts(store, np.concatenate([held.dev, held.heldout]))
    assert 40 <= out["de"] <= 60 and out["sw"] == 6 and 200 <= out["en"] <= 245
    assert counts(store, held.heldout)["sw"] == 6, "languages with few are for the report alone"


def test_pairs_that_are_all_linked_are_split_by_uid() -> None:
    rows = [("en", f"u{n}", f"query {n}", "the same passage") for n in range(300)]
    held = hold_out(store_of(rows))
    assert held.shares_texts and len(held.dev) + len(held.heldout) == 30


def test_few_pairs_give_no_loss_and_fewer_are_refused() -> None:
    held = hold_out(store_of(parallel(60, "en")))
    assert len(held.heldout) + len(held.dev) == 6 and len(held.dev) < FEWEST_DEV
    with pytest.raises(UserError, match=r"^49 pairs are too few to set some aside; give 50"):
        hold_out(store_of(parallel(49, "en")))
