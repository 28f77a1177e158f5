"""One copy of a task for the processes of a machine: read once, mapped by all, gone afterwards."""

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.shared_task import shared_task
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import TIES, Task, from_collection
from hybrid_dist.reporting.replacing import of_task
from tests.support.vector_files import write_pairs

WORLD = 3


def opened_twice(rank: int, spec: str) -> tuple[int, list[str]]:
    """In a process of a launcher's: how many tasks it maps that have no name any more, and their
    contents."""
    os.environ.update(LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(WORLD))
    tasks = [load_task(spec, ties) for ties in TIES]
    unnamed = Path("/proc/self/maps").read_text().count("/passages.arrow (deleted)")
    return unnamed, [str(of_task(task)["content of the task"]) for task in tasks]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, and the environment of the first of two ranks."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    return folder


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_of_a_launcher_map_one_copy_and_leave_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, folder = write_pairs(tmp_path, 30), tmp_path / "tmp"
    expected = [of_task(load_task(spec, ties))["content of the task"] for ties in TIES]
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    context = multiprocessing.get_context("fork")
    all_here = context.Barrier(WORLD).wait
    with ProcessPoolExecutor(WORLD, context, initializer=all_here) as pool:
        results = list(pool.map(opened_twice, range(WORLD), [spec] * WORLD))
    assert [contents for _, contents in results] == [expected] * WORLD
    assert max(unnamed for unnamed, _ in results) == len(TIES), "the last one to open both"
    (own,) = folder.iterdir()
    assert list(own.iterdir()) == []


def test_the_files_are_read_once(temporary: Path, tmp_path: Path) -> None:
    name, _, path = write_pairs(tmp_path, 30).partition(":")
    collection, times = SOURCES[name].collection, list[int]()
    assert collection is not None
    task = from_collection(name, path, collection([path], Reading()))

    def read() -> Task:
        times.append(1)
        return task

    opened = shared_task(read, "called", "where")
    assert (opened.name, opened.path, len(times)) == ("called", "where", 1)
    assert list(opened.passage_texts) == list(task.passage_texts)
    (own,) = temporary.iterdir()
    assert own.stat().st_mode & 0o077 == 0, "nobody else can read it"
    assert [file.name for file in own.rglob("opened-*")] == ["opened-0"], "another is expected"


def test_what_cannot_be_read_is_refused_by_each(temporary: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"no file"):
            load_task(f"toy:{temporary}/absent")
    assert not [file for file in temporary.rglob("*") if file.is_file()]


def test_a_folder_of_another_user_is_not_used(temporary: Path, tmp_path: Path) -> None:
    spec, folder = write_pairs(tmp_path, 4), temporary / f"hybrid_dist-tasks-{os.getuid()}"
    folder.symlink_to(tmp_path)
    with pytest.raises(UserError, match=rf"^{folder}: belongs to another user; set TMPDIR"):
        load_task(spec)
