"""Texts dealt to ranks: equal work for each, and every vector where it belongs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from hybrid_dist.evaluation import embedded_task
from hybrid_dist.evaluation.embedded_task import EmbeddedTask, deal
from hybrid_dist.evaluation.evaluator import ScoringOptions, score_vectors
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import random_task
from tests.support.thread_ranks import together

LETTERS = ("e", "語", "ก")
TOKENS = (0.25, 1.0, 0.3)
"""Of a character in each language."""


@pytest.fixture(scope="module")
def task() -> Task:
    """Languages of short and long texts, in characters and in tokens, the longest last."""
    rng = np.random.default_rng(1)
    made = random_task(rng, languages=3, queries=301, passages=4000, most_answers=3)

    def texts(languages: np.ndarray) -> list[str]:
        lengths = rng.lognormal(4, 0.6, len(languages)).astype(int)
        sizes = np.sort(lengths) * np.array([1, 1, 6])[languages] + 20
        return [
            f"{number} {LETTERS[code] * size}"
            for number, (code, size) in enumerate(zip(languages, sizes, strict=True))
        ]

    return replace(
        made,
        query_texts=texts(made.query_language),
        passage_texts=texts(made.passage_language),
    )


class Counting:
    """Vectors that depend on the text alone, and the tokens of each call."""

    name = "counting"

    def __init__(self) -> None:
        self.calls: list[tuple[int, float]] = []

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._vectors(texts, 0)

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._vectors(texts, 1)

    def _vectors(self, texts: Sequence[str], side: int) -> np.ndarray:
        tokens = [TOKENS[LETTERS.index(text[-1])] * len(text) for text in texts]
        self.calls.append((side, sum(tokens)))
        seeds = [int(text.partition(" ")[0]) * 2 + side for text in texts]
        rows = [np.random.default_rng(seed).standard_normal(8) for seed in seeds]
        vectors = np.array(rows).reshape(-1, 8)
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("half", [False, True])
def test_ranks_embed_as_many_tokens_and_get_their_own_vectors(
    world: int, half: bool, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_task, "EXCHANGED", 300)
    monkeypatch.setattr("hybrid_dist.evaluation.task_vectors.FP16_BLOCK", 700)
    options = ScoringOptions(half=half)

    def scored(ranks: Ranks, counting: Counting) -> tuple[bytes, ...]:
        vectors = EmbeddedTask(task, counting, ranks)
        found = score_vectors(task, vectors, ranks, lambda _: None, 10, options)
        return tuple(
            array.tobytes() for array in (found.ranking.pooled, found.top.numbers, found.top.scores)
        )

    expected, ranked, counts = scored(Ranks(), Counting()), [], [Counting() for _ in range(world)]

    def work(rank: int, ranks: Ranks) -> None:
        ranked.append(scored(ranks, counts[rank]))

    together(world, work)
    assert ranked == [expected] * world
    for side, most in ((0, 1.03), (1, 1.01)):
        loads = [sum(n for of, n in count.calls if of == side) for count in counts]
        assert max(loads) < most * np.mean(loads)
    by_count = np.array_split([len(text) for text in task.passage_texts], world)
    assert max(map(np.sum, by_count)) > 1.3 * np.mean([part.sum() for part in by_count])


def test_every_text_is_dealt_once_to_the_rank_with_the_least() -> None:
    numbers = np.array([3, 4, 5, 6, 7])
    dealt = deal(numbers, np.array([9, 1, 5, 5, 2]), np.array([0, 0, 0, 1, 0]), 2)
    assert [part.tolist() for part in dealt] == [[3, 6], [4, 5, 7]]
    assert [len(part) for part in deal(numbers[:1], np.ones(1), np.zeros(1), 3)] == [1, 0, 0]
