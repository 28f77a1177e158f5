"""Vectors on disk: embedded once, safe block by block, and never another model's."""

import fcntl
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import vector_cache
from hybrid_dist.evaluation.vector_cache import CachedVectors
from hybrid_dist.runtime.ranks import Ranks
from tests.support.disks import disk
from tests.support.evaluation_problems import parallel_task, unit_vectors
from tests.support.thread_ranks import together

TASK = parallel_task(languages=2, per_language=35)
ALL = slice(None)


class Embedder:
    """Looks vectors up by the number in the text, and may stop after a number of texts."""

    name = "embedder"

    def __init__(self, fingerprint: str = "one", stops_after: int = 10**9) -> None:
        self.fingerprint, self._left, self.embedded = fingerprint, stops_after, 0
        self._vectors = unit_vectors(np.random.default_rng(len(fingerprint)), 70)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._embed(TASK.query_texts, texts)

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return -self._embed(TASK.passage_texts, texts)

    def _embed(self, all_texts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        self.embedded += len(texts)
        if self.embedded > self._left:
            raise KeyboardInterrupt
        return self._vectors[[all_texts.index(text) for text in texts]]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_cache, "BLOCK", 8)


def cached(folder: Path, embedder: Embedder, messages: list[str] | None = None) -> CachedVectors:
    return CachedVectors(
        TASK, embedder, folder, Ranks(), (messages if messages is not None else []).append
    )


def right(vectors: CachedVectors, embedder: Embedder) -> None:
    fresh = Embedder(embedder.fingerprint)
    assert (vectors.queries(ALL) == fresh.encode_queries(TASK.query_texts)).all()
    assert (vectors.passages(ALL) == fresh.encode_passages(TASK.passage_texts)).all()


def test_cached_texts_are_not_embedded_again(tmp_path: Path) -> None:
    first, second, messages = Embedder(), Embedder(), list[str]()
    right(cached(tmp_path, first), first)
    assert first.embedded == 140
    right(cached(tmp_path, second, messages), second)
    assert second.embedded == 0
    assert messages[0].startswith("toy: 70 of 70 queries are in ")


def test_an_interrupted_evaluation_continues_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, Embedder(stops_after=100))
    rest = Embedder()
    right(cached(tmp_path, rest), rest)
    assert rest.embedded == 140 - (70 + 24)  # three blocks of passages were whole


def test_other_weights_and_other_texts_have_folders_of_their_own(tmp_path: Path) -> None:
    for embedder in (Embedder("one"), Embedder("other")):
        right(cached(tmp_path, embedder), embedder)
        assert embedder.embedded == 140
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "unmark"])
def test_damaged_blocks_are_embedded_again(tmp_path: Path, harm: str) -> None:
    cached(tmp_path, Embedder())
    (file,) = tmp_path.glob("*/passages.npy")
    content = bytearray(file.read_bytes())
    if harm == "flip":
        content[-1] ^= 1
        file.write_bytes(content)
    elif harm == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        (file.with_suffix(".blocks") / "2").unlink()
    again = Embedder()
    right(cached(tmp_path, again), again)
    assert again.embedded == {"flip": 6, "cut": 70, "unmark": 8}[harm]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"/file: cannot be written: Not a directory"):
        cached(tmp_path / "file", Embedder())


def test_a_full_disk_is_refused_before_texts_are_embedded(tmp_path: Path) -> None:
    embedder = Embedder()
    with (
        disk(tmp_path / "disk", "size=20k") as folder,
        pytest.raises(UserError, match=r"disk: .*No space left .* needed, .* free\); .* --cache"),
    ):
        cached(folder, embedder)
    assert embedder.embedded == 0


def test_complete_blocks_survive_a_disk_that_fills_up(tmp_path: Path) -> None:
    """Another program fills the disk; once there is space again, the rest is embedded."""

    class Filling(Embedder):
        def _embed(self, all_texts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
            if self.embedded > 90:
                with (folder / "other").open("ab", 0) as other, suppress(OSError):
                    while other.write(bytes(4096)):
                        pass
            return super()._embed(all_texts, texts)

    first, rest = Filling(), Embedder()
    first._vectors = rest._vectors = unit_vectors(np.random.default_rng(3), 70, 1024)
    with disk(tmp_path / "disk", "size=2m") as folder:
        with pytest.raises(UserError, match=r"disk: cannot be written: No space left .* free"):
            cached(folder, first)
        assert not [*folder.rglob("*.part")]
        (folder / "other").unlink()
        vectors = cached(folder, rest)
        assert (vectors.queries(ALL) == rest._vectors).all()
        assert (vectors.passages(ALL) == -rest._vectors).all()
        assert 0 < rest.embedded < 70


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a signal, or at Linux's limit of 2 GB per write."""
    pwrite, left = os.pwrite, list[int]()

    def cut(file: int, data: bytes, at: int) -> int:
        written = pwrite(file, data[:1000], at)
        left.append(len(data) - written)
        return written

    monkeypatch.setattr(os, "pwrite", cut)
    embedder = Embedder()
    right(cached(tmp_path, embedder), embedder)
    assert sum(map(bool, left)) >= 16, "every full block takes more than one write"


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_block_that_another_machine_overwrote_is_embedded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """As on NFS, where a page of two blocks may be written from a cache without the other's."""
    pwrite, left = os.pwrite, [lost]

    def overwritten(file: int, data: bytes, at: int) -> int:
        assert fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DSYNC, "no more is written than the block"
        block = at > 1000 and Path(f"/proc/self/fd/{file}").readlink().stem == "passages"
        if block and left[0]:
            left[0] -= 1
            data = bytes(len(data))
        return pwrite(file, data, at)

    monkeypatch.setattr(os, "pwrite", overwritten)
    monkeypatch.setattr(vector_cache, "BLOCK", 35)
    embedders = [Embedder(), Embedder()]
    messages = list[str]()

    def rank(number: int, ranks: Ranks) -> None:
        folder, log = tmp_path / "cache", messages.append
        right(CachedVectors(TASK, embedders[number], folder, ranks, log), embedders[number])

    if lost < vector_cache.ATTEMPTS:
        together(2, rank)
        assert messages.count("toy: 1 blocks of passages were damaged on the disk") == 2 * lost
        assert sum(embedder.embedded for embedder in embedders) == 140 + 35 * lost
    else:
        with pytest.raises(UserError, match="cache: what one machine writes there is not what"):
            together(2, rank)


def test_nothing_is_written_through_a_mapping() -> None:
    """A full disk would end the process by a signal, without a message."""
    writes = re.compile(
        r"""mmap_mode=["'](r\+|w\+)|open_memmap|ACCESS_(WRITE|DEFAULT)|PROT_WRITE"""
    )
    files = [*Path(vector_cache.__file__).parents[1].rglob("*.py")]
    assert len(files) > 100
    assert [file for file in files if writes.search(file.read_text("utf-8"))] == []
