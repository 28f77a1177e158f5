"""The lengths by which a batch is sharded: those of all texts of a row, after truncation."""

import json
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.batching import GlobalBatch, Plan
from hybrid_dist.commands import plan as command
from hybrid_dist.commands import prepare
from hybrid_dist.config.schema import Align, Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.reader import CHARACTERS_PER_TOKEN, Store, open_sources
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens

QUERY, PASSAGE = 12, 20
BATCHING = Batching(size=24, hard_negatives=2, mix=Mix(monolingual=1, cross_lingual=1))


@pytest.fixture(scope="module")
def file(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's pairs; passages are up to nine times as long, and have up to three negatives."""
    random, lines = np.random.default_rng(0), []
    for text in (toy / "train.jsonl").read_text("utf-8").splitlines()[:400]:
        pair = json.loads(text)
        pair["passage"] = " ".join([pair["passage"]] * int(random.integers(1, 10)))
        pair["negatives"] = [f"{pair['passage']} {n}" for n in range(int(random.integers(4)))]
        lines.append(json.dumps(pair))
    path = tmp_path_factory.mktemp("lengths") / "pairs.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    return path


def batches(path: Path) -> tuple[Store, list[GlobalBatch]]:
    stores, sources = open_sources([str(path)], (QUERY, PASSAGE))
    plan = Plan(sources, BATCHING, seed=1, align=Align(weight=1, of="both", share=0.5))
    return stores[0], [plan.batch(step) for step in range(6)]


def texts(store: Store, batch: GlobalBatch, place: int) -> tuple[list[str], list[str]]:
    """A row's queries, and its passages with its hard negatives; translations included."""
    rows = np.array([place])
    assert batch.negatives is not None
    drawn = batch.negatives.passages[batch.negatives.of(rows)]
    passages = store.passages(batch.passage_row[rows]) + store.passage_texts(drawn)
    queries = store.queries(batch.query_row[rows])
    parallel = batch.parallel
    assert parallel is not None
    assert parallel.query_row is not None and parallel.passage_row is not None
    if parallel.aligned[place]:
        queries += store.queries(parallel.query_row[rows])
        passages += store.passages(parallel.passage_row[rows])
    return queries, passages


def test_lengths_are_the_tokens_that_are_encoded(toy: Path, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    prepare.main(["pairs", str(file), "--out", str(out), "--tokenize", str(toy / "model")])
    settings = EncoderSpec("mean", "Query: ", "Passage: ", QUERY, PASSAGE)
    tokens = TextTokens.load(str(toy / "model"), settings)
    store, drawn_batches = batches(out)
    cut = 0
    for batch in drawn_batches:
        for place, length in enumerate(batch.lengths.tolist()):
            queries, passages = texts(store, batch, place)
            ids = [*tokens.query_ids(queries), *tokens.passage_ids(passages)]
            assert length == sum(map(len, ids))
            cut += sum(len(one) == PASSAGE for one in ids)
    assert cut > 100


def test_without_tokens_lengths_are_characters_cut_at_about_so_many_tokens(file: Path) -> None:
    store, drawn_batches = batches(file)
    for batch in drawn_batches:
        for place, length in enumerate(batch.lengths.tolist()):
            queries, passages = texts(store, batch, place)
            wanted = [min(len(text), CHARACTERS_PER_TOKEN * PASSAGE) for text in passages]
            wanted += [min(len(text), CHARACTERS_PER_TOKEN * QUERY) for text in queries]
            assert length == sum(wanted)


def test_ranks_have_equally_many_tokens(
    toy: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By whole texts, and without negatives, the fullest rank would have a fifth more."""
    out = tmp_path / "store"
    model = str(toy / "model")
    prepare.main(["pairs", str(file), "--out", str(out), "--tokenize", model])
    capsys.readouterr()
    limits = ["--model.max_query_tokens", str(QUERY), "--model.max_passage_tokens", str(PASSAGE)]
    own = ["--data.train", str(out), "--model.name_or_path", model, *limits]
    more = ["--batching.size", "24", "--batching.hard_negatives", "2"]
    command.main(["--steps", "8", "--json", "--world-size", "4", *own, *more])
    worst = 0.0
    for line in capsys.readouterr().out.splitlines():
        counts = [rank["tokens"] for rank in json.loads(line)["ranks"]]
        worst = max(worst, max(counts) / np.mean(counts))
    assert worst < 1.05
