"""mMARCO: parallel collections and queries, with MS MARCO's triples and judgements."""

from pathlib import Path

import pytest

from hybrid_dist.errors import UserError
from tests.support.disks import disk
from tests.support.published_files import collection, read, relevance, rows, tsv, write


def mmarco(root: Path) -> Path:
    folder = root / "data" / "google"
    for name in ("german", "french"):
        texts = [(n, f"{name} passage {n}") for n in range(4)]
        tsv(folder / "collections" / f"{name}_collection.tsv", *texts)
        tsv(
            folder / "queries" / "train" / f"{name}_queries.train.tsv", (20, "b?"), (10, f"{name}?")
        )
        tsv(folder / "queries" / "dev" / f"{name}_queries.dev.small.tsv", (30, f"{name} dev?"))
    tsv(root / "data" / "triples.train.ids.small.tsv", (10, 2, 0), (10, 2, 3), (20, 1, 3))
    tsv(root / "data" / "qrels.train.tsv", (10, 0, 2, 1), (20, 0, 1, 1))
    tsv(root / "data" / "qrels.dev.small.tsv", (30, 0, 3, 1))
    return folder


def test_mmarco_s_triples_are_pairs_in_every_language(tmp_path: Path) -> None:
    result = rows("mmarco", mmarco(tmp_path))
    assert [(r["uid"], r["lang"]) for r in result] == [
        (uid, lang) for lang in ("fr", "de") for uid in ("10:2:0", "10:2:3", "20:1:3")
    ]
    assert result[-1] == {
        "uid": "20:1:3", "lang": "de", "query": "b?", "passage": "german passage 1",
        "negatives": ["german passage 3"],
    }  # fmt: skip


def test_mmarco_s_qrels_are_each_pair_once(tmp_path: Path) -> None:
    folder = mmarco(tmp_path)
    result = rows("mmarco", folder, pairs="qrels", languages="de")
    assert [(r["uid"], r["passage"], r["negatives"]) for r in result] == [
        ("10:2", "german passage 2", []),
        ("20:1", "german passage 1", []),
    ]
    (tmp_path / "data" / "triples.train.ids.small.tsv").unlink()
    assert rows("mmarco", folder, languages="de") == result
    with pytest.raises(UserError, match="give triples or qrels"):
        rows("mmarco", folder, pairs="qrel")


def test_mmarco_is_evaluated_in_parallel(tmp_path: Path) -> None:
    right = {("de", "3"): 1, ("fr", "3"): 1}
    result = collection("mmarco", mmarco(tmp_path))
    assert relevance(result) == {("de", "30"): right, ("fr", "30"): right}
    assert len(result.passages) == 8


def test_mmarco_compressed_reads_alike(tmp_path: Path) -> None:
    folder = mmarco(tmp_path)
    plain = rows("mmarco", folder)
    for file in [*folder.rglob("*.tsv")]:
        write(file.with_name(f"{file.name}.gz"), file.read_bytes())
        file.unlink()
    assert rows("mmarco", folder) == plain


MMARCO_BAD = {
    "passage without text": ("collections/german_collection.tsv", "9\n", "an id, a tab and a text"),
    "id that is none": ("collections/german_collection.tsv", "x\ty\n", "an id, a tab and a text"),
    "id twice": ("collections/german_collection.tsv", "2\tother\n", "other text than in line 3"),
    "Latin-1": ("queries/train/german_queries.train.tsv", b"9\tcaf\xe9\n", "not UTF-8"),
    "unknown passage": ("../triples.train.ids.small.tsv", "10\t77\t1\n", "77 is no id in"),
    "an underscore": (
        "../triples.train.ids.small.tsv",
        "1_0\t2\t1\n",
        "expected ids of a query",
    ),
    "id of 30 digits": ("collections/german_collection.tsv", f"{'9' * 30}\ty\n", "an id, a tab"),
    "passage of 30 digits": (
        "../triples.train.ids.small.tsv",
        f"10\t{'9' * 30}\t1\n",
        "is no id in",
    ),
    "two ids": ("../triples.train.ids.small.tsv", "10\t2\n", "expected ids of a query"),
}


@pytest.mark.parametrize(("name", "line", "message"), MMARCO_BAD.values(), ids=MMARCO_BAD)
def test_bad_lines_of_mmarco_are_named(
    tmp_path: Path, name: str, line: str | bytes, message: str
) -> None:
    file = (mmarco(tmp_path) / name).resolve()
    before = file.read_bytes()
    place = f"{file}:{len(before.splitlines()) + 1}: "
    file.write_bytes(before + (line.encode() if isinstance(line, str) else line))
    with pytest.raises(UserError) as refusal:
        rows("mmarco", tmp_path / "data" / "google", languages="de")
    assert place in str(refusal.value)
    assert message in str(refusal.value)


def test_a_line_that_is_bad_in_every_language_counts_once(tmp_path: Path) -> None:
    folder = mmarco(tmp_path)
    file = tmp_path / "data" / "triples.train.ids.small.tsv"
    file.write_bytes(file.read_bytes() + b"10\n")
    pairs, reading = read("mmarco", folder, skip_bad=1)
    assert len(pairs) == 2 * 3
    assert len(reading.bad) == 1


def test_files_of_mmarco_that_are_cut_short_or_empty_are_named(tmp_path: Path) -> None:
    folder = mmarco(tmp_path)
    texts = "".join(f"{n}\tpassage {n * 7919}\n" for n in range(5000))
    (folder / "collections" / "german_collection.tsv").unlink()
    file = write(folder / "collections" / "german_collection.tsv.gz", texts)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{file}:\d+: broken file .*copy it again"):
        rows("mmarco", folder, languages="de")
    file.unlink()
    write(folder / "collections" / "german_collection.tsv", "")
    with pytest.raises(UserError, match=r"german_collection.tsv:1: is empty"):
        rows("mmarco", folder, languages="de")


def test_a_full_temporary_folder_is_not_taken_for_a_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mmarco(tmp_path)
    (folder / "collections" / "german_collection.tsv").unlink()
    texts = "".join(f"{n}\tpassage {n * 7919}\n" for n in range(5000))
    write(folder / "collections" / "german_collection.tsv.gz", texts)
    with disk(tmp_path / "disk", "size=64k") as place:
        monkeypatch.setattr("tempfile.tempdir", str(place))
        with pytest.raises(UserError, match=rf"^{place}: .*No space left.*; .* set TMPDIR"):
            rows("mmarco", folder, languages="de")


def test_an_unknown_language_of_mmarco_is_refused(tmp_path: Path) -> None:
    folder = mmarco(tmp_path)
    tsv(folder / "collections" / "germann_collection.tsv", (0, "x"))
    with pytest.raises(UserError, match=r"unknown language 'germann'; did you mean 'german'"):
        rows("mmarco", folder)
