"""Paths of files: folders, compressed or not, and the hub's cache."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.data.reading import Text
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.text_sequence import Texts
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import check_task, load_task
from tests.support.disks import disk
from tests.support.published_files import collection, json_lines, rows, write

UNIT = {"unit": "a", "lang": "en", "query": "who?", "passage": "Ada did."}


def test_every_source_is_described_by_its_name() -> None:
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.summary
        assert source.pairs is not None or source.collection is not None


@pytest.mark.parametrize("name", ["u.jsonl", "u.jsonl.gz", "u.jsonl.zst", "deep/er/u.jsonl"])
def test_plain_and_compressed_files_read_alike(tmp_path: Path, name: str) -> None:
    file = json_lines(tmp_path / name, UNIT)
    assert rows("units", file) == rows("units", tmp_path)
    assert [r["query"] for r in rows("units", tmp_path)] == ["who?"]


def test_a_byte_order_mark_and_other_line_ends_do_not_matter(tmp_path: Path) -> None:
    raw = json_lines(tmp_path / "u.jsonl", UNIT).read_bytes()
    write(tmp_path / "u.jsonl", b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n") + b"\r\n")
    assert len(rows("units", tmp_path)) == 1


@pytest.mark.parametrize("name", ["u.jsonl.gz", "u.jsonl.zst"])
def test_a_file_cut_short_is_named(tmp_path: Path, name: str) -> None:
    file = json_lines(tmp_path / name, *({**UNIT, "unit": str(n * 7919)} for n in range(2000)))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{file}:\d+: broken file \(.*copy it again"):
        rows("units", tmp_path)


def test_a_file_beside_its_compressed_self_is_refused(tmp_path: Path) -> None:
    json_lines(tmp_path / "u.jsonl", UNIT)
    json_lines(tmp_path / "u.jsonl.gz", UNIT)
    with pytest.raises(UserError, match="keep one of the two"):
        rows("units", tmp_path)


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    """Passed over it would be a language less, as in a hub's cache that lost its blobs."""
    json_lines(tmp_path / "a.jsonl", UNIT)
    for target in ("gone.jsonl", "b.jsonl"):
        (tmp_path / "b.jsonl").symlink_to(target)
        with pytest.raises(UserError, match=r"b\.jsonl: is a link to nothing"):
            rows("units", tmp_path)
        (tmp_path / "b.jsonl").unlink()
    (tmp_path / "b.jsonl").symlink_to("a.jsonl")
    assert len(rows("units", tmp_path)) == 2


def test_a_missing_path_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "no", ""):
        with pytest.raises(UserError, match="no such file or folder"):
            rows("units", path)
    with pytest.raises(UserError, match="no file of this layout; expected JSON lines of units"):
        rows("units", tmp_path)


def test_rows_of_parquet_are_records(tmp_path: Path) -> None:
    folder = tmp_path / "sw"
    folder.mkdir()
    good = {"docid": "1", "title": "", "text": "Told."}
    record = {"query_id": "7", "query": "Asked?", "positive_passages": [good]}
    table = [{**record, "negative_passages": []}, {**record, "query": "", "negative_passages": []}]
    file = folder / "train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(table[:1]), file)
    assert [r["passage"] for r in rows("miracl", tmp_path)] == ["Told."]
    pq.write_table(pa.Table.from_pylist(table), file)
    with pytest.raises(UserError, match=rf"{file}:2: expected a non-empty text as 'query'"):
        rows("miracl", tmp_path)
    file.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        rows("miracl", tmp_path)


@pytest.mark.parametrize("source", ["miracl", "pairs"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, source: str) -> None:
    """Which one is meant cannot be known, and a reader would take the last."""
    columns = {"miracl": ("query_id", "query"), "pairs": ("uid", "lang", "query", "passage")}
    names = [*columns[source], "query"]
    file = tmp_path / "sw" / "train.parquet"
    file.parent.mkdir()
    pq.write_table(pa.table([pa.array(["en"])] * len(names), names), file)
    with pytest.raises(UserError, match=rf"{file}: column 'query' comes 2 times; keep one"):
        rows(source, file if source == "pairs" else tmp_path)


def test_two_fields_of_one_name_in_a_struct_are_refused(tmp_path: Path) -> None:
    kind = pa.struct([("docid", pa.string()), ("docid", pa.string()), ("text", pa.string())])
    documents = pa.StructArray.from_arrays([pa.array(["1"])] * 3, fields=list(kind))
    listed = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), documents)
    names = ["query_id", "query", "positive_passages", "negative_passages"]
    file = tmp_path / "sw" / "train.parquet"
    file.parent.mkdir()
    pq.write_table(pa.table([pa.array(["7"]), pa.array(["q"]), listed, listed], names), file)
    with pytest.raises(UserError, match=rf"{file}: not a readable Parquet file"):
        rows("miracl", tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one data set, laid out as huggingface_hub does; there is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    stored = tmp_path / "datasets--mills--units"
    write(stored / "refs" / "main", "c0ffee")
    json_lines(stored / "snapshots" / "c0ffee" / "data" / "u.jsonl", UNIT)
    return tmp_path


@pytest.mark.parametrize("path", ["hf://mills/units", "hf://datasets/mills/units@main/data"])
def test_a_data_set_of_the_hub_reads_as_its_files_do(hub: Path, path: str) -> None:
    assert [r["query"] for r in rows("units", path)] == ["who?"]
    assert len(collection("units", path).queries) == 1
    check_task(f"units:{path}")
    assert load_task(f"units:{path}").languages == ("en",)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hf://mills/none", "is not in the hub's cache, and the hub cannot be reached"),
        ("hf://mills/units/other", "the data set mills/units has no 'other'"),
        ("hf://mills", "expected hf://OWNER/NAME"),
    ],
)
def test_data_missing_on_the_hub_is_reported(hub: Path, path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows("units", path)


def test_many_texts_are_mapped_from_a_file_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    texts = [Text(str(n), "en", f"text {n} é") for n in range(20_000)]
    kept = Texts.of(texts)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("hybrid_dist.data.text_sequence.IN_MEMORY", 100_000)
    before = pa.total_allocated_bytes()
    mapped = Texts.of(iter(texts))
    assert pa.total_allocated_bytes() - before < 100_000
    assert not list(tmp_path.iterdir())
    for some in (kept, mapped):
        assert [*some] == texts
        assert some[17_000] == texts[17_000]
        assert some[9_999:5:-997] == texts[9_999:5:-997]
        assert some.take(np.arange(len(texts))[::-3])[:2] == texts[::-3][:2]
        again = some.take(np.array([5, 3, 1])).take(np.array([2, 0]))
        assert [*again] == [texts[1], texts[5]]
        assert again.column("id").to_pylist() == ["1", "5"]
        assert some.column("id").to_pylist() == [text.id for text in texts]
    assert Texts.of([]).column("id").to_pylist() == []


def test_a_temporary_folder_without_room_for_texts_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hybrid_dist.data.text_sequence.IN_MEMORY", 100_000)
    with disk(tmp_path / "disk", "size=200k") as place:
        monkeypatch.setattr("tempfile.tempdir", str(place))
        with pytest.raises(UserError, match=rf"^{place}: .*No space left.*; .* set TMPDIR"):
            Texts.of(Text(str(n), "en", f"text {n}") for n in range(20_000))
        assert not list(place.iterdir())
