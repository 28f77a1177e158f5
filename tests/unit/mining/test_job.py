"""Whole jobs on toy data: against the definition, against sentence-transformers, resumed."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.data.store.reader import Store, open_sources
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import search as evaluation_search
from hybrid_dist.mining import miner
from hybrid_dist.mining.job import MiningJob
from hybrid_dist.mining.mined_store import Findings
from hybrid_dist.mining.miner import RANKED, parts_of
from hybrid_dist.mining.rules import Rules
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.runtime.ranks import Ranks
from tests.support.mining import TIED, by_definition, contents, mined, positives_of, same_up_to_ties
from tests.support.small_models import write_model

Mine = Callable[..., Store]
FIRST_TWO = ("first two languages",)
"""A pool whose languages are those of the store that come first."""


@pytest.fixture(scope="module")
def store(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy pairs, and a few that share texts with others."""
    folder = tmp_path_factory.mktemp("stores")
    lines = (toy / "train.jsonl").read_text("utf-8").splitlines()
    lines += [
        lines[0].replace('"uid": "', '"uid": "again-'),
        lines[1].replace('"uid": "', '"uid": "again-'),
    ]
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    Store.build(str(file), folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "model", toy / "model", seed=3)


@pytest.fixture(scope="module")
def embedder(model: Path) -> TextEmbedder:
    return TextEmbedder.load(model, "cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def mine(store: Path, embedder: TextEmbedder, cache: Path, tmp_path: Path) -> Mine:
    """Mines the toy pairs with these rules."""

    def run(name: str = "mined", pool: tuple[str, ...] = ("own",), **rules: Any) -> Store:
        job = MiningJob.load(store, tmp_path / name, pool, Rules(**rules))
        execute(job, embedder, cache)
        return Store(tmp_path / name, check="now")

    return run


def execute(job: MiningJob, embedder: TextEmbedder, cache: Path, search: Any = "torch") -> Findings:
    return job.execute(embedder, None, search, cache, Ranks(), lambda _: None)


@pytest.mark.parametrize(
    ("pool", "options"),
    [
        (("own",), {}),
        (("own",), {"relative": 0.98}),
        (("all",), {"relative": 0.99, "absolute": 0.005}),
        (FIRST_TWO, {"absolute": 0.01}),
    ],
    ids=["own", "relative", "all", "named"],
)
def test_negatives_are_those_of_the_definition(
    mine: Mine, store: Path, model: Path, pool: tuple[str, ...], options: dict[str, float]
) -> None:
    languages = Store(store).index.languages
    pool = languages[:2] if pool == FIRST_TWO else pool
    searched = {"own": (), "all": languages}.get(pool[0], pool)
    found = mined(mine(pool=pool, first=3, last=200, number=4, sample="top", **options))
    expected = by_definition(Store(store), model, 3, 200, 4, pool=searched, **options)
    assert 100 < sum(map(len, expected)) <= 4 * len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        same_up_to_ties(dict(ours), dict(theirs))


def test_no_negative_shares_a_text_uid_or_translation(mine: Mine) -> None:
    found = mine(pool=("all",), first=1, last=30, number=30)
    for negatives, known in zip(mined(found), positives_of(found), strict=True):
        assert len(negatives) == 30
        assert not known & {text for text, _ in negatives}


@pytest.fixture(scope="module")
def one_with_many(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which one query has 30 relevant passages of its language, and others one."""
    folder = tmp_path_factory.mktemp("one")
    rows = [json.loads(one) for one in (toy / "train.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["lang"] == rows[0]["lang"]][:300]
    for row in rows[1:30]:
        rows.append(row | {"uid": f"again-{row['uid']}", "query": rows[0]["query"]})
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    Store.build(str(file), folder / "store")
    return folder / "store"


@pytest.mark.parametrize("search", ["torch", "faiss"])
def test_a_block_in_parts_gives_the_same(
    one_with_many: Path,
    embedder: TextEmbedder,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    search: str,
) -> None:
    """In parts of a few queries, whose proposals are fetched one by one."""
    pytest.importorskip("faiss")
    job = partial(MiningJob.load, one_with_many, pool=("own",), rules=Rules(2, 30, relative=0.99))
    execute(job(tmp_path / "whole"), embedder, cache, search)
    widths: list[tuple[int, int]] = []

    def recorded(queries: np.ndarray, shards: Any, k: int, *rest: Any, **options: Any) -> Any:
        widths.append((len(queries), k))
        return evaluation_search.top_k(queries, shards, k, *rest, **options)

    monkeypatch.setattr(miner, "top_k", recorded)
    monkeypatch.setattr(miner, "RANKED", 3000)
    monkeypatch.setattr(evaluation_search, "FETCHED_VECTORS", 1)
    execute(job(tmp_path / "parts"), embedder, cache, search)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert all(queries * k <= 3000 for queries, k in widths)
    assert len({k for _, k in widths}) > 1, "queries with more relevant passages need more"
    assert sum(queries for queries, _ in widths) == Store(one_with_many).index.num_rows


def test_parts_hold_every_query_once_and_keep_to_the_budget() -> None:
    counts = np.array([210, 50_200, 205, 201, 900, 201, 201])
    parts = list(parts_of(counts, 1000))
    assert sorted(np.concatenate(parts).tolist()) == list(range(7))
    assert [counts[part].tolist() for part in parts] == [
        [50_200],
        [900],
        [201, 201, 205, 210],
        [201],
    ]
    assert len(list(parts_of(np.full(8192, 217), RANKED))) == 1, "as usual, a block is whole"


def test_faiss_and_torch_mine_the_same(
    store: Path, embedder: TextEmbedder, cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("faiss")
    for search in ("torch", "faiss"):
        job = MiningJob.load(store, tmp_path / search, ("own",), Rules(1, 50))
        execute(job, embedder, cache, search)
    assert contents(tmp_path / "torch") == contents(tmp_path / "faiss")


def test_scores_are_kept_and_negatives_can_be_trained_on(
    mine: Mine, embedder: TextEmbedder
) -> None:
    found = mine(first=1, last=20, number=3)
    rows = np.array([0, 7, found.index.num_rows - 1])
    queries = embedder.encode_queries(found.queries(rows))
    own = (queries * embedder.encode_passages(found.passages(rows))).sum(axis=1)
    assert found.scores["positive_scores"][rows] == pytest.approx(own, abs=1e-5)
    for query, row in zip(queries, rows, strict=True):
        start, end = found.index.negative_starts[row : row + 2]
        texts = found.passage_texts(found.index.negatives[start:end])
        scores = found.scores["negative_scores"][start:end]
        assert scores == pytest.approx(embedder.encode_passages(texts) @ query, abs=1e-5)
        assert (np.diff(scores) <= 0).all()
    stores, _ = open_sources([str(found.folder)])
    assert len(stores[0].as_dataset(hard_negatives=3)[0]) == 5


def test_what_is_complete_is_not_mined_again(
    store: Path,
    embedder: TextEmbedder,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted after two blocks, of which one is then damaged."""
    rules = Rules(1, 30)
    execute(MiningJob.load(store, tmp_path / "whole", ("own",), rules), embedder, cache)
    out = tmp_path / "out"
    true_mine, calls = miner.Miner._mine, []

    def interrupted(self: Any, rows: Any, *rest: Any) -> Any:
        calls.append(len(rows))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return true_mine(self, rows, *rest)

    monkeypatch.setattr(miner.Miner, "_mine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(MiningJob.load(store, out, ("own",), rules), embedder, cache)
    assert not out.exists()
    first, _ = sorted((tmp_path / ".out.mining").glob("blocks-*/*.npz"))
    damaged = bytearray(first.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    first.write_bytes(damaged)
    execute(MiningJob.load(store, out, ("own",), rules), embedder, cache)
    assert len(calls) == 3 + 3, "one of four blocks was complete"
    assert contents(out) == contents(tmp_path / "whole")
    assert not (tmp_path / ".out.mining").exists()


def test_other_rules_do_not_take_blocks_of_these(
    store: Path, embedder: TextEmbedder, cache: Path, tmp_path: Path, mine: Mine
) -> None:
    expected = contents(mine("expected", first=2, last=30).folder)
    done = tmp_path / ".mined.mining"
    mine("other", first=1, last=30)
    job = MiningJob.load(store, tmp_path / "mined", ("own",), Rules(1, 30))
    shutil.copytree(store, tmp_path / "mined")  # so that it ends before its blocks are removed
    with pytest.raises((UserError, OSError)):
        execute(job, embedder, cache)
    assert list(done.glob("blocks-*/*.npz"))
    shutil.rmtree(tmp_path / "mined")
    assert contents(mine(first=2, last=30).folder) == expected


def test_candidates_are_those_of_sentence_transformers(
    mine: Mine, store: Path, model: Path
) -> None:
    """The same model and pairs of two languages, without and with a relative margin.

    Where the positive is behind the window, theirs has as many more ranks as a query has
    positives, which matters if a margin has removed others.
    """
    pytest.importorskip("sentence_transformers")
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    pairs = Store(store)
    peer = SentenceTransformer(str(model), device="cpu")
    assert {"query", "passage"} <= set(peer.prompts)
    window = mined(mine("window", first=1, last=40, number=40, sample="top"))
    for first, relative in ((5, None), (1, 0.99)):
        options = {"first": first, "last": 40, "number": 36, "sample": "top", "relative": relative}
        ours = mined(mine(f"from {first}", **options))
        for language in range(2):
            low, high = pairs.index.language_starts[language : language + 2].tolist()
            rows = np.arange(low, high)
            queries, passages = pairs.queries(rows), pairs.passages(rows)
            theirs = mine_hard_negatives(
                Dataset.from_dict({"query": queries, "passage": passages}),
                peer,
                range_min=first - 1,
                range_max=40,
                num_negatives=36,
                relative_margin=None if relative is None else 1 - relative,
                query_prompt_name="query",
                corpus_prompt_name="passage",
                output_format="labeled-list",
                output_scores=True,
                verbose=False,
            )
            by_query = {
                item["query"]: dict(zip(item["passage"][1:], item["scores"][1:], strict=True))
                for item in theirs
            }
            for row, query in zip(rows.tolist(), queries, strict=True):
                last = window[row][-1][1] - TIED
                listed = {t: s for t, s in by_query.get(query, {}).items() if s > last}
                same_up_to_ties(dict(ours[row]), listed)
