"""FAISS on a card: the bits of torch and of the CPU, its limits, and an index."""

import numpy as np
import pytest
import torch

from hybrid_dist.evaluation.faiss_backend import GPU_MOST, Faiss, FaissOnCards
from hybrid_dist.evaluation.search import Searcher, TopK, top_k
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.runtime.faiss_build import try_faiss
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import unit_vectors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here")
CARDS = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
DTYPES = [np.float32, np.float16]


@pytest.fixture(autouse=True)
def _needs_faiss_for_gpus() -> None:
    if problem := try_faiss(0).problem:
        pytest.skip(problem)


def vectors(dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Queries and passages, of which some are equal."""
    rng = np.random.default_rng(2)
    queries, passages = unit_vectors(rng, 700), unit_vectors(rng, 50_000)
    passages[rng.integers(0, 50_000, 5000)] = passages[rng.integers(0, 50_000, 5000)]
    passages[rng.integers(0, 50_000, 60)] = queries[7]
    return queries, passages.astype(dtype)


def searched(
    searcher: Searcher, queries: np.ndarray, passages: np.ndarray, k: int = 10, shards: int = 1
) -> TopK:
    device = torch.device("cpu") if type(searcher.faiss) is Faiss else CARDS[0]
    grid = Grid.of(device, len(queries), len(passages))
    held = grid.shards(len(passages), shards)
    parts = [Shard.of(h.start, passages[h.start : h.stop], device, grid) for h in held]
    return top_k(queries, parts, k, Ranks(device=device), searcher=searcher)


def assert_equal(one: TopK, other: TopK) -> None:
    assert one.numbers.tobytes() == other.numbers.tobytes()
    assert one.scores.tobytes() == other.scores.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_flat_gives_the_bits_of_torch_and_of_the_cpu(dtype: type) -> None:
    queries, passages = vectors(dtype)
    on_card = searched(Searcher(FaissOnCards(CARDS[:1])), queries, passages)
    assert on_card.method.startswith("faiss") and on_card.method.endswith(" on cuda:0, exact")
    for other in (Searcher(None), Searcher(Faiss())):
        assert_equal(on_card, searched(other, queries, passages))
    for shards in (2, 3, 8):
        assert_equal(
            on_card, searched(Searcher(FaissOnCards(CARDS[:1])), queries, passages, 10, shards)
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shard_in_the_hosts_memory_is_searched_in_parts(
    dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, passages = vectors(dtype)
    expected = searched(Searcher(None), queries, passages)
    monkeypatch.setattr("hybrid_dist.evaluation.tiles.free_memory", lambda device: 0)
    monkeypatch.setattr(
        "hybrid_dist.evaluation.faiss_backend.PART_BYTES", 7000 * passages[0].nbytes
    )
    assert_equal(searched(Searcher(FaissOnCards(CARDS[:1])), queries, passages), expected)
    assert_equal(searched(Searcher(None), queries, passages), expected)


def test_as_many_as_faiss_returns_and_more() -> None:
    queries, passages = vectors(np.float32)
    for k in (GPU_MOST - 16, GPU_MOST):
        by_faiss = searched(Searcher(FaissOnCards(CARDS[:1])), queries[:50], passages, k)
        assert_equal(by_faiss, searched(Searcher(None), queries[:50], passages, k))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", ["IVF64,Flat", "IVF64,PQ8", "PCA16,IVF64,Flat", "HNSW16"])
def test_an_index_states_its_recall_and_where_it_is(index: str, dtype: type) -> None:
    queries, passages = vectors(dtype)
    top = searched(Searcher(FaissOnCards(CARDS[:1]), index), queries, passages)
    assert f"{index}, which finds " in top.method
    assert ("the CPU, as it has no such index" in top.method) == (index == "HNSW16")


@pytest.mark.skipif(len(CARDS) < 2, reason="one GPU is visible here, several are needed")
def test_an_index_on_a_card_that_is_not_current() -> None:
    queries, passages = vectors(np.float32)
    shard = Shard.of(0, passages, CARDS[1])
    faiss = FaissOnCards(CARDS[1:2])
    scores, _ = faiss.search(faiss.build("Flat", shard, 10), queries, 10)
    assert scores == pytest.approx(faiss.exhaustive(queries, shard, 10)[0], abs=1e-5)


@pytest.mark.skipif(len(CARDS) < 2, reason="one GPU is visible here, several are needed")
@pytest.mark.parametrize("dtype", DTYPES)
def test_several_cards_of_one_process_share_the_vectors(dtype: type) -> None:
    queries, passages = vectors(dtype)
    spread = searched(Searcher(FaissOnCards(CARDS)), queries, passages)
    assert f" on {len(CARDS)} GPUs" in spread.method
    assert_equal(spread, searched(Searcher(None), queries, passages))
