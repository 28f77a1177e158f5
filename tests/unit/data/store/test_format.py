"""Stores on disk: equal to the files they are built from, complete or absent."""

import gzip
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data import blocks
from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import PAIRS, Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store import builder, spill
from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.columns import ROWS
from hybrid_dist.data.store.index import Index
from hybrid_dist.data.store.reader import Store, check_sources, open_sources
from hybrid_dist.errors import UserError
from tests.support.pair_rows import Row, store_of
from tests.support.store_lines import ARRAYS, lines, same, with_names_before_4


def prepared(out: Path, *paths: Path | str) -> Store:
    prepare(SOURCES["pairs"], [str(path) for path in paths], out, Reading())
    return Store(out)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(lines(3000)) + "\n", "utf-8")
    return path


def test_a_prepared_store_is_the_store_of_its_files(file: Path, tmp_path: Path) -> None:
    store = prepared(tmp_path / "store", file)
    same(store, Store.open(str(file)))
    same(store, Store.open(str(tmp_path / "store")))


def test_batches_are_the_same_from_a_store_and_from_its_files(file: Path, tmp_path: Path) -> None:
    prepared(tmp_path / "store", file)
    mix = Mix(monolingual=1, cross_lingual=1, multilingual=1)
    options = Batching(size=64, mix=mix, cross_lingual="pairwise")
    plans = []
    for path in (file, tmp_path / "store"):
        stores, sources = open_sources([str(path)])
        plans.append((stores[0], Plan(sources, options, seed=3)))
    for step in range(40):
        drawn = []
        for store, plan in plans:
            batch = plan.batch(step)
            drawn.append(
                (
                    batch.stream.kind,
                    batch.stream.languages,
                    store.uids(batch.query_row),
                    store.queries(batch.query_row),
                    store.passages(batch.passage_row),
                    batch.clusters.tolist(),
                    batch.lengths.tolist(),
                )
            )
        assert drawn[0] == drawn[1]


def test_packed_files_and_parquet_make_the_same_store(file: Path, tmp_path: Path) -> None:
    store = prepared(tmp_path / "plain", file)
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
    with pa.CompressedOutputStream(str(tmp_path / "p.jsonl.zst"), "zstd") as out:
        out.write(file.read_bytes())
    schema = pa.schema([PAIRS.field(name) for name in PAIRS.names if name != "place"])
    table = pa.Table.from_pylist([json.loads(line) for line in lines(3000)], schema)
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=700)
    pq.write_table(
        table.set_column(
            table.column_names.index("lang"), "lang", table["lang"].dictionary_encode()
        ),
        tmp_path / "coded.parquet",
    )
    for name in ("p.jsonl.gz", "p.jsonl.zst", "p.parquet", "coded.parquet"):
        same(store, prepared(tmp_path / f"store of {name}", tmp_path / name))


def test_a_glob_of_parts_makes_the_same_store(file: Path, tmp_path: Path) -> None:
    store = prepared(tmp_path / "plain", file)
    given = file.read_bytes().splitlines(keepends=True)
    for number in range(7):
        part = b"".join(given[number::7])
        name = f"part{number}.jsonl" + (".gz" if number % 2 else "")
        (tmp_path / name).write_bytes(gzip.compress(part) if number % 2 else part)
    same(store, prepared(tmp_path / "parts", f"{tmp_path}/part*"))


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Row], list[list[str]]]:
    """Rows of few texts in few languages, in any order, with negatives."""
    keys = draw(
        st.lists(
            st.tuples(
                st.sampled_from(("de", "en", "zh-Hant")),
                st.text("ab1\u00e9\0", min_size=1, max_size=3),
            ),
            min_size=1,
            max_size=25,
            unique=True,
        )
    )
    texts = st.sampled_from(["a", "b", "c" * 70, "\u65e5\u672c", "a\0", "d" * 5000])
    rows = [(lang, uid, draw(texts), draw(texts)) for lang, uid in keys]
    return rows, [draw(st.lists(texts, max_size=3)) for _ in rows]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(corpora(), st.sampled_from((60, 300, 1 << 27)))
def test_a_store_gives_back_what_it_was_made_of(
    monkeypatch: pytest.MonkeyPatch, corpus: tuple[list[Row], list[list[str]]], part: int
) -> None:
    monkeypatch.setattr(builder, "PART", part)
    rows, negatives = corpus
    store = store_of(rows, negatives)
    index = store.index
    order = sorted(range(len(rows)), key=lambda n: (rows[n][0], rows[n][1].encode()))
    every = np.arange(index.num_rows)
    codes = [index.languages[code] for code in index.row_language]
    given_back = zip(
        codes, store.uids(every), store.queries(every), store.passages(every), strict=True
    )
    assert list(given_back) == [rows[n] for n in order]
    for row, n in enumerate(order):
        mine = index.negatives[index.negative_starts[row] : index.negative_starts[row + 1]]
        assert store.passage_texts(mine) == negatives[n]
    met: dict[tuple[str, str], None] = {}
    for n in order:
        met |= {(rows[n][0], text): None for text in [rows[n][3], *negatives[n]]}
    assert store.passage_texts(np.arange(len(index.passage_cluster))) == [text for _, text in met]
    positions = {key: position for position, key in enumerate(met)}
    assert index.passage_of.tolist() == [positions[rows[n][0], rows[n][3]] for n in order]
    uids = sorted({uid for _, uid, *_ in rows}, key=str.encode)
    assert [uids[number] for number in index.row_uid] == [rows[n][1] for n in order]
    _check_clusters(index, [text for _, text in met])


def _check_clusters(index: Index, texts: Sequence[str]) -> None:
    """Passages of one text have one cluster: that of uids they answer, else one of their own."""
    clusters: dict[str, int] = {}
    for text, cluster in zip(texts, index.passage_cluster.tolist(), strict=True):
        assert clusters.setdefault(text, cluster) == cluster
    answers = {texts[n] for n in index.passage_of}
    own = [cluster for text, cluster in clusters.items() if text not in answers]
    assert len(set(own)) == len(own)
    assert all(cluster >= index.num_uids for cluster in own)
    assert (
        index.passage_cluster[index.passage_of].tolist()
        == index.uid_passage_cluster[index.row_uid].tolist()
    )


def test_blocks_and_parts_of_any_size_make_the_same_store(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepared(tmp_path / "whole", file)
    monkeypatch.setattr(builder, "PART", 20_000)
    monkeypatch.setattr(spill, "FILES", 3)
    monkeypatch.setattr(blocks, "PIECE", 1000)
    monkeypatch.setattr(blocks.line_blocks, "__defaults__", (3000,))
    same(store, prepared(tmp_path / "parts", file))


def test_more_rows_than_one_batch_of_a_file_holds(tmp_path: Path) -> None:
    count = 2 * ROWS + 5
    rows = [("en", f"{n:06d}", f"q {n}", f"p {n % 20_000}") for n in range(count)]
    store = store_of(rows)
    numbers = np.array([0, count - 1, ROWS, ROWS - 1, 2 * ROWS, 2 * ROWS - 1])
    assert store.queries(numbers) == [f"q {n}" for n in numbers]
    assert store.passages(numbers) == [f"p {n % 20_000}" for n in numbers]


def test_arrays_are_mapped_and_not_read(file: Path, tmp_path: Path) -> None:
    index = prepared(tmp_path / "store", file).index
    for name in ARRAYS:
        assert isinstance(getattr(index, name), np.memmap), name


def test_files_are_the_arrow_and_numpy_files_that_the_manifest_lists(
    file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    store = prepared(folder, file)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    pairs = [json.loads(line) for line in lines(3000)]
    for lang in ("de", "en", "ru"):
        mine = [pair for pair in pairs if pair["lang"] == lang]
        texts = {text for p in mine for text in [p["passage"], *p.get("negatives", [])]}
        assert manifest["languages"][lang] == {"pairs": len(mine), "passages": len(texts)}
    names = {path.name for path in folder.iterdir()}
    assert names == {*manifest["files"], "manifest.json"}
    for name, recorded in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (
            recorded["bytes"],
            recorded["sha256"],
        )
    with pa.memory_map(str(folder / "passages.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
        assert table["text"].to_pylist() == store.passage_texts(np.arange(len(table)))
        assert len(set(table["hash"].to_pylist())) == len(set(table["text"].to_pylist()))
    assert manifest["source"] == "pairs"
    assert manifest["paths"] == [str(file)]


def test_a_changed_file_is_noticed(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    prepared(folder, file)
    text = folder / "queries.arrow"
    content = bytearray(text.read_bytes())
    content[len(content) // 2] ^= 1
    text.write_bytes(content)
    with pytest.raises(UserError, match=r"queries\.arrow: has changed"):
        Store(folder)
    text.write_bytes(content[:-8])
    with pytest.raises(UserError, match=r"queries\.arrow: is cut short"):
        Store(folder)
    text.unlink()
    with pytest.raises(UserError, match=r"queries\.arrow: is missing"):
        Store(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", "{"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"is no store; make one with"):
        Store(tmp_path)


def test_a_store_of_another_version_is_refused(file: Path, tmp_path: Path) -> None:
    prepared(tmp_path / "store", file)
    manifest = tmp_path / "store" / "manifest.json"
    recorded = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(recorded | {store_format.KIND: 99}))
    with pytest.raises(
        UserError, match=f"version 99, this program reads version {store_format.VERSION}"
    ):
        Store(tmp_path / "store")


def test_a_store_of_version_3_is_read_by_its_names(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    now = prepared(folder, file)
    manifest = with_names_before_4(folder)
    manifest[store_format.KIND] = 3
    manifest["checksum"] = store_format._checksum(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    then = Store(folder)
    for name in ARRAYS:
        assert np.array_equal(getattr(then.index, name), getattr(now.index, name)), name


def test_other_data_has_another_fingerprint(tmp_path: Path) -> None:
    row = ("de", "u", "q", "p")
    prints = [
        store_of([row]).fingerprint,
        store_of([("en", *row[1:])]).fingerprint,
        store_of([("de", "u", "q", "other")]).fingerprint,
        store_of([("de", "v", "q", "p")]).fingerprint,
        store_of([row], [["negative"]]).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert store_of([row]).fingerprint == prints[0]


def test_a_store_is_replaced_as_a_whole(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    first = prepared(folder, file)
    file.write_text('{"uid": "1", "lang": "fi", "query": "q", "passage": "p"}\n')
    second = prepared(folder, file)
    assert second.index.languages == ("fi",)
    assert first.queries(np.arange(3))[0].startswith("de query")  # mapped files stay
    file.write_text("broken\n")
    with pytest.raises(UserError, match="not JSON"):
        prepared(folder, file)
    same(Store(folder), second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl", "store"]


def test_a_folder_of_other_things_is_left_alone(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other things"):
        prepared(folder, file)
    with pytest.raises(UserError, match="holds other things"):
        prepared(file, file)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_a_folder_with_another_manifest_is_left_alone(
    file: Path, tmp_path: Path, toy: Path
) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(toy, folder)
    with pytest.raises(UserError, match="holds other things"):
        prepared(folder, file)
    assert (folder / "train.jsonl").is_file()
    with pytest.raises(UserError, match="is a folder"):
        check_sources([str(folder)])


def test_an_empty_folder_is_filled(file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    same(prepared(tmp_path / "empty", file), Store.open(str(file)))


def test_paths_that_name_nothing_are_refused_before_anything_is_read(
    file: Path, tmp_path: Path
) -> None:
    prepared(tmp_path / "store", file)
    check_sources([str(file), str(tmp_path / "store")])
    with pytest.raises(UserError, match="no such file"):
        check_sources([str(tmp_path / "none")])
    with pytest.raises(UserError, match="is a folder"):
        check_sources([str(tmp_path)])


def test_a_killed_preparation_leaves_no_store_and_the_next_one_works(tmp_path: Path) -> None:
    """Killed at moments spread over the whole work, beside a store that stands and stays."""
    file, folder = tmp_path / "pairs.jsonl", tmp_path / "store"
    file.write_text("\n".join(lines(30_000)) + "\n", "utf-8")
    code = (
        "import sys; from hybrid_dist.commands import prepare; print('go', flush=True); "
        "prepare.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "pairs", str(file), "--out", str(folder)]

    def start() -> subprocess.Popen[str]:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert started.stdout is not None
        assert started.stdout.readline() == "go\n"
        return started

    begin = time.monotonic()
    assert start().wait() == 0
    needed = time.monotonic() - begin
    whole, torn = Store(folder), 0
    for number, part in enumerate((0.05, 0.2, 0.35, 0.5, 0.65, 0.8)):
        out = folder if number % 2 else tmp_path / "other"
        command[-1] = str(out)
        process = start()
        time.sleep(part * needed / 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out == folder or store_format.is_store(out):  # it was whole before, or just in time
            same(Store(out), whole)
        else:
            torn += 1
        for left in tmp_path.glob(".*"):
            if (
                left / store_format.MANIFEST
            ).is_file():  # killed at the last moment, before the rename
                same(Store(left), whole)
    assert torn
    command[-1] = str(tmp_path / "other")
    assert start().wait() == 0
    same(Store(tmp_path / "other"), whole)
    assert [path.name for path in tmp_path.glob(".other*")] == []


def test_two_at_once_do_not_mix(file: Path, tmp_path: Path) -> None:
    with (
        store_format.replaced(tmp_path / "store"),
        pytest.raises(UserError, match="another process is preparing it"),
    ):
        prepared(tmp_path / "store", file)


def test_what_a_killed_preparation_left_does_not_get_into_the_store(
    file: Path, tmp_path: Path
) -> None:
    left = tmp_path / ".store.0123abcd.part"
    (left / "folder").mkdir(parents=True)
    (left / "query_tokens.npy").write_bytes(b"stale")
    store = prepared(tmp_path / "store", file)
    assert {path.name for path in store.folder.iterdir()} == {
        *store.manifest["files"],
        "manifest.json",
    }
    assert "query_tokens.npy" not in store.manifest["files"]
    assert not left.exists()


def test_a_store_whose_replacement_was_killed_is_restored(file: Path, tmp_path: Path) -> None:
    """As a kill between the two renames of a replacement leaves it."""
    store = prepared(tmp_path / "store", file)
    (tmp_path / "store").rename(tmp_path / ".store.before")
    file.write_text("broken\n")
    with pytest.raises(UserError, match="not JSON"):
        prepared(tmp_path / "store", file)
    same(Store(tmp_path / "store"), store)
