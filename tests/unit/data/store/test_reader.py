"""Stores: the index against loops over the table, building and opening."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.data.store.index import Index
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from tests.support.pair_rows import Row, pair_blocks, store_of
from tests.support.store_lines import same

LANGUAGES = ("de", "en", "qaa", "zh-Hant")


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Rows of (lang, uid, query, passage), sorted; few texts, so that many are shared."""
    keys = draw(
        st.sets(
            st.tuples(st.sampled_from(LANGUAGES), st.integers(0, 12).map(str)),
            min_size=1,
            max_size=30,
        )
    )
    texts = st.integers(0, 14).map(lambda n: f"text {n}")
    return [(lang, uid, draw(texts), draw(texts)) for lang, uid in sorted(keys)]


def components(rows: list[Row], text: int) -> dict[str, str]:
    """Of each uid the smallest uid (as text) that chains of equal texts lead to."""
    joined = {uid: {uid} for _, uid, *_ in rows}
    for a, b in combinations(rows, 2):
        if a[text] == b[text] and joined[a[1]] is not joined[b[1]]:
            union = joined[a[1]] | joined[b[1]]
            joined.update(dict.fromkeys(union, union))
    return {uid: min(together) for uid, together in joined.items()}


@settings(deadline=None, max_examples=25)
@given(tables())
def test_rows_are_sorted_and_languages_are_slices(rows: list[Row]) -> None:
    index = store_of(rows).index
    assert index.languages == tuple(sorted({row[0] for row in rows}))
    assert index.num_rows == len(rows)
    keys = list(zip(index.row_language.tolist(), index.row_uid.tolist(), strict=True))
    assert keys == sorted(set(keys))
    for number, language in enumerate(index.languages):
        first, last = index.language_starts[number : number + 2]
        assert [row[0] for row in rows[first:last]] == [language] * (last - first)
        assert np.all(index.row_language[first:last] == number)
    assert index.language_starts[0] == 0
    assert index.language_starts[-1] == len(rows)
    assert index.language_sizes().tolist() == [
        sum(row[0] == language for row in rows) for language in index.languages
    ]


@settings(deadline=None, max_examples=25)
@given(tables())
def test_a_uid_is_a_slice_of_rows_by_language(rows: list[Row]) -> None:
    index = store_of(rows).index
    names = sorted({row[1] for row in rows})
    assert index.num_uids == len(names)
    for number, name in enumerate(names):
        mine = index.uid_rows[index.uid_starts[number] : index.uid_starts[number + 1]].tolist()
        assert mine == [i for i, row in enumerate(rows) if row[1] == name]
        assert index.row_language[mine].tolist() == sorted(index.row_language[mine].tolist())
        assert index.row_uid[mine].tolist() == [number] * len(mine)


@settings(deadline=None, max_examples=60)
@given(tables())
def test_clusters_are_the_connected_components_of_equal_texts(rows: list[Row]) -> None:
    index = store_of(rows).index
    names = sorted({row[1] for row in rows})
    for text, clusters in ((2, index.uid_query_cluster), (3, index.uid_passage_cluster)):
        expected = components(rows, text)
        assert [names[cluster] for cluster in clusters] == [expected[name] for name in names]


def test_a_long_chain_of_shared_passages_is_one_cluster() -> None:
    """Uid n shares a passage with uid n + 1 alone, in another language; the ends never meet."""
    length = 200
    order = np.random.default_rng(0).permutation(length)
    names = [f"{n:04d}" for n in order]
    rows = [("de", name, f"q de {i}", f"link {i}") for i, name in enumerate(names)]
    rows += [("en", name, f"q en {i}", f"link {i + 1}") for i, name in enumerate(names)]
    index = store_of(rows).index
    assert set(index.uid_passage_cluster.tolist()) == {0}
    assert sorted(index.uid_query_cluster.tolist()) == list(range(length))


def test_a_store_returns_texts_in_the_order_of_the_rows_given(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    made = [("de", "a", "was?", "ein Webstuhl"), ("en", "a", "what?", "a loom")]
    file.write_text(
        "\n".join(
            f'{{"uid": "{u}", "lang": "{lang}", "query": "{q}", "passage": "{p}"}}'
            for lang, u, q, p in made
        )
    )
    store = Store.open(str(file))
    assert isinstance(store.index, Index)
    rows = np.array([1, 0, 1])
    assert store.queries(rows) == ["what?", "was?", "what?"]
    assert store.passages(rows) == ["a loom", "ein Webstuhl", "a loom"]
    assert store.uids(rows) == ["a", "a", "a"]


def test_build_writes_a_store_that_open_reads(tmp_path: Path) -> None:
    rows = [("de", "a", "was?", "ein Webstuhl"), ("en", "a", "what?", "a loom")]
    blocks = pair_blocks(rows)
    built = Store.build(blocks, tmp_path / "new" / "store")
    assert sorted(tmp_path.rglob("manifest.json")) == [tmp_path / "new" / "store" / "manifest.json"]
    same(built, Store.open(tmp_path / "new" / "store"))
    same(built, Store.build(blocks))


def test_build_replaces_a_store_only_if_it_may(tmp_path: Path) -> None:
    blocks = pair_blocks([("en", "a", "what?", "a loom")])
    Store.build(blocks, tmp_path / "store")
    with pytest.raises(OSError):
        Store.build(blocks, tmp_path / "store", replace=False)
    Store.build(pair_blocks([("en", "b", "who?", "Ada")]), tmp_path / "store")
    assert Store.open(tmp_path / "store").queries(np.arange(1)) == ["who?"]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_build_without_pairs_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mine: no pair in these files"):
        Store.build([], tmp_path / "store", name="mine")
    assert list(tmp_path.iterdir()) == []
