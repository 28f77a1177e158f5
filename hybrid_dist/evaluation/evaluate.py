"""One task, from texts to a report."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

import hybrid_dist
from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.evaluation.page import write_report
from hybrid_dist.evaluation.ranking import exact_ranks
from hybrid_dist.evaluation.report import build_report, headline
from hybrid_dist.evaluation.search import top_k
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import PASSAGES, QUESTIONS, Shard, check_vectors, shard_bounds

TOP = 10
"""Passages of every question whose languages are counted."""


SHOWN_NOTES = 10
"""Lines that were passed over, and other things left out, that are told one by one."""


class Embedder(Protocol):
    """Turns texts into float32 vectors of length 1, [texts, dimension].

    Ranks call it together, each with its own texts: their numbers differ and may be 0, which gives
    [0, dimension].
    """

    @property
    def name(self) -> str: ...

    def embed_questions(self, texts: Sequence[str]) -> np.ndarray: ...

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray: ...


def evaluate_task(
    task: Task,
    embedder: Embedder,
    ranks: Ranks,
    out: Path,
    say: Callable[[str], None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score the task, write the report into the folder `out`, and return it, on every rank.

    `settings` are told in the report beside the evaluator's own. Every rank keeps the vectors of
    its own shard of the passages; all have those of the questions.
    """
    tell = say if say is not None and ranks.is_first else _quiet
    clock = _Clock()
    tell(
        f"{task.name}: embedding {len(task.question_ids):,} questions and "
        f"{len(task.passage_ids):,} passages in {len(task.languages)} languages"
    )
    for note in task.notes[:SHOWN_NOTES]:
        tell(f"{task.name}: left out: {note}")
    questions = _embed_questions(task, embedder, ranks)
    shard = _embed_shard(task, embedder, ranks)
    clock.lap("embed_s")
    tell(f"{task.name}: ranking {len(task.relevant):,} right answers")
    ranking = exact_ranks(task, questions, [shard], ranks)
    clock.lap("rank_s")
    tell(f"{task.name}: searching the first {TOP} passages of every question")
    top = top_k(questions, [shard], TOP, ranks)
    clock.lap("search_s")
    if ranks.is_first:
        used = {**_settings(task, questions.shape[1], top.method), **(settings or {})}
        timing = {**clock.laps, "processes": ranks.world, "threads": torch.get_num_threads()}
        report, plots = build_report(task, embedder.name, ranking, top, used, timing)
        write_report(out, report, plots)
        tell(f"{task.name}: {headline(report)}")
        tell(f"{task.name}: report in {out}")
    else:
        report = {}
    result: dict[str, Any] = ranks.from_first(report)
    return result


def _embed_questions(task: Task, embedder: Embedder, ranks: Ranks) -> np.ndarray:
    """The vectors of all questions; every rank embeds its part."""
    edges = [len(task.question_ids) * rank // ranks.world for rank in range(ranks.world + 1)]
    mine = slice(edges[ranks.rank], edges[ranks.rank + 1])
    vectors = _float32(embedder.embed_questions(task.question_texts[mine]))
    names = _names(task, task.question_ids[mine], task.question_language[mine])
    check_vectors(vectors, names, "question", ranks)
    return ranks.gather_rows(vectors)


def _embed_shard(task: Task, embedder: Embedder, ranks: Ranks) -> Shard:
    """The vectors of this rank's passages."""
    held = shard_bounds(len(task.passage_ids), ranks.world)[ranks.rank]
    mine = slice(held.start, held.stop)
    vectors = _float32(embedder.embed_passages(task.passage_texts[mine]))
    names = _names(task, task.passage_ids[mine], task.passage_language[mine])
    check_vectors(vectors, names, "passage", ranks)
    return Shard.of(held.start, vectors, ranks.device)


def _float32(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _names(task: Task, ids: Sequence[str], languages: np.ndarray) -> list[str]:
    return [f"{name} in {task.languages[code]}" for name, code in zip(ids, languages, strict=True)]


def _settings(task: Task, dimension: int, search: str) -> dict[str, Any]:
    told = f"{len(task.notes):,}, the first: {task.notes[0]}" if task.notes else ""
    left_out = {"left out on reading": told} if told else {}
    return {
        "task": task.spec,
        **left_out,
        "dimension": dimension,
        "average precision": "full depth, exact ranks by counting",
        "ties": "by passage number: (language, id) ascending",
        "score": "float32 inner product",
        "tile": f"{QUESTIONS} questions x {PASSAGES} passages",
        "search": search,
        "hybrid_dist": hybrid_dist.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


class _Clock:
    """Wall-clock seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now


def _quiet(_: str) -> None:
    pass
