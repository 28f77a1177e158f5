"""Stores of pair files: built once, reused while the files are the same, rebuilt when damaged."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from hybrid_dist.data import user_cache
from hybrid_dist.data.store import builder
from hybrid_dist.data.store.format import VERSION
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from tests.support.store_lines import lines, same


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(lines(200)) + "\n", "utf-8")
    return path


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_opening_reuses_the_store(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first, second = (Store.open(file, folder) for _ in range(2))
    assert (first.cached, second.cached) == ("built", "reused")
    assert first.folder == second.folder
    assert entries(folder) == [first.folder.name]
    assert second.manifest["paths"] == [str(file)]
    same(first, second)
    same(first, Store.open(file))


def test_a_reused_store_reads_no_pair(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file, tmp_path / "cache")

    def refuse(*_: object) -> None:
        raise AssertionError("the store is built again")

    monkeypatch.setattr("hybrid_dist.data.store.reader.build_files", refuse)
    assert Store.open(file, tmp_path / "cache").cached == "reused"


def test_changed_files_have_another_store(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = Store.open(file, folder)
    status = file.stat()
    file.write_text(file.read_text("utf-8").replace("query 1 ", "query 2 "), "utf-8")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    second = Store.open(file, folder)
    assert (second.cached, second.fingerprint == first.fingerprint) == ("built", False)
    same(second, Store.open(file))
    more = {"uid": "more", "lang": "fr", "query": "q", "passage": "p"}
    (tmp_path / "more.jsonl").write_text(json.dumps(more), "utf-8")
    assert Store.open(f"{tmp_path}/[m-p]*.jsonl", folder).cached == "built"


def test_another_format_version_has_another_store(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = user_cache.key_of_files([file])
    monkeypatch.setattr(user_cache, "VERSION", VERSION + 1)
    assert user_cache.key_of_files([file]) != before


@pytest.mark.parametrize("damage", ["a changed byte", "a missing file", "no manifest", "nothing"])
def test_a_damaged_store_is_built_again(
    file: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache"
    first = Store.open(file, folder)
    queries = first.folder / "queries.arrow"
    if damage == "a changed byte":
        content = bytearray(queries.read_bytes())
        content[len(content) // 2] ^= 1
        queries.write_bytes(content)
    elif damage == "a missing file":
        queries.unlink()
    elif damage == "no manifest":
        (first.folder / "manifest.json").unlink()
    else:
        for path in first.folder.iterdir():
            path.unlink()
    second = Store.open(file, folder)
    assert second.cached == "built"
    assert "the cached store is damaged and is built again" in capsys.readouterr().err
    same(second, Store.open(file))
    assert Store.open(file, folder).cached == "reused"


def test_files_that_change_while_they_are_read_are_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_index = builder.finish_index

    def touch(*args: object) -> None:
        os.utime(file, (1, 1))
        finish_index(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(builder, "finish_index", touch)
    with pytest.raises(UserError, match=r"changed while it was read; start again"):
        Store.open(file, tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def _open(file: Path, folder: Path) -> tuple[str, str]:
    store = Store.open(file, folder)
    return store.cached, store.fingerprint


def test_processes_that_start_together_build_one_store(file: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    with context.Pool(3) as pool:
        results = pool.starmap(_open, [(file, tmp_path / "cache")] * 3, chunksize=1)
    assert sorted(cached for cached, _ in results) == ["built", "reused", "reused"]
    assert {fingerprint for _, fingerprint in results} == {Store.open(file).fingerprint}


def test_without_locks_the_first_of_several_builders_wins(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "key"

    def build(_: Path) -> str:
        (folder / "other").mkdir(parents=True)  # by another process, meanwhile
        draft = tmp_path / "draft"
        draft.mkdir()
        draft.rename(folder)
        return "mine"

    assert user_cache.open_or_build(folder, lambda _: "theirs", build) == ("theirs", False)


def test_a_cache_that_cannot_be_written_is_still_read(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file, tmp_path / "cache")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(user_cache, "locked", refuse)
    assert Store.open(file, tmp_path / "cache").cached == "reused"


def test_the_variable_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(user_cache.VARIABLE, str(tmp_path / "mine"))
    assert user_cache.store_cache("") == tmp_path / "mine" / "stores"
    assert user_cache.store_cache(str(tmp_path / "set")) == tmp_path / "set"
    monkeypatch.delenv(user_cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache.store_cache("") == tmp_path / "xdg" / "hybrid_dist" / "stores"
