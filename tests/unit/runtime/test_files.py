"""Files and folders are replaced completely or not at all, and JSON errors name their position."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hybrid_dist.data.store.columns import save_array
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import (
    NO_LOCKS,
    DiskError,
    apply_umask,
    atomic_file,
    atomic_folder,
    check_room,
    locked,
    made_parents,
    read_json,
    replace_folder,
    write_atomically,
    writing,
)
from tests.support.disks import disk, fill


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


def numpy_saves(folder: Path) -> None:
    np.save(folder / "array.npy", np.zeros(100_000))


def arrow_writes(folder: Path) -> None:
    table = pa.table({"number": np.zeros(100_000)})
    with (
        pa.OSFile(str(folder / "table"), "wb") as out,
        pa.ipc.new_file(out, table.schema) as writer,
    ):
        writer.write_table(table)


def tokenizers_saves(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    vocabulary = {str(number): number for number in range(50_000)}
    Tokenizer(models.BPE(vocab=vocabulary, merges=[])).save(str(folder / "tokenizer.json"))


def safetensors_saves(folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weights": np.zeros(100_000)}, str(folder / "weights"))


@pytest.mark.parametrize(
    "write",
    [numpy_saves, arrow_writes, tokenizers_saves, safetensors_saves],
    ids=lambda w: w.__name__,
)
def test_full_disks_are_reported_alike_whatever_library_writes(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", "size=64k") as place:
        with (
            pytest.raises(DiskError) as refused,
            atomic_folder(place / "made/new", 700_000) as made,
        ):
            write(made)
        assert list(place.iterdir()) == []
    assert refused.value.errno == errno.ENOSPC
    assert str(refused.value) == (
        f"{place}/made/new: cannot be written: No space left on device (about 700.0 kB needed, "
        "65.6 kB free); make room there, or name a place on another disk"
    )


def test_a_lost_end_of_an_array_is_an_error(tmp_path: Path) -> None:
    """np.save says nothing when the last 4 kB of an array do not fit."""
    with disk(tmp_path / "disk", "size=64k") as place:
        fill(place, left=4096)
        with pytest.raises(OSError, match="No space left"):
            save_array(place / "array.npy", np.arange(600))


def test_the_block_that_knows_what_the_user_named_speaks(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=16k") as place:
        (place / "temporary").mkdir()
        with (
            pytest.raises(DiskError, match=rf"{place}/store: .* \(about 9\.0 MB needed"),
            writing(place / "store", place, 9_000_000),
        ):
            write_atomically(place / "small", bytes(100_000))
        with (
            pytest.raises(DiskError, match=rf"{place}/temporary: .*; set TMPDIR"),
            writing(place / "store", needed=9_000_000),
            writing(place / "temporary", cure="set TMPDIR"),
        ):
            write_atomically(place / "temporary/small", bytes(100_000))
        with (
            pytest.raises(DiskError, match=r"\(about 9\.0 MB needed"),
            writing(place / "store"),
            atomic_folder(place / "store", 9_000_000) as made,
        ):
            (made / "large").write_bytes(bytes(100_000))


def test_what_is_not_written_is_not_blamed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing, atomic_folder(tmp_path / "folder"):
        (tmp_path / "input").read_bytes()
    assert missing.value.filename == str(tmp_path / "input")
    with pytest.raises(ConnectionError), writing(tmp_path):
        raise ConnectionError(errno.ECONNREFUSED, "refused")


def test_bytes_needed_are_reported_as_more_than_were_written(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=64k") as place:
        with (
            pytest.raises(DiskError, match=r"more than 65\.6 kB needed, 65\.6 kB free"),
            atomic_file(place / "file", needed=1000) as out,
        ):
            out.write(bytes(100_000))
        with pytest.raises(DiskError, match=r"about 65\.6 kB needed, 65\.6 kB free"):
            check_room(place / "new", 65_537)
        check_room(place / "new", 65_536)


def test_a_used_up_quota_is_reported(tmp_path: Path) -> None:
    message = r"\(about 9 bytes needed; your quota there is used up\)"
    with pytest.raises(DiskError, match=message), writing(tmp_path, needed=9):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_folders_above_go_with_what_failed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError), made_parents(tmp_path / "mine/new/newer/file"):
        raise RuntimeError
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_swap_that_fails_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "folder") as made:
        (made / "a").write_text("old")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name.endswith(".part"):
            raise SystemExit(143)  # as a signal between the two renames
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(SystemExit), atomic_folder(tmp_path / "folder") as made:
        (made / "a").write_text("new")
    assert (tmp_path / "folder/a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_finished_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError
        return rename(path, target)

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(Path, "rename", failing)
        replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old/a").read_text() == "old"
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old/a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_another_process_has_made_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError), atomic_folder(tmp_path / "folder", replace=False) as made:
        (made / "a").write_text("mine")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder/a").write_text("another's")
    assert (tmp_path / "folder/a").read_text() == "another's"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_lock_is_one_process_at_a_time_and_leaves_no_file(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock) as held:
        assert held
        with pytest.raises(BlockingIOError), locked(lock):
            pass
        assert lock.exists()
    assert not lock.exists()
    lock.touch()  # as a process leaves it that was killed
    with locked(lock, wait=True):
        pass
    assert not lock.exists()


def test_a_lock_file_that_its_holder_has_removed_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    lock, flock = tmp_path / "lock", fcntl.flock

    def late(handle: int, how: int) -> None:
        """Between opening and locking, the holder before removes the file and another makes one."""
        monkeypatch.setattr(fcntl, "flock", flock)
        lock.unlink()
        lock.touch()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(lock):
        handle = os.open(lock, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)


def test_a_removed_lock_file_is_not_taken_for_one_that_still_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a machine may still know a name that another has given to a new file."""
    import fcntl

    lock, flock, stat = tmp_path / "lock", fcntl.flock, Path.stat
    taken: list[int] = []
    known: list[os.stat_result] = []

    def late(handle: int, how: int) -> None:
        flock(handle, how)
        taken.append(handle)
        if len(taken) == 1:
            known.append(stat(lock))
            lock.unlink()
            lock.touch()

    def cached(file: Path) -> os.stat_result:
        return known[0] if len(taken) == 1 else stat(file)

    monkeypatch.setattr(fcntl, "flock", late)
    monkeypatch.setattr(Path, "stat", cached)
    with locked(lock):
        assert len(taken) == 2, "the first one was let go"
        monkeypatch.setattr(Path, "stat", stat)


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_disk_without_locks_is_used_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock") as held:
        assert not held
    assert not (tmp_path / "lock").exists()
