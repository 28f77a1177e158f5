"""Small retrieval problems with known answers, for the evaluator's tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Shard
from hybrid_dist.runtime.ranks import Ranks


def no_top(task: Task) -> TopK:
    """For what looks at ranks alone."""
    empty = (len(task.query_ids), 1)
    return TopK(np.full(empty, NO_PASSAGE), np.full(empty, -np.inf), "none")


def make_task(
    query_language: Sequence[int],
    passage_language: Sequence[int],
    answers: Sequence[Sequence[int]],
    query_ids: Sequence[str] | None = None,
    one_pool: bool = True,
) -> Task:
    """A task from language codes and the relevant passages of every query."""
    languages = max([*query_language, *passage_language]) + 1
    queries, passages = len(query_language), len(passage_language)
    return Task(
        name="toy",
        path="nowhere",
        languages=tuple(f"l{code:02d}" for code in range(languages)),
        query_ids=query_ids or [f"q{number}" for number in range(queries)],
        query_texts=[f"query {number}" for number in range(queries)],
        query_language=np.array(query_language, dtype=np.int64),
        passage_ids=[f"p{number}" for number in range(passages)],
        passage_texts=[f"passage {number}" for number in range(passages)],
        passage_language=np.array(passage_language, dtype=np.int64),
        relevant_starts=np.cumsum([0, *map(len, answers)]),
        relevant=np.array([p for some in answers for p in sorted(some)], dtype=np.int64),
        grades=np.ones(sum(map(len, answers)), dtype=np.int64),
        one_pool=one_pool,
    )


def random_task(
    rng: np.random.Generator, languages: int, queries: int, passages: int, most_answers: int
) -> Task:
    """Queries with 1 to so many relevant passages anywhere; every language has a passage."""
    most = min(most_answers, passages)
    own = np.sort(np.concatenate([np.arange(languages), rng.integers(0, languages, passages)]))
    answers = [
        rng.choice(len(own), size=rng.integers(1, most + 1), replace=False).tolist()
        for _ in range(queries)
    ]
    return make_task(rng.integers(0, languages, queries).tolist(), own.tolist(), answers)


def parallel_task(languages: int, per_language: int) -> Task:
    """Every query in all languages, with one relevant passage in each."""
    own = np.repeat(np.arange(languages), per_language).tolist()
    ids = list(range(per_language)) * languages
    answers = [[language * per_language + i for language in range(languages)] for i in ids]
    return make_task(own, own, answers, [f"u{i}" for i in ids])


def exact_vectors(rng: np.random.Generator, rows: int, dimension: int = 12) -> np.ndarray:
    """Few different values: products are exact in any order of summing, and ties abound."""
    return (rng.integers(-2, 3, (rows, dimension)) / 4).astype(np.float32)


def unit_vectors(rng: np.random.Generator, rows: int, dimension: int = 48) -> np.ndarray:
    vectors = rng.standard_normal((rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def plant_duplicates(rng: np.random.Generator, vectors: np.ndarray, task: Task) -> None:
    """Make other passages equal to relevant ones, near them and far away."""
    for passage in rng.choice(task.relevant, size=min(300, len(task.relevant))).tolist():
        near = min(passage + int(rng.integers(1, 4)), len(vectors) - 1)
        vectors[[near, *rng.integers(0, len(vectors), 2)]] = vectors[passage]


def order(scores: np.ndarray) -> np.ndarray:
    """Of each query: all passages by a full sort, (score, number)."""
    numbers = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.lexsort((numbers, -scores), axis=1)


def sorted_ranks(task: Task, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of all relevant passages from full sorts: in their language's pool, and in all."""
    in_language, pooled = [], []
    ordered = order(scores)
    for query in range(len(scores)):
        pairs = slice(task.relevant_starts[query], task.relevant_starts[query + 1])
        for passage in task.relevant[pairs]:
            own = task.passage_language[ordered[query]] == task.passage_language[passage]
            pooled.append(1 + int(np.flatnonzero(ordered[query] == passage)[0]))
            pool = ordered[query][own]
            in_language.append(1 + int(np.flatnonzero(pool == passage)[0]))
    return np.array(in_language), np.array(pooled)


def rank(task: Task, queries: np.ndarray, passages: np.ndarray) -> Ranking:
    ranks = Ranks()
    return exact_ranks(task, queries, [Shard.of(0, passages, ranks.device)], ranks)


@dataclass(frozen=True)
class Given:
    """Precomputed vectors of a task."""

    query_vectors: np.ndarray
    passage_vectors: np.ndarray
    name: str = "given"

    def queries(self, rows: slice) -> np.ndarray:
        return self.query_vectors[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self.passage_vectors[rows]


class GivenEmbedder:
    """An embedder that looks vectors up."""

    def __init__(self, task: Task, queries: np.ndarray, passages: np.ndarray) -> None:
        self.name = "a <given> model"
        self._queries = dict(zip(task.query_texts, queries, strict=True))
        self._passages = dict(zip(task.passage_texts, passages, strict=True))

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._queries[text] for text in texts])

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._passages[text] for text in texts])


def given_embedder(task: Task, seed: int = 1) -> GivenEmbedder:
    rng = np.random.default_rng(seed)
    queries = unit_vectors(rng, len(task.query_ids))
    return GivenEmbedder(task, queries, unit_vectors(rng, len(task.passage_ids)))
