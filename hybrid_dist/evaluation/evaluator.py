"""Score one task: embed, rank every relevant passage, search the top passages."""

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
from hybrid_dist.evaluation.debiasing import Debiasing
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks, ranks_and_candidates
from hybrid_dist.evaluation.search import (
    EXACT,
    SPARE,
    Search,
    Searcher,
    TopK,
    check_index,
    merge_candidates,
    top_k,
)
from hybrid_dist.evaluation.tasks import TIES, Task
from hybrid_dist.evaluation.tiles import Grid, Shard, check_vectors
from hybrid_dist.evaluation.trec import Run, check_names
from hybrid_dist.runtime.ranks import Ranks

MAX_NOTES = 10
"""How many skipped lines and other omissions are listed individually."""
FP16_BLOCK = 1 << 16
"""Passages that are held in fp32 at once where shards are fp16."""
MAX_RUN_LINES = 1 << 28
"""The most lines of a saved run; each takes 12 bytes of memory while the run is built."""


class Embedder(Protocol):
    """Maps texts to float32 vectors of norm 1, [texts, dimension].

    Ranks call it together, each with its own texts. Their number differs between ranks and may be
    0, which gives [0, dimension].
    """

    @property
    def name(self) -> str: ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray: ...

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray: ...


class Vectors(Protocol):
    """The float32 vectors of a task, by query and passage number; no norm exceeds 1."""

    @property
    def name(self) -> str: ...

    def queries(self, rows: slice) -> np.ndarray: ...

    def passages(self, rows: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class Scored:
    """A scored task: ranks and top passages, with the settings and timings behind them."""

    task: Task
    name: str
    ranking: Ranking
    top: TopK
    settings: Mapping[str, Any]
    timing: Mapping[str, Any]


def check_run_is_possible(task: Task, depth: int) -> None:
    """Refuse a run of a task without a common pool, and one that would not fit in memory."""
    lines = len(task.query_ids) * min(depth, len(task.passage_ids))
    if lines > MAX_RUN_LINES:
        raise UserError(
            f"--save-run: {depth:,} passages for each of the {len(task.query_ids):,} queries of "
            f"{task.spec} are {lines:,} lines, all held in memory; give "
            f"{MAX_RUN_LINES // len(task.query_ids):,} or fewer"
        )
    if depth and not task.one_pool:
        raise UserError(
            f"--save-run: {task.spec} has a separate pool for each language pair, and a run lists "
            "one pool; leave --save-run out"
        )
    if depth:
        check_names(task)


def score_vectors(
    task: Task,
    vectors: Vectors,
    ranks: Ranks,
    log: Callable[[str], None],
    index: str = EXACT,
    half: bool = False,
    depth: int = TOP,
    debiasing: Debiasing | None = None,
    search: Search = "auto",
) -> Scored:
    """Rank all relevant passages, and search the top `depth` passages of every query.

    Every rank holds the vectors of all queries and of its own shard of the passages. `index` is the
    FAISS factory string of the search and `search` what proposes passages; `half` keeps passages in
    fp16. `debiasing` changes the vectors of both sides before anything is ranked.
    """
    clock = _Clock()
    searcher = Searcher.choose(search, index, ranks, with_ranks=True)
    log(
        f"{task.name}: vectors of {len(task.query_ids):,} queries and "
        f"{len(task.passage_ids):,} passages in {len(task.languages)} languages"
    )
    _log_notes(task, log)
    queries = _all_queries(task, vectors, ranks, debiasing, log)
    check_index(index, queries.shape[1])
    shard = _own_shard(task, vectors, ranks, half, debiasing, log)
    clock.lap("embed_s")
    count, tops = f"{len(task.relevant):,}", f"the top {depth} passages of every query"
    if searcher.faiss is None:  # one pass over one set of scores
        log(f"{task.name}: ranking {count} relevant passages, and finding {tops}")
        ranking, rows = ranks_and_candidates(task, queries, [shard], ranks, depth + SPARE)
        clock.lap("rank_s")
        top = merge_candidates(queries, [shard], rows, depth, ranks, searcher.why)
    else:
        log(f"{task.name}: ranking {count} relevant passages")
        ranking = exact_ranks(task, queries, [shard], ranks)
        clock.lap("rank_s")
        log(f"{task.name}: searching {tops}")
        top = top_k(queries, [shard], depth, ranks, searcher=searcher)
    clock.lap("search_s")
    scoring = _scoring(queries.shape[1], half, top.method, shard.grid)
    on_host = sum(ranks.gather(shard.card is not None))
    if on_host:
        scoring["passages"] = (
            f"in the host's memory on {on_host} of {ranks.world} processes, whose cards have no "
            "room for them; copied to the card in parts"
        )
    if debiasing is not None:
        scoring["debiasing"] = str(debiasing)
    timing = {**clock.laps, "processes": ranks.world, "threads": torch.get_num_threads()}
    return Scored(task, vectors.name, ranking, top, _settings(task, scoring), timing)


def score_run(task: Task, run: Run, log: Callable[[str], None]) -> Scored:
    """Score a TREC run; passages that it does not list have no rank."""
    task = replace(task, notes=(*run.notes, *task.notes))
    _log_notes(task, log)
    scoring = {"average precision": "over the passages that the run lists, as in trec_eval"}
    settings = _settings(task, scoring)
    return Scored(task, run.name, run.ranking(task), run.top(task, TOP), settings, {})


def _log_notes(task: Task, log: Callable[[str], None]) -> None:
    for note in task.notes[:MAX_NOTES]:
        log(f"{task.name}: left out: {note}")


@dataclass(frozen=True)
class EmbeddedTask:
    """The vectors of a task, embedded on demand."""

    task: Task
    embedder: Embedder

    @property
    def name(self) -> str:
        return self.embedder.name

    def queries(self, rows: slice) -> np.ndarray:
        return _float32(self.embedder.encode_queries(self.task.query_texts[rows]))

    def passages(self, rows: slice) -> np.ndarray:
        return _float32(self.embedder.encode_passages(self.task.passage_texts[rows]))


def _all_queries(
    task: Task,
    vectors: Vectors,
    ranks: Ranks,
    debiasing: Debiasing | None,
    log: Callable[[str], None],
) -> np.ndarray:
    """The vectors of all queries [queries, D] on every rank; each embeds its share."""
    edges = [len(task.query_ids) * rank // ranks.world for rank in range(ranks.world + 1)]
    own = slice(edges[ranks.rank], edges[ranks.rank + 1])
    queries = vectors.queries(own)
    names = _names(task, task.query_ids[own], task.query_language[own])
    check_vectors(queries, names, "query", ranks)
    if debiasing is not None:
        texts = task.query_language[own], task.query_ids[own]
        queries = _debiased(debiasing, queries, *texts, "queries", task, ranks, log)
    return ranks.gather_rows(queries)


def _own_shard(
    task: Task,
    vectors: Vectors,
    ranks: Ranks,
    half: bool,
    debiasing: Debiasing | None,
    log: Callable[[str], None],
) -> Shard:
    """The vectors of this rank's passages."""
    grid = Grid.of(ranks.device, len(task.query_ids), len(task.passage_ids))
    numbers = grid.shards(len(task.passage_ids), ranks.world)[ranks.rank]
    own = slice(numbers.start, numbers.stop)
    passages = _in_fp16(vectors, numbers) if half else vectors.passages(own)
    names = _names(task, task.passage_ids[own], task.passage_language[own])
    check_vectors(passages, names, "passage", ranks)
    if debiasing is not None:
        texts = task.passage_language[own], task.passage_ids[own]
        passages = _debiased(debiasing, passages, *texts, "passages", task, ranks, log)
    return Shard.of(numbers.start, passages, ranks.device, grid)


def _debiased(
    debiasing: Debiasing,
    vectors: np.ndarray,
    languages: np.ndarray,
    ids: Sequence[str],
    side: str,
    task: Task,
    ranks: Ranks,
    log: Callable[[str], None],
) -> np.ndarray:
    """Vectors without their languages; logs the languages that are left alone."""
    result, alone = debiasing.apply(vectors, languages, ids, len(task.languages), ranks)
    if alone:
        names = ", ".join(task.languages[code] for code in alone)
        log(f"{task.name}: too few {side} to remove a language from: {names}")
    return result


def _in_fp16(vectors: Vectors, numbers: range) -> np.ndarray:
    """Passages in fp16, converted in blocks so that they are never all in fp32."""
    passages = np.empty((0, 0), dtype=np.float16)
    for low in range(numbers.start, numbers.stop, FP16_BLOCK):
        block = vectors.passages(slice(low, min(low + FP16_BLOCK, numbers.stop)))
        if low == numbers.start:
            passages = np.empty((len(numbers), block.shape[1]), dtype=np.float16)
        passages[low - numbers.start :][: len(block)] = block
    return passages


def _float32(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _names(task: Task, ids: Sequence[str], languages: np.ndarray) -> list[str]:
    return [f"{name} in {task.languages[code]}" for name, code in zip(ids, languages, strict=True)]


def _settings(task: Task, scoring: Mapping[str, Any]) -> dict[str, Any]:
    settings = {"task": task.spec}
    if task.missing:
        settings["incomplete"] = f"allowed; {'; '.join(task.missing)}"
    if task.notes:
        settings["left out on reading"] = f"{len(task.notes):,}, the first: {task.notes[0]}"
    return {**settings, "ties": TIES[task.ties], **scoring, **_versions()}


def _scoring(dimension: int, half: bool, search: str, grid: Grid) -> dict[str, Any]:
    return {
        "dimension": dimension,
        "average precision": "full depth, exact ranks by counting",
        "score": f"float32 inner product{', passages rounded to float16' if half else ''}",
        "tile": f"{grid.columns} queries x {grid.rows} passages",
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
