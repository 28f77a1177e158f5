"""Files and folders are replaced whole or not at all, and JSON is refused with its place."""

import os
from pathlib import Path

import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import (
    apply_umask,
    atomic_file,
    atomic_folder,
    read_json,
    write_atomically,
)


def test_an_error_keeps_the_old_file_and_leaves_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, "old")
    with pytest.raises(RuntimeError), atomic_file(file) as out:
        out.write(b"half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_keeps_the_old_folder_and_leaves_no_draft(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with atomic_folder(folder) as made:
        (made / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(folder) as made:
        (made / "a").write_text("new")
        raise RuntimeError
    assert (folder / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_is_replaced_with_all_that_it_held(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("a", "b"):
        with atomic_folder(folder) as made:
            (made / name).write_text(name)
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    before = tmp_path / ".folder.before"
    before.mkdir()
    (before / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "folder"):
        raise RuntimeError
    assert (tmp_path / "folder/a").read_text() == "old"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1,\n "b"', "expecting ':' delimiter, line 2 column 5"),
        (b'"\xff"', "not UTF-8, byte 1"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "Exceeds the limit"),
    ],
)
def test_json_that_cannot_be_parsed_is_refused(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match="is not a report") as refused:
        read_json(file, "a report")
    assert str(file) in str(refused.value) and problem in str(refused.value)


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot be read \(No such file"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_of_a_library_get_the_mode_of_any_new_file(
    tmp_path: Path, umask: int, mode: int
) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.touch(0o600)
    before = os.umask(umask)
    try:
        apply_umask(files)
    finally:
        os.umask(before)
    assert [file.stat().st_mode & 0o777 for file in files] == [mode, mode]
    assert sorted(tmp_path.iterdir()) == files
