"""FAISS on cards, with a CPU's functions under the names of a GPU's: calls, limits, fallbacks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import faiss_backend, search
from hybrid_dist.evaluation.faiss_backend import TEMPORARY_BYTES, Faiss, FaissOnCards
from hybrid_dist.evaluation.search import Searcher, TopK, top_k
from hybrid_dist.evaluation.tiles import PASSAGES, Grid, Shard
from hybrid_dist.runtime import faiss_build, progress_bar
from hybrid_dist.runtime.cores import own_cores
from hybrid_dist.runtime.faiss_build import FaissBuild
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import exact_vectors, order, unit_vectors

faiss = pytest.importorskip("faiss")
ALONE = Ranks()
CPU = torch.device("cpu")


class Resources:
    def setTempMemory(self, size: int) -> None:
        self.temporary = size


class Options:
    use_cuvs, useFloat16, shard = False, False, False


class OneCard:
    """An index on a card, which takes tensors in fp32 alone."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def getDevice(self) -> int:
        return 0

    def train(self, vectors: torch.Tensor) -> None:
        assert isinstance(vectors, torch.Tensor) and vectors.dtype == torch.float32
        self.index.train(vectors.numpy())

    def add(self, vectors: torch.Tensor) -> None:
        assert isinstance(vectors, torch.Tensor)
        self.index.add(vectors.numpy())

    def search(self, queries: torch.Tensor, k: int) -> list[torch.Tensor]:
        assert isinstance(queries, torch.Tensor)
        return [torch.from_numpy(array) for array in self.index.search(queries.numpy(), k)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Lists the calls of functions for GPUs, which here work on a CPU."""
    import faiss.contrib.torch_utils

    listed: list[tuple[str, Any]] = []

    def knn_gpu(
        resources: Resources, queries: torch.Tensor, passages: torch.Tensor, k: int, **rest: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert queries.dtype == passages.dtype and rest["metric"] == faiss.METRIC_INNER_PRODUCT
        listed.append(("knn", len(passages)))
        both = faiss.knn(queries.float(), passages.float(), k, metric=rest["metric"])
        return torch.as_tensor(both[0]), torch.as_tensor(both[1])

    def to_gpu(resources: Resources, device: int, index: Any, options: Options) -> OneCard:
        if not isinstance(index, faiss.IndexFlat | faiss.IndexIVF):
            raise RuntimeError("Error: This index type is not implemented on GPU.")
        listed.append(("one", options))
        return OneCard(index)

    def to_gpus(all_resources: Any, index: Any, options: Options, gpus: list[int]) -> Any:
        listed.append(("several", (len(all_resources), options, gpus, index.ntotal)))
        return index

    for name, value in {
        "StandardGpuResources": Resources,
        "GpuClonerOptions": Options,
        "GpuMultipleClonerOptions": Options,
        "knn_gpu": knn_gpu,
        "index_cpu_to_gpu": to_gpu,
        "index_cpu_to_gpu_multiple_py": to_gpus,
    }.items():
        monkeypatch.setattr(faiss, name, value, raising=False)
    monkeypatch.setattr(faiss_backend, "OWN", threading.local())
    return listed


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lists how many queries torch searches, each time."""
    listed: list[int] = []
    plain = search.propose_by_tiles

    def counted(queries: np.ndarray, shard: Shard, count: int) -> np.ndarray:
        listed.append(len(queries))
        return plain(queries, shard, count)

    monkeypatch.setattr(search, "propose_by_tiles", counted)
    return listed


def problem(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    queries, passages = unit_vectors(rng, 200), unit_vectors(rng, 3 * PASSAGES + 50)
    passages[rng.integers(0, len(passages), 500)] = passages[rng.integers(0, len(passages), 500)]
    passages[rng.integers(0, len(passages), 60)] = queries[7]
    return queries, passages.astype(dtype)


def by(
    backend: Faiss | None, queries: np.ndarray, shard: Shard, k: int, index: str = "Flat"
) -> TopK:
    return top_k(queries, [shard], k, ALONE, searcher=Searcher(backend, index))


def assert_equal(one: TopK, other: TopK) -> None:
    assert one.numbers.tobytes() == other.numbers.tobytes()
    assert one.scores.tobytes() == other.scores.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_card_gives_the_bits_of_torch_and_of_the_cpu(
    calls: list[tuple[str, Any]], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the card queries are rounded to fp16 with fp16 passages, and there are exact ties."""
    monkeypatch.setattr(FaissOnCards, "at_once", 90)
    queries, passages = problem(dtype)
    shard = Shard.of(0, passages, CPU)
    expected = by(None, queries, shard, 10)
    on_card = by(FaissOnCards([CPU]), queries, shard, 10)
    assert calls == [("knn", len(passages))] * 3, "the whole shard, in place"
    assert on_card.method == f"faiss {faiss.__version__} on cpu, exact"
    assert_equal(on_card, expected)
    assert_equal(by(Faiss(), queries, shard, 10), expected)


@pytest.mark.parametrize("index", [search.EXACT, "IVF4,Flat"])
def test_a_search_shows_its_progress(
    index: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts of passages that are converted, and queries that torch searches again, count once."""
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(faiss_backend, "FP32_BLOCK", PASSAGES)
    monkeypatch.setattr(Faiss, "at_once", 90)
    queries, passages = problem(np.float16)
    with progress_bar.shown():
        by(Faiss(), queries, Shard.of(0, passages, CPU), 10, index)
    lines = [line.split(", ")[0] for line in capsys.readouterr().err.splitlines()]
    done = [int(line.split()[1]) for line in lines if line.startswith("searching")]
    if index != search.EXACT:
        assert lines[0] == f"indexing passages: {len(passages):,} of {len(passages):,}"
        done = done[: -(-len(queries) // 90)]  # what follows measures its recall
    assert done == sorted(done) and done[-1] == len(queries) and len(done) > 2


def trap(accurate: bool) -> tuple[np.ndarray, np.ndarray]:
    """A query and passages [33, 4], the best of which is not among the best 26 where the query is
    rounded to fp16. The others' scores change by little (accurate), or by more than they differ."""
    rng = np.random.default_rng(0)
    query = unit_vectors(rng, 1, 4)
    pool = unit_vectors(rng, 60_000, 4).astype(np.float16)
    pool = pool[np.abs(pool @ query[0] - 0.3) < 0.02]
    exact, rounded = (pool.astype(float) @ one[0] for one in (query, query.astype(np.float16)))
    off = np.abs(exact - rounded)
    gap = exact[:, None] - rounded  # between the tenth and the last proposal, [tenth, last]
    twice = 2 * np.maximum(off[:, None], off)
    pairs = (gap > 2e-5) & (exact[:, None] > exact + 1e-6) & (rounded[:, None] > rounded + 1e-6)
    pairs &= twice < 0.9 * gap if accurate else twice > 1.1 * gap
    for best in np.argsort(rounded - exact)[:300]:  # it loses most
        tenth, last = exact < exact[best] - 1e-6, rounded > rounded[best] + 1e-6
        found = np.argwhere(pairs & tenth[:, None] & last)
        if len(found):
            one, other = found[0]
            return query, pool[[other] * 20 + [one] * 12 + [best]]
    raise AssertionError("no such passages")


def test_queries_rounded_to_fp16_lose_no_passage(calls: list[tuple[str, Any]]) -> None:
    query, passages = trap(accurate=True)
    shard = Shard.of(0, passages, CPU)
    top = by(FaissOnCards([CPU]), query, shard, 10)
    assert top.numbers[0].tolist() == [32, *range(20, 29)]
    assert_equal(top, by(None, query, shard, 10))


def test_a_precision_below_fp32_is_noticed(
    calls: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as TF32, where fp32 was expected."""
    plain = faiss.knn_gpu

    def rounded(resources: Any, queries: Any, passages: Any, k: int, **rest: Any) -> Any:
        return plain(resources, queries.half().float(), passages, k, **rest)

    monkeypatch.setattr(faiss, "knn_gpu", rounded)
    query, passages = trap(accurate=False)
    shard = Shard.of(0, passages.astype(np.float32), CPU)
    top = by(FaissOnCards([CPU]), query, shard, 10)
    assert top.numbers[0].tolist() == [32, *range(20, 29)]


def test_a_shard_larger_than_the_card_is_searched_in_parts(
    calls: list[tuple[str, Any]], again: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, passages = problem()
    expected = by(None, queries, Shard.of(0, passages, CPU), 10)
    monkeypatch.setattr("hybrid_dist.evaluation.tiles.free_memory", lambda device: 1e6)
    monkeypatch.setattr(faiss_backend, "PART_BYTES", 1000 * passages[0].nbytes)
    shard = Shard.of(0, passages, CPU)
    again.clear()
    assert_equal(by(FaissOnCards([CPU]), queries, shard, 10), expected)
    assert [rows for _, rows in calls] == [1000, 1000, 1000, 122]
    assert sum(again) < 20, "few queries are searched again"


def test_more_than_a_gpu_returns_is_searched_by_torch(
    calls: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, passages = problem()
    shard = Shard.of(0, passages, CPU)
    top = by(FaissOnCards([CPU]), queries[:5], shard, 2040)
    assert top.method.startswith("torch") and "returns at most 2,048 proposals" in top.method
    assert_equal(top, by(None, queries[:5], shard, 2040))
    assert not calls
    monkeypatch.setattr(Options, "use_cuvs", True)
    top = by(FaissOnCards([CPU]), queries[:5], shard, 2040)
    assert top.method == f"faiss {faiss.__version__} with cuVS on cpu, exact"
    assert calls == [("knn", len(passages))]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_index_is_trained_and_filled_on_the_card(
    calls: list[tuple[str, Any]], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss_backend, "ADDED", 1000)
    queries, passages = problem(dtype)
    shard = Shard.of(0, passages, CPU)
    top = by(FaissOnCards([CPU]), queries, shard, 10, "IVF32,Flat")
    (name, options) = calls[0]
    assert name == "one" and options.useFloat16 is (dtype == np.float16)
    assert_equal(top, by(Faiss(), queries, shard, 10, "IVF32,Flat"))
    assert f"faiss {faiss.__version__} on cpu: IVF32,Flat, which finds " in top.method


@pytest.mark.parametrize(
    ("index", "k", "reason"),
    [
        ("HNSW16", 10, "as it has no such index for GPUs"),
        ("IVF32,Flat", 2040, "as its GPU indexes return at most 2,048 passages"),
    ],
)
def test_an_index_that_gpus_do_not_have_is_searched_on_the_cpu(
    calls: list[tuple[str, Any]], index: str, k: int, reason: str
) -> None:
    queries, passages = problem()
    top = by(FaissOnCards([CPU]), queries[:5], Shard.of(0, passages, CPU), k, index)
    assert f" on the CPU, {reason}: {index}, which finds " in top.method
    assert not calls


@pytest.mark.parametrize(("on_host", "short"), [(True, 0), (False, 1), (False, 0)])
def test_an_index_that_the_card_has_no_room_for_is_on_the_cpu(
    calls: list[tuple[str, Any]], on_host: bool, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a second copy; where passages are in the host's memory, not even one fits."""
    queries, passages = problem()
    free = passages.nbytes + TEMPORARY_BYTES - short
    monkeypatch.setattr(faiss_backend, "free_memory", lambda device: free)
    shard = Shard(0, torch.from_numpy(passages), Grid(), CPU if on_host else None)
    top = by(FaissOnCards([CPU]), queries, shard, 10, "IVF32,Flat")
    there = on_host or short
    where = "the CPU, as the card has no room for it" if there else "cpu"
    assert f" on {where}: IVF32,Flat, which finds " in top.method
    assert bool(calls) is not bool(there)
    assert_equal(top, by(Faiss(), queries, shard, 10, "IVF32,Flat"))


def test_the_card_is_current_wherever_its_index_is_used(
    calls: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = FaissOnCards([torch.device("cuda", 1)]).on()
    assert isinstance(context, torch.cuda.device) and context.idx == 1
    current: list[torch.device] = []
    seen: list[str] = []

    @contextmanager
    def on(backend: FaissOnCards) -> Iterator[None]:
        current.append(backend.cards[0])
        yield
        current.pop()

    def noting(name: str) -> Any:
        plain = getattr(OneCard, name)

        def noted(index: OneCard, *args: Any) -> Any:
            assert current == [CPU], name
            seen.append(name)
            return plain(index, *args)

        return noted

    monkeypatch.setattr(FaissOnCards, "on", on, raising=False)
    for name in ("train", "add", "search"):
        monkeypatch.setattr(OneCard, name, noting(name))
    queries, passages = problem()
    by(FaissOnCards([CPU]), queries, Shard.of(0, passages, CPU), 10, "IVF32,Flat")
    assert seen == ["train", "add", "search"] and not current


@pytest.mark.parametrize("function", ["index_cpu_to_gpu_multiple_py", "index_factory"])
def test_what_several_cards_cannot_hold_is_refused_by_the_options_given(
    calls: list[tuple[str, Any]], function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--search faiss` has no --index to change."""

    def full(*args: Any) -> None:
        raise RuntimeError("Error: 'err' failed: out of memory")

    monkeypatch.setattr(faiss, function, full)
    queries, passages = problem()
    cards = [torch.device("cpu", 0), torch.device("cpu", 1)]
    refusal = (
        r"^faiss cannot .* \(.*out of memory\); leave --search and --index out, or start a process "
        "for each GPU$"
    )
    with pytest.raises(UserError, match=refusal):
        by(FaissOnCards(cards), queries, Shard.of(0, passages, CPU), 10)


@pytest.mark.parametrize("index", ["Flat", "IVF32,Flat"])
def test_one_process_with_several_cards_spreads_the_shard(
    calls: list[tuple[str, Any]], index: str
) -> None:
    queries, passages = problem(np.float16)
    shard = Shard.of(0, passages, CPU)
    top = by(
        FaissOnCards([torch.device("cpu", 0), torch.device("cpu", 1)]), queries, shard, 10, index
    )
    ((name, (resources, options, gpus, filled)),) = calls
    assert (name, resources, gpus, filled) == ("several", 2, [0, 1], len(passages))
    assert options.shard is True and options.useFloat16 is True
    assert " on 2 GPUs" in top.method
    assert_equal(top, by(Faiss(), queries, shard, 10, index))


def test_every_thread_has_resources_of_its_own(calls: list[tuple[str, Any]]) -> None:
    backend = FaissOnCards([CPU])
    mine, others = backend.resources(CPU), []
    thread = threading.Thread(target=lambda: others.append(backend.resources(CPU)))
    thread.start()
    thread.join()
    assert backend.resources(CPU) is mine is not others[0]
    assert mine.temporary == others[0].temporary == TEMPORARY_BYTES


def test_faiss_gets_this_processs_cores(
    calls: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a launcher torch has one thread on a GPU node."""
    used: list[int] = []
    monkeypatch.setattr(faiss, "omp_set_num_threads", used.append)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(48))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    queries, passages = exact_vectors(np.random.default_rng(1), 3, 4), np.eye(4, dtype=np.float32)
    shard = Shard.of(0, passages, CPU)
    by(FaissOnCards([CPU]), queries, shard, 2)
    assert used == [12]
    by(Faiss(), queries, shard, 2)
    assert used == [12, torch.get_num_threads()]


def test_what_is_chosen_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Searcher.choose("auto", "Flat", ALONE, with_ranks=True)
    assert shared.faiss is None and shared.why == "from the scores that ranks are counted from"
    assert type(Searcher.choose("auto", "Flat", ALONE).faiss) is Faiss
    asked = Searcher.choose("faiss", "Flat", ALONE, with_ranks=True)
    assert type(asked.faiss) is Faiss and asked.why == "as --search asks"
    assert type(Searcher.choose("auto", "IVF32,Flat", ALONE, with_ranks=True).faiss) is Faiss
    assert Searcher.choose("torch", "Flat", ALONE).faiss is None
    with pytest.raises(UserError, match=r"--index IVF32,Flat: only faiss has this index"):
        Searcher.choose("torch", "IVF32,Flat", ALONE)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(faiss_build, "packages", list)
    left = Searcher.choose("auto", "Flat", ALONE)
    assert left.faiss is None and left.why == "faiss is not installed"
    refusal = r'--search faiss: faiss is not installed; pip install "hybrid_dist\[cpu\]"'
    with pytest.raises(UserError, match=refusal):
        Searcher.choose("faiss", "Flat", ALONE)


def test_without_kernels_for_the_card_the_cpu_or_torch_serves(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, Any]]
) -> None:
    gpu = Ranks(device=torch.device("cuda", 0))
    problem = "faiss 1.15.1 does not run on Old Card (sm_52) (no kernel image)"
    monkeypatch.setattr(
        search, "try_faiss", lambda device: FaissBuild("1.15.1", True, False, problem)
    )
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    left = Searcher.choose("auto", "Flat", gpu)
    assert (left.faiss, left.why) == (None, problem)
    on_cpu = Searcher.choose("auto", "IVF32,Flat", gpu)
    assert type(on_cpu.faiss) is Faiss and on_cpu.why == problem
    assert on_cpu.faiss.cores == own_cores(), "launchers leave torch one thread on a GPU node"
    with pytest.raises(UserError, match=r"Old Card .*hybrid_dist\[gpu-cu13\]"):
        Searcher.choose("faiss", "IVF32,Flat", gpu)
    monkeypatch.setattr(search, "try_faiss", lambda device: FaissBuild("1.15.1", True))
    several = Searcher.choose("auto", "Flat", gpu)
    assert isinstance(several.faiss, FaissOnCards) and several.faiss.where == "4 GPUs"
    one = Searcher.choose("auto", "Flat", Two(device=torch.device("cuda", 1), world=2))
    assert isinstance(one.faiss, FaissOnCards) and one.faiss.where == "cuda:1"


def test_all_cards_of_a_process_are_tried(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, Any]]
) -> None:
    def tried(card: int) -> FaissBuild:
        return FaissBuild("1.15.1", True, False, "no kernels for an old card" if card == 2 else "")

    monkeypatch.setattr(search, "try_faiss", tried)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    left = Searcher.choose("auto", "Flat", Ranks(device=torch.device("cuda", 0)))
    assert (left.faiss, left.why) == (None, "no kernels for an old card")
    own = Searcher.choose("auto", "Flat", Two(device=torch.device("cuda", 1), world=2))
    assert isinstance(own.faiss, FaissOnCards)


class Two(Ranks):
    """The other process says what this one does."""

    def gather(self, thing: Any) -> list[Any]:
        return [thing, thing]


def test_the_expected_exhaustive_order(calls: list[tuple[str, Any]]) -> None:
    """Exact products, most of which tie, against a full sort."""
    rng = np.random.default_rng(1)
    queries, passages = exact_vectors(rng, 60, 4), exact_vectors(rng, 2 * PASSAGES + 9, 4)
    top = by(FaissOnCards([CPU]), queries, Shard.of(0, passages, CPU), 10)
    assert np.array_equal(top.numbers, order(queries @ passages.T)[:, :10])
