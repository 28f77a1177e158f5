"""Copies of stores on a machine's own disk: made once, whole, and made again when damaged; and
reading ahead where there is no copy."""

import re
import shutil
from pathlib import Path

import pytest

from hybrid_dist.data.store.reader import Store, open_sources
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.stored_task import open_task, write_task
from hybrid_dist.evaluation.task_specs import load_task
from tests.support.disks import disk
from tests.support.permissions import nobody
from tests.support.store_lines import lines, same
from tests.support.vector_files import write_pairs

COPYING = r"copying [\d.]+ [km]?B to "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store."""
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(lines(200)) + "\n", "utf-8")
    return Store.build(pairs, tmp_path / "store").folder


def harm(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_store_is_copied_once_and_read_from_there(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage = tmp_path / "own" / "disk"
    first = Store.open(folder, stage=str(stage))
    assert first.folder == stage / first.fingerprint[:32]
    same(first, Store(folder))
    inodes = {file.name: file.stat().st_ino for file in first.folder.iterdir()}
    assert inodes.keys() == {file.name for file in folder.iterdir()}
    ((second,), (source,)) = open_sources([str(folder)], stage=str(stage))
    assert second.folder == first.folder
    assert source.name == str(folder), "plans and reports name the store, not its copy"
    assert {file.name: file.stat().st_ino for file in first.folder.iterdir()} == inodes
    assert len(re.findall(COPYING, capfd.readouterr().err)) == 1
    assert list(stage.iterdir()) == [first.folder]


def test_the_stores_of_pair_files_and_prepared_collections_are_copied_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    spec, stage = write_pairs(tmp_path / "data", 20), tmp_path / "stage"
    pairs = Store.open(spec.partition(":")[2], tmp_path / "cache", str(stage))
    assert (pairs.cached, pairs.folder.parent) == ("built", stage)
    out = tmp_path / "collection"
    write_task(load_task(spec), out, {})
    task = load_task(f"collection:{out}", stage=str(stage))
    (copy,) = {path for path in stage.iterdir() if path != pairs.folder}
    assert list(open_task(copy, "c", "c").passage_texts) == list(task.passage_texts)
    assert list(task.passage_texts) == list(load_task(spec).passage_texts)
    shutil.rmtree(copy)
    assert len(list(task.query_texts)) == len(task.query_ids), "mapped files outlive their names"


@pytest.mark.parametrize("name", ["passages.arrow", "row_uid.npy", "manifest.json"])
def test_a_damaged_copy_is_made_again(
    folder: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stage = str(tmp_path / "stage")
    harm(Store.open(folder, stage=stage).folder / name)
    same(Store.open(folder, stage=stage), Store(folder))
    assert len(re.findall(COPYING, capfd.readouterr().err)) == 2


def test_what_a_killed_process_left_is_removed(folder: Path, tmp_path: Path) -> None:
    name = Store(folder).fingerprint[:32]
    left = tmp_path / "stage" / f".{name}.0123abcd.part"
    left.mkdir(parents=True)
    (left / "passages.arrow").write_bytes(b"half")
    Store.open(folder, stage=str(left.parent))
    assert list(left.parent.iterdir()) == [left.parent / name]


def test_a_store_that_has_changed_is_not_copied(folder: Path, tmp_path: Path) -> None:
    harm(folder / "queries.arrow")
    with pytest.raises(UserError, match=rf"^{folder}/queries.arrow: has changed since"):
        Store.open(folder, stage=str(tmp_path / "stage"))
    assert list((tmp_path / "stage").iterdir()) == []


def test_a_stage_that_cannot_be_used_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"^stage {tmp_path}/file: is a file; name a folder"):
        Store.open(folder, stage=str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"environment has no \$NOT_SET on this machine; set it"):
        Store.open(folder, stage="$NOT_SET/stores")
    monkeypatch.setenv("OWN_DISK", str(tmp_path))
    assert Store.open(folder, stage="$OWN_DISK/stores").folder.parent == tmp_path / "stores"
    closed = tmp_path / "closed"
    closed.mkdir()
    with (
        nobody(closed),
        pytest.raises(UserError, match=rf"^{closed}/s: cannot be written: Permission denied"),
    ):
        Store.open(folder, stage=str(closed / "s"))


def test_a_full_disk_is_named_with_what_is_needed(folder: Path, tmp_path: Path) -> None:
    message = r"cannot be written: No space left .*\(about [\d.]+ kB needed, [\d.]+ kB free\); make"
    with disk(tmp_path / "disk", "size=32k") as stage:
        with pytest.raises(UserError, match=rf"^{stage}/s: {message}"):
            Store.open(folder, stage=str(stage / "s"))
        assert list((stage / "s").iterdir()) == []


def bytes_read() -> int:
    """What this process has read by calls, not by pages of mapped files."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_the_index_of_a_training_set_is_read_ahead(folder: Path) -> None:
    Store.open(folder)  # verifies it
    begin = bytes_read()
    Store.open(folder)
    opened = bytes_read()
    open_sources([str(folder)])
    more = bytes_read() - opened - (opened - begin)
    index = sum(file.stat().st_size for file in folder.glob("*.npy"))
    assert index <= more < index + 4096 < index + (folder / "queries.arrow").stat().st_size
