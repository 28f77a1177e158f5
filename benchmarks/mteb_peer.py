"""MTEB's exact search and scoring of given vectors: prints the seconds that they take.

Run by evaluation.py and peers/, with a python that has mteb and need not have hybrid_dist.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from mteb import get_task
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores
from mteb.models.search_wrappers import chunked_full_corpus_search

TASK = get_task("SciFact").metadata  # any retrieval task's: nothing is encoded
DEPTHS = (1, 3, 5, 10, 20, 100, 1000)


def seconds(folder: Path, what: str) -> float:
    """`pooled`: all queries in the pool of all languages; `pairs`: every pair of languages."""
    given = np.load(folder / "task.npz")
    asked, held = given["query_language"], given["passage_language"]
    numbers = np.split(given["relevant"], given["starts"][1:-1])
    vectors = [torch.from_numpy(np.load(folder / f"{n}.npy")) for n in ("queries", "passages")]
    queries, passages = np.arange(len(asked)), np.arange(len(held))
    settings = [(queries, passages)]
    if what == "pairs":
        ours = [queries[asked == language] for language in np.unique(asked)]
        theirs = [passages[held == language] for language in np.unique(held)]
        settings = [(one, other) for one in ours for other in theirs]
    prepared = [
        (vectors[0][one], vectors[1][other], _relevant(numbers, one, other), _corpus(other))
        for one, other in settings
    ]
    begin = time.perf_counter()
    for setting in prepared:
        _score(*setting)
    return time.perf_counter() - begin


def _relevant(
    numbers: list[np.ndarray], queries: np.ndarray, passages: np.ndarray
) -> dict[str, dict[str, int]]:
    pool = set(passages.tolist())
    return {f"q{q}": {f"p{p}": 1 for p in numbers[q].tolist() if p in pool} for q in queries}


def _corpus(passages: np.ndarray) -> Dataset:
    return Dataset.from_dict({"id": [f"p{p}" for p in passages], "text": ["-"] * len(passages)})


def _score(
    queries: torch.Tensor,
    passages: torch.Tensor,
    relevant: dict[str, dict[str, int]],
    corpus: Dataset,
) -> None:
    """What its search wrapper and retrieval evaluator do, with vectors that are there."""
    heaps = chunked_full_corpus_search(
        task_corpus=corpus,
        corpus_chunk_size=50_000,
        query_idx_to_id=dict(enumerate(relevant)),
        query_embeddings=queries,
        task_metadata=TASK,
        hf_subset="default",
        hf_split="test",
        top_k=1000,
        encode_kwargs={"show_progress_bar": False},
        encode_fn=lambda *_, **__: passages,
        similarity_fn=lambda one, other: one @ other.T,
        search_k_offset=1,
    )
    results = {q: {p: score for score, p in found} for q, found in heaps.items()}
    calculate_retrieval_scores(results, relevant, DEPTHS)


if __name__ == "__main__":
    print(seconds(Path(sys.argv[1]), sys.argv[2]))
