"""The best k: against a full sort, ties included, with FAISS and without, for any shards."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.candidates import keys_of
from hybrid_dist.evaluation.search import Searcher, TopK, check_index, top_k
from hybrid_dist.evaluation.tiles import PASSAGES, SHARED_TILES, Grid, Shard, free_memory
from hybrid_dist.runtime.faiss_build import FaissBuild
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import exact_vectors, order, unit_vectors
from tests.support.host_reads import counted_reads

ALONE = Ranks()


def search(
    queries: np.ndarray, passages: np.ndarray, k: int, shards: int = 1, grid: Grid | None = None
) -> TopK:
    grid = grid or Grid()
    held = grid.shards(len(passages), shards)
    parts = [Shard.of(h.start, passages[h.start : h.stop], ALONE.device, grid) for h in held]
    return top_k(queries, parts, k, ALONE)


@pytest.fixture(params=["faiss", "torch"])
def proposer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs with FAISS and as if it were not installed."""
    name: str = request.param
    if name == "torch":
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    else:
        pytest.importorskip("faiss")
    return name


def test_top_k_equals_a_full_sort(proposer: str) -> None:
    """Products are exact, and most of them tie."""
    rng = np.random.default_rng(1)
    queries, passages = exact_vectors(rng, 600, 4), exact_vectors(rng, 2 * PASSAGES + 9, 4)
    top = search(queries, passages, 10)
    assert top.method.startswith(proposer)
    scores = queries @ passages.T
    best = order(scores)[:, :10]
    assert np.array_equal(top.numbers, best)
    assert np.array_equal(top.scores, np.take_along_axis(scores, best, 1))


def test_any_sharding_and_backend_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    queries, passages = unit_vectors(rng, 300), unit_vectors(rng, 8 * PASSAGES + 50)
    passages[rng.integers(0, len(passages), 500)] = passages[rng.integers(0, len(passages), 500)]
    passages[rng.integers(0, len(passages), 60)] = passages[5]
    queries[:20] = passages[5]
    alone = search(queries, passages, 10)
    for shards in (2, 3, 8):
        top = search(queries, passages, 10, shards)
        assert top.numbers.tobytes() == alone.numbers.tobytes()
        assert top.scores.tobytes() == alone.scores.tobytes()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    gpu = Grid.of(torch.device("cuda"), 300, 2048 * SHARED_TILES)
    for grid, shards in ((Grid(), 2), (gpu, 1), (gpu, 2), (gpu, 3), (gpu, 8)):
        with counted_reads() as reads:
            top = search(queries, passages, 10, shards, grid)
        assert top.numbers.tobytes() == alone.numbers.tobytes()
        assert top.scores.tobytes() == alone.scores.tobytes()
        searched = min(shards, -(-len(passages) // grid.rows))
        assert reads == ["cpu"] * searched, "proposals, per shard; threads fetch their vectors"


def test_fp16_passages_are_searched_by_their_rounded_values(
    proposer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_dist.evaluation.faiss_backend.FP32_BLOCK", PASSAGES)
    rng = np.random.default_rng(6)
    queries, passages = unit_vectors(rng, 300), unit_vectors(rng, 3 * PASSAGES + 50)
    passages[rng.integers(0, len(passages), 900)] = passages[rng.integers(0, len(passages), 900)]
    half = passages.astype(np.float16)
    top = search(queries, half, 10, shards=2)
    rounded = search(queries, half.astype(np.float32), 10)
    assert top.method.startswith(proposer)
    assert top.numbers.tobytes() == rounded.numbers.tobytes()
    assert top.scores.tobytes() == rounded.scores.tobytes()
    assert top.scores.tobytes() != search(queries, passages, 10).scores.tobytes()


def test_of_equal_passages_the_first_are_returned(proposer: str) -> None:
    one = unit_vectors(np.random.default_rng(3), 1)
    top = search(one.repeat(5, 0), one.repeat(3 * PASSAGES, 0), 10, shards=3)
    assert top.numbers.tolist() == [list(range(10))] * 5


def test_a_pool_of_fewer_than_k(proposer: str) -> None:
    rng = np.random.default_rng(4)
    top = search(unit_vectors(rng, 2), unit_vectors(rng, 3), 10, shards=2)
    assert (top.numbers >= 0).sum(axis=1).tolist() == [3, 3]
    assert (top.numbers[:, 3:] == -1).all()


@given(
    values=st.lists(st.sampled_from([-1.5, -1e-40, -0.0, 0.0, 1e-40, 0.5]), min_size=1, max_size=9)
)
def test_keys_order_by_score_then_row(values: list[float]) -> None:
    keys = keys_of(torch.tensor(values), torch.arange(len(values)))
    assert len(set(keys.tolist())) == len(values)
    by_key = torch.argsort(keys, descending=True).tolist()
    assert by_key == sorted(range(len(values)), key=lambda row: (-values[row], row))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    passages=st.integers(1, 60),
    dimension=st.integers(1, 6),
    k=st.integers(1, 12),
)
def test_small_pools_equal_a_full_sort(seed: int, passages: int, dimension: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    query_vectors, passage_vectors = (
        exact_vectors(rng, 3, dimension),
        exact_vectors(rng, passages, dimension),
    )
    top = search(query_vectors, passage_vectors, k)
    expected = order(query_vectors @ passage_vectors.T)[:, :k]
    assert np.array_equal(top.numbers[:, : expected.shape[1]], expected)


def test_an_approximate_index_states_its_recall_and_rescores() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(7)
    queries, passages = unit_vectors(rng, 300), unit_vectors(rng, 3000)
    cut = 2 * PASSAGES
    shards = [
        Shard.of(0, passages[:cut], ALONE.device),
        Shard.of(cut, passages[cut:], ALONE.device),
    ]
    top = top_k(queries, shards, 10, ALONE, "IVF32,Flat")
    exact = top_k(queries, shards, 10, ALONE)
    there = top.numbers >= 0
    products = np.einsum("qd,qkd->qk", queries, passages[top.numbers])
    assert top.scores[there] == pytest.approx(products[there], abs=1e-6)
    assert (top.scores[~there] == -np.inf).all()
    some = np.linspace(0, 299, 200).astype(int)
    pairs = zip(top.numbers[some], exact.numbers[some], strict=True)
    share = sum(len({*one} & {*other} - {-1}) for one, other in pairs) / 2000
    assert 0 < share < 0.9, "one list of 32 is looked into"
    method = f"IVF32,Flat, which finds {share:.2%} of the best 10 of 200 queries"
    assert top.method.endswith(method)


@pytest.mark.parametrize("index", ["Flt", "IVF32,PQ5"])
def test_an_index_that_faiss_cannot_build_is_refused(index: str) -> None:
    pytest.importorskip("faiss")
    with pytest.raises(UserError, match=f"--index {index}: faiss cannot build this index"):
        check_index(index, 32)


def test_an_index_with_more_clusters_than_passages_is_refused() -> None:
    pytest.importorskip("faiss")
    vectors = unit_vectors(np.random.default_rng(1), 20)
    with pytest.raises(UserError, match="--index IVF64,Flat: faiss cannot build this index"):
        top_k(vectors, [Shard.of(0, vectors, ALONE.device)], 5, ALONE, "IVF64,Flat")


def test_an_approximate_index_needs_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="--index IVF32,Flat: faiss is not installed; pip "):
        check_index("IVF32,Flat", 32)
    check_index("Flat", 32)


BROKEN = r"faiss cannot be imported \(libcudart.so.12: cannot open shared object file\)"


@pytest.fixture
def _broken_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As faiss-gpu on a machine without CUDA's libraries."""
    message = "libcudart.so.12: cannot open shared object file"
    (tmp_path / "faiss.py").write_text(f"raise ImportError({message!r})")
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_broken_faiss")
def test_a_faiss_that_cannot_be_imported_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit_vectors(np.random.default_rng(1), 20)
    top = search(vectors, vectors, 5)
    assert top.method.startswith("torch")
    assert top.method.endswith(
        "(faiss cannot be imported (libcudart.so.12: cannot open shared object file))"
    )
    with pytest.raises(UserError, match=f"--search faiss: {BROKEN}; pip "):
        Searcher.choose("faiss", "Flat", ALONE)
    with pytest.raises(UserError, match=f"--index IVF4,Flat: {BROKEN}; pip "):
        check_index("IVF4,Flat", 32)
    monkeypatch.setattr(
        "hybrid_dist.evaluation.search.try_faiss", lambda card: FaissBuild(problem="does not run")
    )
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    for device in ("cpu", "cuda"):
        with pytest.raises(UserError, match=f"--index IVF4,Flat: {BROKEN}; pip "):
            Searcher.choose("auto", "IVF4,Flat", Ranks(device=torch.device(device)))


def test_all_ranks_refuse_an_index_that_one_cannot_search(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Ranks):
        """The other rank's card does not serve, and its faiss cannot be imported."""

        def gather(self, thing: Any) -> list[Any]:
            return [thing, answers.pop(0)]

    answers = ["does not run", "faiss cannot be imported (no libcudart)"]
    monkeypatch.setattr("hybrid_dist.evaluation.search.try_faiss", lambda card: FaissBuild())
    monkeypatch.setattr("hybrid_dist.evaluation.search.import_problem", lambda: "")
    with pytest.raises(UserError, match="--index IVF4,Flat: faiss cannot be imported"):
        Searcher.choose("auto", "IVF4,Flat", Two(device=torch.device("cuda"), world=2))


def test_memory_that_torch_caches_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = [3]
    monkeypatch.setattr("torch.cuda.empty_cache", cached.clear)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (8 - sum(cached), 8))
    assert free_memory(torch.device("cuda")) == 8
