"""What is known to be relevant: texts, uids and translations, against a definition on the texts."""

import numpy as np
import pytest

from hybrid_dist.data.store.reader import Store
from hybrid_dist.mining.relevance import KnownRelevance
from tests.support.mining import positives_of
from tests.support.pair_rows import store_of

ROWS = [
    ("de", "1", "wer?", "Goethe"),
    ("en", "1", "who?", "Goethe was it"),
    ("en", "2", "who wrote it?", "Goethe was it"),  # the passage of uid 1
    ("de", "2", "wer schrieb es?", "Johann"),
    ("en", "3", "who?", "Johann Wolfgang"),  # the query of uid 1
    ("de", "4", "was?", "ein Buch"),
    ("en", "4", "what?", "a book"),
    ("en", "5", "when?", "in 1808"),
    ("sw", "6", "lini?", "Goethe"),  # the text of uid 1 in German
]
NEGATIVES = [[], [], [], [], [], ["Goethe", "Schiller"], [], ["Johann Wolfgang", "in 1832"], []]


@pytest.fixture(scope="module")
def store() -> Store:
    return store_of(ROWS, NEGATIVES)


def test_relevant_are_all_passages_that_share_a_text_uid_or_translation(store: Store) -> None:
    passages = np.arange(len(store.passage_column))
    texts = store.passage_texts(passages)
    rows = np.arange(store.index.num_rows)
    relevance = KnownRelevance(store.index)
    known = relevance.of(rows, np.broadcast_to(passages, (len(rows), len(passages))))
    for row, expected in enumerate(positives_of(store)):
        assert {text for text, yes in zip(texts, known[row], strict=True) if yes} == expected
    assert positives_of(store)[0] == {"Goethe", "Goethe was it", "Johann", "Johann Wolfgang"}, (
        "of uids 1, 2 and 6, which share passages, and of uid 3, which has the query of uid 1"
    )
    assert known.sum() < known.size


def test_a_place_without_a_passage_is_not_relevant(store: Store) -> None:
    assert not KnownRelevance(store.index).of(np.arange(3), np.full((3, 2), -1)).any()


@pytest.mark.parametrize("pool", [np.arange(4), np.array([0, 3, 6, 7]), np.arange(9)])
def test_those_in_a_pool_are_counted(store: Store, pool: np.ndarray) -> None:
    rows = np.arange(store.index.num_rows)
    relevance = KnownRelevance(store.index)
    counts = relevance.of(rows, np.broadcast_to(pool, (len(rows), len(pool)))).sum(axis=1)
    in_pool = relevance.in_pool(pool)
    assert relevance.counts(rows, in_pool).tolist() == counts.tolist()
    assert relevance.counts(rows[2:5], in_pool).tolist() == counts[2:5].tolist()
