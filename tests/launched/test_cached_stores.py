"""Runs on pair files: the ranks build one store together, and the next start reuses it."""

from pathlib import Path

import numpy as np

from tests.support.launch import train
from tests.support.runs import column, options, succeed


def test_two_ranks_build_one_store_and_the_next_start_reuses_it(toy: Path, tmp_path: Path) -> None:
    """The next start reads a copy on the disk of the machine, which one of its ranks makes."""
    cache = tmp_path / "cache"
    changed = {"data__cache_dir": str(cache), "train__steps": "4"}
    first = succeed(train(options(toy, tmp_path, "first", **changed), "cpu", 2))
    (store,) = cache.iterdir()
    notice = f"{toy}/train.jsonl: store {store}, "
    assert first.output.count(notice) == 1
    assert f"{notice}built now" in first.output
    written = {file.name: file.stat().st_mtime_ns for file in store.iterdir()}

    changed["data__stage"] = str(tmp_path / "own disk")
    second = succeed(train(options(toy, tmp_path, "second", **changed), "cpu", 2))
    (copy,) = (tmp_path / "own disk").iterdir()
    assert f"{toy}/train.jsonl: store {copy}, reused from an earlier start" in second.output
    assert second.output.count(f"{store}: copying ") == 1
    assert {file.name: file.stat().st_mtime_ns for file in store.iterdir()} == written
    built, reused = (column(tmp_path, name, "train/loss") for name in ("first", "second"))
    assert len(built) == 4
    np.testing.assert_array_equal(built, reused)
