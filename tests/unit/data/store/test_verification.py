"""Damaged stores: detected when first opened on a machine, and never used."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hybrid_dist.commands import prepare
from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store import verification
from hybrid_dist.data.store.columns import ROWS, TextWriter, save_array
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from tests.support.store_lines import lines, same, with_names_before_4


@pytest.fixture(scope="module")
def whole(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with negatives and with token ids."""
    folder = tmp_path_factory.mktemp("stores")
    (folder / "pairs.jsonl").write_text("\n".join(lines(300)) + "\n", "utf-8")
    words = [
        "pairs",
        folder / "pairs.jsonl",
        "--out",
        folder / "whole",
        "--tokenize",
        toy / "model",
    ]
    prefixes = ["--query-prefix", "Query: ", "--passage-prefix", "Passage: "]
    prepare.main([*map(str, words), *prefixes])
    return folder / "whole"


@pytest.fixture
def store(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, on a machine that remembers no store."""
    monkeypatch.delenv("HYBRID_DIST_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read to verify them."""
    result = list[str]()
    digest = verification._digest

    def counted(file: Path, **options: Any) -> str:
        result.append(file.name)
        return digest(file, **options)

    monkeypatch.setattr(verification, "_digest", counted)
    return result


def flip(file: Path, place: int, bit: int = 0) -> None:
    with file.open("r+b") as content:
        content.seek(place)
        old = content.read(1)[0]
        content.seek(place)
        content.write(bytes([old ^ 1 << bit]))


def files_of(store: Path) -> list[str]:
    return sorted(store_format.read_manifest(store)["files"])


def rewritten(store: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """Give a store's files and its changed manifest checksums that are right."""
    manifest = json.loads((store / "manifest.json").read_text("utf-8"))
    for name, recorded in manifest["files"].items():
        content = (store / name).read_bytes()
        recorded |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(manifest)
    manifest["checksum"] = store_format._checksum(manifest)
    (store / "manifest.json").write_text(json.dumps(manifest))


def test_a_flipped_bit_of_any_file_is_noticed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "TICK", 0.0)  # a store is not remembered before it is whole
    rng = random.Random(1)
    for name in files_of(store):
        size = (store / name).stat().st_size
        for place in {0, size - 1, *(rng.randrange(size) for _ in range(3))}:
            bit = rng.randrange(8)
            flip(store / name, place, bit)
            with pytest.raises(UserError, match=rf"/{name}: has changed .* prepare it again$"):
                Store(store)
            flip(store / name, place, bit)
    Store(store)


def test_a_flipped_bit_of_the_manifest_is_noticed(store: Path) -> None:
    file = store / "manifest.json"
    recorded, content = json.loads(file.read_text("utf-8")), file.read_bytes()
    unnoticed = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        try:
            assert store_format.read_manifest(store) == recorded
            unnoticed += 1  # such as a blank between two values that is a tab now
        except UserError as error:
            assert str(store) in str(error)
    assert unnoticed < len(content) / 100


def test_a_store_without_its_manifest_or_with_half_of_it_is_reported_as_damaged(
    store: Path,
) -> None:
    file = store / "manifest.json"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"manifest\.json: is not a store's manifest \(.*again$"):
        Store.open(str(store))
    file.unlink()
    with pytest.raises(UserError, match=r"manifest\.json: is missing; copy the store again"):
        Store.open(str(store))


def test_a_store_of_the_format_before_is_read_if_its_counts_are_right(store: Path) -> None:
    file = store / "manifest.json"
    recorded = with_names_before_4(store)
    del recorded["checksum"]
    recorded["fingerprint"] = store_format._fingerprint(recorded["languages"], recorded["files"])
    file.write_text(json.dumps(recorded | {store_format.KIND: 2}))
    assert Store(store).fingerprint == recorded["fingerprint"]
    recorded["languages"]["de"]["pairs"] += 1
    file.write_text(json.dumps(recorded | {store_format.KIND: 2}))
    with pytest.raises(UserError, match=r"manifest\.json: is damaged"):
        Store(store)
    file.write_text(json.dumps(recorded))
    with pytest.raises(UserError, match=r"manifest\.json: is damaged"):  # without its checksum
        Store(store)


def test_files_are_read_once_on_a_machine_until_one_changes(
    store: Path, read: list[str], tmp_path: Path
) -> None:
    first = Store(store)
    assert sorted(read) == files_of(store)
    same(first, Store(store))
    assert len(read) == len(files_of(store))
    shutil.copytree(store, tmp_path / "copy")
    Store(tmp_path / "copy")
    assert len(read) == 2 * len(files_of(store))
    times = (store / "queries.arrow").stat()
    flip(store / "queries.arrow", 5000)
    os.utime(store / "queries.arrow", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UserError, match=r"queries\.arrow: has changed"):
        Store(store)


def test_a_change_in_the_same_tick_of_a_coarse_clock_is_noticed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that is written, verified, and written again: here within a second."""
    stat = Path.stat

    def coarse(path: Path, **options: Any) -> Any:
        result = stat(path, **options)
        names = ("st_dev", "st_ino", "st_size", "st_mode", "st_uid", "st_mtime")
        times = {name: getattr(result, name) // 10**9 for name in ("st_mtime_ns", "st_ctime_ns")}
        return SimpleNamespace(**{name: getattr(result, name) for name in names}, **times)

    monkeypatch.setattr(verification, "TICK", 1.0)
    time.sleep(1.0 - time.time() % 1.0)
    flip(store / "uids.arrow", 1000)
    flip(store / "uids.arrow", 1000)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", coarse)
        manifest = store_format.read_manifest(store)
        with verification.verify_once(store, manifest) as is_first:
            assert is_first
        flip(store / "uids.arrow", 1000)
        with (
            pytest.raises(UserError, match="has changed"),
            verification.verify_once(store, manifest),
        ):
            pass


@pytest.mark.parametrize("how", ["a file is there", "no home"])
def test_a_cache_that_cannot_be_written_costs_time_alone(
    how: str, store: Path, read: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    if how == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    Store(store)
    Store(store)
    assert len(read) == 2 * len(files_of(store))
    flip(store / "negatives.npy", 200)
    with pytest.raises(UserError, match=r"negatives\.npy: has changed"):
        Store(store)


def test_the_temporary_folder_remembers_where_the_home_cannot(
    store: Path, read: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Store(store)
    Store(store)
    assert len(read) == len(files_of(store))
    assert (tmp_path / f"hybrid_dist-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_one_process_of_a_machine_reads_and_the_others_wait(store: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib; from hybrid_dist.data.store import format, verification\n"
        "folder = pathlib.Path(sys.argv[1]); manifest = format.read_manifest(folder)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "with verification.verify_once(folder, manifest) as is_first: time.sleep(0.2 * is_first)\n"
        "print(is_first)"
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for rank in ranks:
        assert rank.stdout is not None and rank.stdout.readline() == "ready\n"
    for rank in ranks:
        assert rank.stdin is not None
        rank.stdin.write("go\n")
        rank.stdin.flush()
    recorded = [rank.communicate()[0] for rank in ranks]
    assert sorted(recorded) == ["False\n"] * 3 + ["True\n"]
    assert [file.suffix for file in (tmp_path / "cache/hybrid_dist/verified").iterdir()] == [""]


def test_verify_always_reads_all_and_names_every_damaged_file(
    store: Path, read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for times in (1, 2):
        prepare.main(["--verify", str(store)])
        assert len(read) == times * len(files_of(store))
    assert f"{store}: complete: {len(files_of(store))} files of " in capsys.readouterr().out
    flip(store / "uids.arrow", 400)
    flip(store / "row_uid.npy", 200)
    with pytest.raises(SystemExit):
        prepare.main(["--verify", str(store)])
    err = capsys.readouterr().err
    assert f"error: {store}/row_uid.npy, {store}/uids.arrow: have changed since" in err


@pytest.mark.parametrize(
    ("name", "place", "value", "problem"),
    [
        ("passage_of", 7, 10**6, "passage_of: has numbers outside"),
        ("passage_of", 7, -1, "passage_of: has numbers outside"),
        ("negatives", 0, 10**6, "negatives: has numbers outside"),
        ("negative_starts", 3, 10**6, "negative_starts: does not divide"),
        ("uid_rows", 0, 10**6, "uid_rows: has numbers outside"),
        ("row_uid", 1, 10**6, "row_uid: has numbers outside"),
        ("row_uid", 5, 0, "row_uid: is not sorted"),
        ("language_starts", 1, 1, "row_uid: is not sorted"),
        ("query_token_starts", 2, 10**9, "query_token_starts: does not divide"),
    ],
)
def test_numbers_out_of_bounds_are_refused_though_checksums_are_right(
    name: str, place: int, value: int, problem: str, store: Path
) -> None:
    array = np.load(store / f"{name}.npy")
    array[place] = value
    save_array(store / f"{name}.npy", array)
    rewritten(store)
    with pytest.raises(UserError, match=rf"{store}: is damaged: .*{problem}"):
        Store(store)


def test_an_index_of_other_texts_is_refused(store: Path) -> None:
    save_array(store / "query_length.npy", np.load(store / "query_length.npy")[:-1])
    rewritten(store)
    with pytest.raises(UserError, match="query_length: has other than"):
        Store(store)


def texts_of(file: Path) -> list[str]:
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).read_all()["text"].to_pylist()


def test_texts_that_are_not_as_they_are_mapped_are_refused(store: Path) -> None:
    file = store / "queries.arrow"
    texts, content = texts_of(file), file.read_bytes()
    schema = pa.schema([("text", pa.large_string())])
    for problem, column, options in (
        ("another type", pa.array(texts, pa.string()), None),
        ("another type", pa.array([None, *texts[1:]], pa.large_string()), None),
        ("not mapped from", pa.array(texts, pa.large_string()), "zstd"),
    ):
        batch = pa.RecordBatch.from_arrays([column], names=["text"])
        how = pa.ipc.IpcWriteOptions(compression=options)
        with (
            pa.OSFile(str(file), "wb") as out,
            pa.ipc.new_file(out, batch.schema, options=how) as w,
        ):
            w.write_batch(batch)
        rewritten(store)
        with pytest.raises(UserError, match=f"is damaged: queries: .*{problem}"):
            Store(store)
    half = pa.RecordBatch.from_arrays([pa.array(texts[:9], pa.large_string())], schema=schema)
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_file(out, schema) as w:
        w.write_batch(half)
        w.write_batch(half)
    rewritten(store)
    with pytest.raises(UserError, match=f"batch 0 has 9 rows instead of {ROWS:,}"):
        Store(store)
    for old, new in ((texts[0].encode(), b"\xff" * len(texts[0].encode())), (b"ARROW1", b"ARROW2")):
        file.write_bytes(content.replace(old, new))
        rewritten(store)
        with pytest.raises(UserError, match="is damaged: "):
            Store(store)


def test_offsets_that_lead_out_of_the_texts_are_refused(store: Path) -> None:
    file = store / "uids.arrow"
    with pa.memory_map(str(file)) as source:
        reader = pa.ipc.open_file(source)
        offsets = np.frombuffer(reader.get_batch(0).column(0).buffers()[1], np.int64)
        old = offsets[:20].tobytes()
    changed = offsets[:20].copy()
    changed[7] = 1 << 40
    file.write_bytes(file.read_bytes().replace(old, changed.tobytes()))
    rewritten(store)
    with pytest.raises(UserError, match="is damaged: uids: "):
        Store(store)


def test_counts_of_other_rows_are_refused_though_checksums_are_right(store: Path) -> None:
    def one_more(manifest: dict[str, Any]) -> None:
        manifest["languages"]["de"]["passages"] += 1

    rewritten(store, one_more)
    with pytest.raises(UserError, match="its counts of passages are not its languages'"):
        Store(store)


def test_empty_columns_and_full_batches_fit(tmp_path: Path) -> None:
    from hybrid_dist.data.store.columns import TextColumn

    for count in (0, 1, ROWS, ROWS + 1):
        with TextWriter(tmp_path / "texts") as out:
            out.append(pa.array([str(n) for n in range(count)], pa.large_string()))
        column = TextColumn(tmp_path / "texts")
        column.check()
        assert column.take(np.arange(count)) == [str(n) for n in range(count)]


def test_arrays_are_saved_as_numpy_saves_them(tmp_path: Path) -> None:
    for values in (np.arange(0), np.arange(5, dtype=np.uint16), np.arange(10**5, dtype=np.int32)):
        save_array(tmp_path / "ours.npy", values)
        np.save(tmp_path / "theirs.npy", values)
        assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()
