"""Rescoring by a CrossEncoder with random weights, against transformers' own scores."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from hybrid_dist.mining.cross_encoding import Rescorer
from hybrid_dist.mining.job import MiningJob
from hybrid_dist.mining.rules import Rules
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.runtime.ranks import Ranks
from tests.support.mining import mined
from tests.support.small_models import write_model, write_reranker

pytest.importorskip("sentence_transformers")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reranker(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reranker(tmp_path_factory.mktemp("rerankers") / "one", toy / "model", seed=5)


def by_transformers(folder: Path, query: str, passage: str) -> float:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    words = AutoTokenizer.from_pretrained(folder)(query, passage, return_tensors="pt")
    with torch.inference_mode():
        return float(torch.sigmoid(model(**words).logits[0, 0]))


def test_scores_are_the_models_of_both_texts(reranker: Path) -> None:
    queries, passages = ["ba da", "ba da", "lo"], ["da lo ba", "lo", "ba ba ba ba lo"]
    scores = Rescorer(str(reranker), CPU).scores(queries, passages)
    assert scores.dtype == np.float32
    for query, passage, score in zip(queries, passages, scores, strict=True):
        assert score == pytest.approx(by_transformers(reranker, query, passage), abs=1e-6)
    assert len({*scores.tolist()}) == 3


def test_rescored_negatives_keep_the_new_scores_and_filters_use_them(
    reranker: Path, toy: Path, tmp_path: Path
) -> None:
    lines = (toy / "train.jsonl").read_text("utf-8").splitlines()[:80]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines), "utf-8")
    Store.build(str(tmp_path / "pairs.jsonl"), tmp_path / "store")
    model = write_model(tmp_path / "model", toy / "model", seed=1)
    embedder, rescorer = TextEmbedder.load(model, CPU), Rescorer(str(reranker), CPU)

    def mine(name: str, rescored: bool, rules: Rules) -> Store:
        job = MiningJob.load(tmp_path / "store", tmp_path / name, ("all",), rules)
        given = rescorer if rescored else None
        job.execute(embedder, given, "torch", tmp_path / "cache", Ranks(), lambda _: None)
        return Store(tmp_path / name)

    window = mine("window", False, Rules(2, 11, number=10))
    chosen = mine("chosen", True, Rules(2, 11, number=3, sample="top", absolute=0.001))
    rows = np.arange(chosen.index.num_rows)
    pairs = zip(chosen.queries(rows), mined(window), mined(chosen), strict=True)
    some = 0
    for row, (query, all_of_window, negatives) in enumerate(pairs):
        texts = [text for text, _ in all_of_window]
        positive = rescorer.scores([query], chosen.passages(rows[row : row + 1]))[0]
        assert chosen.scores["positive_scores"][row] == pytest.approx(positive, abs=1e-6)
        scores = rescorer.scores([query] * len(texts), texts)
        best = sorted((s for s in scores.tolist() if s <= positive - 0.001), reverse=True)[:3]
        assert [score for _, score in negatives] == pytest.approx(best, abs=1e-6)
        some += len(best)
    assert some > 20


@pytest.mark.parametrize("name", ["no such folder", "encoder", "two"])
def test_what_is_no_cross_encoder_is_refused(name: str, toy: Path, tmp_path: Path) -> None:
    write_reranker(tmp_path / "two", toy / "model", seed=1, labels=2)
    write_model(tmp_path / "encoder", toy / "model", seed=1)
    message = {
        "no such folder": "is no folder or reachable model on the hub with a CrossEncoder",
        "encoder": "is an encoder (XLMRobertaModel) that was not trained to score pairs",
        "two": "gives 2 numbers for a pair of texts",
    }[name]
    with pytest.raises(UserError, match=rf"^--rescore.*{re.escape(message)}"):
        Rescorer(str(tmp_path / name), CPU)
