"""`to_hugging_face()`: what sentence-transformers' trainer and model card do with a dataset."""

import pytest

from hybrid_dist.data.pair_dataset import PairDataset
from hybrid_dist.errors import UserError
from tests.support.pair_rows import store_of

datasets = pytest.importorskip("datasets")
ROWS = [(lang, uid, f"q {lang} {uid}", f"p {lang} {uid}") for lang in "ab" for uid in "123"]


def pairs(hard_negatives: int = 0) -> PairDataset:
    rows = [
        ("en" if lang == "a" else "de", uid, query, passage) for lang, uid, query, passage in ROWS
    ]
    return store_of(rows, [["n"]] * len(rows)).as_dataset(hard_negatives)


def test_it_has_the_pairs_rows_and_columns() -> None:
    wrapped, ours = pairs(1).to_hugging_face(), pairs(1)
    assert isinstance(wrapped, datasets.Dataset)
    assert len(wrapped) == wrapped.num_rows == len(ours) == 36
    assert wrapped.column_names == ["query", "passage", "negative_1"]
    assert [wrapped[i] for i in range(36)] == [ours[i] for i in range(36)] == list(wrapped)
    assert wrapped[2:4]["query"] == [ours[2]["query"], ours[3]["query"]]
    assert wrapped["passage"][7] == ours[7]["passage"]
    copy = wrapped.select([3, 30])
    assert copy[1] == ours[30]
    assert len(copy) == 2


def test_uneven_hard_negatives_are_refused() -> None:
    store = store_of([("en", "1", "q", "p"), ("en", "2", "r", "s")], [["n", "m"], ["n"]])
    assert store.as_dataset(1).to_hugging_face()[0]["negative_1"] == "n"
    with pytest.raises(UserError, match=r"hard_negatives: 2 .* choose 1 or less"):
        store.as_dataset(2).to_hugging_face()
