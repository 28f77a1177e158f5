"""One task, from texts to ranks."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

import hybrid_dist
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bias import TOP
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.search import EXACT, TopK, check_index, top_k
from hybrid_dist.evaluation.tasks import TIES, Task
from hybrid_dist.evaluation.tiles import PASSAGES, QUERIES, Shard, check_vectors, shard_bounds
from hybrid_dist.evaluation.trec import Run, check_names
from hybrid_dist.runtime.ranks import Ranks

MAX_NOTES = 10
"""How many skipped lines and other omissions are listed individually."""
FP16_BLOCK = 1 << 16
"""Passages that are made in fp32 at once where they are kept in fp16."""
MAX_RUN_LINES = 1 << 28
"""The most lines of a saved run: each takes 12 bytes of memory while the run is built."""


class Embedder(Protocol):
    """Turns texts into float32 vectors of length 1, [texts, dimension].

    Ranks call it together, each with its own texts: their numbers differ and may be 0, which gives
    [0, dimension].
    """

    @property
    def name(self) -> str: ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray: ...

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray: ...


class Vectors(Protocol):
    """The float32 vectors of a task, by the numbers of its queries and passages.

    None is longer than 1.
    """

    @property
    def name(self) -> str: ...

    def queries(self, rows: slice) -> np.ndarray: ...

    def passages(self, rows: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class Scored:
    """What a report is made of, and how it came about."""

    task: Task
    name: str
    ranking: Ranking
    top: TopK
    settings: Mapping[str, Any]
    timing: Mapping[str, Any]


def check_run_is_possible(task: Task, depth: int) -> None:
    """Refuse runs of tasks whose pools are separate, and runs that do not fit in memory."""
    lines = len(task.query_ids) * min(depth, len(task.passage_ids))
    if lines > MAX_RUN_LINES:
        raise UserError(
            f"--save-run: {depth:,} passages for each of the {len(task.query_ids):,} queries of "
            f"{task.spec} are {lines:,} lines, which are kept in memory; give "
            f"{MAX_RUN_LINES // len(task.query_ids):,} or fewer"
        )
    if depth and not task.one_pool:
        raise UserError(
            f"--save-run: {task.spec} keeps the passages of its language pairs apart, and a run "
            "lists one pool; leave --save-run out"
        )
    if depth:
        check_names(task)


def score_vectors(
    task: Task,
    vectors: Vectors,
    ranks: Ranks,
    tell: Callable[[str], None],
    index: str = EXACT,
    half: bool = False,
    depth: int = TOP,
) -> Scored:
    """Rank all right answers, and search the first `depth` passages of every query.

    Every rank keeps the vectors of its own shard of the passages; all have those of the queries.
    `index` is what searches, a factory string of FAISS; `half` keeps passages in fp16.
    """
    clock = _Clock()
    tell(
        f"{task.name}: vectors of {len(task.query_ids):,} queries and "
        f"{len(task.passage_ids):,} passages in {len(task.languages)} languages"
    )
    _tell_notes(task, tell)
    queries = _all_queries(task, vectors, ranks)
    check_index(index, queries.shape[1])
    shard = _own_shard(task, vectors, ranks, half)
    clock.lap("embed_s")
    tell(f"{task.name}: ranking {len(task.relevant):,} right answers")
    ranking = exact_ranks(task, queries, [shard], ranks)
    clock.lap("rank_s")
    tell(f"{task.name}: searching the first {depth} passages of every query")
    top = top_k(queries, [shard], depth, ranks, index)
    clock.lap("search_s")
    used = _scoring(queries.shape[1], half, top.method)
    timing = {**clock.laps, "processes": ranks.world, "threads": torch.get_num_threads()}
    return Scored(task, vectors.name, ranking, top, _settings(task, used), timing)


def score_run(task: Task, run: Run, tell: Callable[[str], None]) -> Scored:
    """What a search has listed; passages that it did not list have no rank."""
    task = replace(task, notes=(*run.notes, *task.notes))
    _tell_notes(task, tell)
    used = {"average precision": "over the passages that the run lists, as trec_eval has it"}
    settings = _settings(task, used)
    return Scored(task, run.name, run.ranking(task), run.top(task, TOP), settings, {})


def _tell_notes(task: Task, tell: Callable[[str], None]) -> None:
    for note in task.notes[:MAX_NOTES]:
        tell(f"{task.name}: left out: {note}")


@dataclass(frozen=True)
class EmbeddedTask:
    """The vectors of a task as an embedder makes them."""

    task: Task
    embedder: Embedder

    @property
    def name(self) -> str:
        return self.embedder.name

    def queries(self, rows: slice) -> np.ndarray:
        return _float32(self.embedder.encode_queries(self.task.query_texts[rows]))

    def passages(self, rows: slice) -> np.ndarray:
        return _float32(self.embedder.encode_passages(self.task.passage_texts[rows]))


def _all_queries(task: Task, vectors: Vectors, ranks: Ranks) -> np.ndarray:
    """The vectors of all queries; every rank makes its part."""
    edges = [len(task.query_ids) * rank // ranks.world for rank in range(ranks.world + 1)]
    mine = slice(edges[ranks.rank], edges[ranks.rank + 1])
    found = vectors.queries(mine)
    names = _names(task, task.query_ids[mine], task.query_language[mine])
    check_vectors(found, names, "query", ranks)
    return ranks.gather_rows(found)


def _own_shard(task: Task, vectors: Vectors, ranks: Ranks, half: bool) -> Shard:
    """The vectors of this rank's passages."""
    held = shard_bounds(len(task.passage_ids), ranks.world)[ranks.rank]
    mine = slice(held.start, held.stop)
    found = _halved(vectors, held) if half else vectors.passages(mine)
    names = _names(task, task.passage_ids[mine], task.passage_language[mine])
    check_vectors(found, names, "passage", ranks)
    return Shard.of(held.start, found, ranks.device)


def _halved(vectors: Vectors, held: range) -> np.ndarray:
    """Passages in fp16, never all of them in fp32."""
    found = np.empty((0, 0), dtype=np.float16)
    for low in range(held.start, held.stop, FP16_BLOCK):
        some = vectors.passages(slice(low, min(low + FP16_BLOCK, held.stop)))
        if low == held.start:
            found = np.empty((len(held), some.shape[1]), dtype=np.float16)
        found[low - held.start :][: len(some)] = some
    return found


def _float32(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _names(task: Task, ids: Sequence[str], languages: np.ndarray) -> list[str]:
    return [f"{name} in {task.languages[code]}" for name, code in zip(ids, languages, strict=True)]


def _settings(task: Task, used: Mapping[str, Any]) -> dict[str, Any]:
    told = f"{len(task.notes):,}, the first: {task.notes[0]}" if task.notes else ""
    left_out = {"left out on reading": told} if told else {}
    missing = {"incomplete": f"allowed; {'; '.join(task.missing)}"} if task.missing else {}
    about_task = {"task": task.spec, **missing, **left_out, "ties": TIES[task.ties]}
    return {**about_task, **used, **_versions()}


def _scoring(dimension: int, half: bool, search: str) -> dict[str, Any]:
    return {
        "dimension": dimension,
        "average precision": "full depth, exact ranks by counting",
        "score": f"float32 inner product{', passages rounded to float16' if half else ''}",
        "tile": f"{QUERIES} queries x {PASSAGES} passages",
        "search": search,
    }


def _versions() -> dict[str, Any]:
    return {
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
