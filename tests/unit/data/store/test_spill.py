"""Spilled batches are read key by key, and their disk space is freed as keys are done."""

from pathlib import Path

import pyarrow as pa
import pytest

from hybrid_dist.data.store import spill
from hybrid_dist.data.store.spill import Spill

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string())])
KEYS = 7


def batch(key: int, turn: int) -> pa.RecordBatch:
    numbers = [100 * key + turn] * (1 + key)
    return pa.record_batch([numbers, [str(n) for n in numbers]], schema=SCHEMA)


@pytest.fixture(params=[3, 64], ids=["keys share files", "each key has a file"])
def filled(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Spill:
    monkeypatch.setattr(spill, "FILES", request.param)
    monkeypatch.setattr(spill, "WINDOW", 2)
    aside = Spill(tmp_path / "aside", SCHEMA)
    for turn in range(5):
        for key in range(KEYS):
            aside.put(key, batch(key, turn))
    aside.finish()
    return aside


def test_batches_are_read_by_key_in_the_order_of_writing(filled: Spill) -> None:
    for key in range(KEYS):
        wanted = [batch(key, turn) for turn in range(5)]
        assert list(filled.read(key)) == wanted
        texts = [batch.column("text") for batch in filled.read(key, ["text"])]
        assert texts == [one.column("text") for one in wanted]
        assert filled.bytes[key] == sum(one.nbytes for one in wanted)


def test_space_is_given_back_when_the_keys_of_a_file_are_done(
    filled: Spill, tmp_path: Path
) -> None:
    files = len(list((tmp_path / "aside").iterdir()))
    held = list(filled.read(KEYS - 1))  # mapped, so it outlives its file
    for key in range(KEYS):
        filled.drop(key)
        left = len(list((tmp_path / "aside").iterdir()))
        assert left == min(files, KEYS - 1 - key)
    assert held == [batch(KEYS - 1, turn) for turn in range(5)]


def test_the_folder_is_removed_with_the_object(filled: Spill, tmp_path: Path) -> None:
    assert (tmp_path / "aside").exists()
    filled.remove()
    assert not (tmp_path / "aside").exists()
