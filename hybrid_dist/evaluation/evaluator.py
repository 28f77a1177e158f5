"""Score one task: embed, rank every relevant passage, search the top passages."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

import hybrid_dist
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bias import TOP
from hybrid_dist.evaluation.coarse import Coarse, CoarseScan
from hybrid_dist.evaluation.cuts import check_cuts, cut
from hybrid_dist.evaluation.debiasing import Debiasing
from hybrid_dist.evaluation.excluded import (
    top_without_excluded,
    with_excluded,
    without_excluded,
)
from hybrid_dist.evaluation.quantisation import Quantisation
from hybrid_dist.evaluation.ranking import Ranking, Scan, exact_ranks, rank_by_scans
from hybrid_dist.evaluation.rescoring import check_memory, rescore
from hybrid_dist.evaluation.search import (
    EXACT,
    SPARE,
    Search,
    Searcher,
    TopK,
    check_index,
    merge_proposals,
    top_k,
)
from hybrid_dist.evaluation.task_vectors import HeldVectors, TaskVectors, Vectors
from hybrid_dist.evaluation.tasks import TIES, Task
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.evaluation.trec import Run, check_names
from hybrid_dist.runtime.ranks import Ranks

MAX_NOTES = 10
"""How many skipped lines and other omissions are listed individually."""
MAX_RUN_LINES = 1 << 28
"""The most lines of a saved run; each takes 12 bytes of memory while the run is built."""


@dataclass(frozen=True)
class Found:
    """The ranks of the relevant passages, and the top passages."""

    ranking: Ranking
    top: TopK
    in_host_memory: bool = False
    """Whether this rank's passages had no room on its card."""


@dataclass(frozen=True)
class Scored:
    """A scored task: ranks and top passages, with the settings and timings behind them."""

    task: Task
    name: str
    ranking: Ranking
    top: TopK
    settings: Mapping[str, Any]
    timing: Mapping[str, Any]
    cuts: Mapping[int, Found] = field(default_factory=dict)
    """The same by vectors that are cut, by their dimension."""


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


@dataclass(frozen=True)
class ScoringOptions:
    """How vectors are scored and searched."""

    index: str = EXACT
    """FAISS factory string of the search for top passages. Ranks are exact with any index."""
    search: Search = "auto"
    """What searches the top passages: torch, FAISS, or what suits the device."""
    half: bool = False
    """Keep passages in fp16; queries and scores stay fp32."""
    debiasing: Debiasing | None = None
    """Remove languages from the vectors of both sides before anything is ranked."""
    quantisation: Quantisation | None = None
    """Rank passages by smaller codes."""
    dims: tuple[int, ...] = ()
    """Also score vectors that are cut to so many dimensions."""
    coarse: Coarse = "none"
    """Compute most scores from vectors rounded to 16 bits. Ranks and top passages stay the same."""


def score_vectors(
    task: Task,
    vectors: Vectors,
    ranks: Ranks,
    log: Callable[[str], None],
    depth: int = TOP,
    options: ScoringOptions | None = None,
) -> Scored:
    """Rank all relevant passages, and search the top `depth` passages of every query.

    Every rank holds the vectors of all queries and of its own shard of the passages.
    """
    clock = _Clock()
    options = options or ScoringOptions()
    searcher = Searcher.choose(options.search, options.index, ranks, with_ranks=True)
    log(
        f"{task.name}: vectors of {len(task.query_ids):,} queries and "
        f"{len(task.passage_ids):,} passages in {len(task.languages)} languages"
    )
    _log_notes(task, log)
    grid = Grid.of(ranks.device, len(task.query_ids), len(task.passage_ids))
    code = options.quantisation
    if code is not None and code.rescored:
        check_memory(task, code.rescored, grid)
    own = TaskVectors(task, vectors, ranks, None if options.dims else options.debiasing, log)
    queries = own.queries()
    width = queries.shape[1]
    check_cuts(options.dims, width)
    dims = [dim for dim in options.dims if dim < width]
    for dim in (width, *dims):
        check_index(options.index, dim)
    numbers = grid.shards(len(task.passage_ids), ranks.world)[ranks.rank]
    passages = own.passages(numbers, options.half)
    clock.lap("embed_s")
    search = _Search(task, options, searcher, grid, numbers, depth, ranks)
    whole = queries, passages
    if options.dims:
        whole = search.debiased(queries, passages, log)
    found = search.run(*whole, log, clock)
    cuts = {}
    for dim in dims:
        log(f"{task.name}: vectors cut to {dim} dimensions")
        short = search.debiased(cut(queries, dim), cut(passages, dim), log)
        cuts[dim] = search.run(*short, log, _Clock())
    if dims:
        clock.lap("cuts_s")
    scoring = _scoring(width, options, found.top.method, grid)
    on_host = sum(ranks.gather(found.in_host_memory))
    if on_host:
        scoring["passages"] = (
            f"in the host's memory on {on_host} of {ranks.world} processes, whose cards have no "
            "room for them; copied to the card in parts"
        )
    timing = {**clock.laps, "processes": ranks.world, "threads": torch.get_num_threads()}
    settings = _settings(task, scoring)
    return Scored(task, vectors.name, found.ranking, found.top, settings, timing, cuts)


@dataclass(frozen=True)
class _Search:
    """Ranks and top passages of vectors, of one width after another."""

    task: Task
    options: ScoringOptions
    searcher: Searcher
    grid: Grid
    numbers: range
    """This rank's passages."""
    depth: int
    ranks: Ranks

    def debiased(
        self, queries: np.ndarray, passages: np.ndarray, log: Callable[[str], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Without languages, if they are to be removed: from vectors that are cut already."""
        debiasing = self.options.debiasing
        if debiasing is None:
            return queries, passages
        held = HeldVectors(queries, passages, self.numbers.start)
        own = TaskVectors(self.task, held, self.ranks, debiasing, log)
        return own.queries(), own.passages(self.numbers)

    def run(
        self, queries: np.ndarray, passages: np.ndarray, log: Callable[[str], None], clock: "_Clock"
    ) -> Found:
        """With the vectors of all queries, and of this rank's passages."""
        task, ranks, grid = with_excluded(self.task), self.ranks, self.grid
        depth = self.depth + (task is not self.task)
        code, start = self.options.quantisation, self.numbers.start
        ranked = passages if code is None else code.decoded(passages, ranks)
        shard = Shard.of(start, ranked, ranks.device, grid)
        in_host_memory = shard.card is not None
        count, tops = f"{len(task.relevant):,}", f"the top {depth} passages of every query"
        if code is not None and code.rescored:
            log(f"{task.name}: ranking {count} relevant passages by codes")
            ranking = exact_ranks(task, queries, [shard], ranks)
            clock.lap("rank_s")
            log(f"{task.name}: scoring the best {code.rescored} of each pool again")
            whole = Shard.of(start, passages, ranks.device, grid)
            in_host_memory |= whole.card is not None
            n = max(code.rescored, depth)
            ranking, top = rescore(task, queries, shard, whole, n, ranking, depth, ranks)
        elif self.searcher.faiss is None:  # one pass over one set of scores
            log(f"{task.name}: ranking {count} relevant passages, and finding {tops}")
            scan = self._scan(shard, depth + SPARE)
            ranking, rows = rank_by_scans(task, queries, [scan], ranks)
            clock.lap("rank_s")
            why, bounds = self.searcher.why, [scan.candidate_bounds(len(queries))]
            top = merge_proposals(queries, [shard], rows, depth, ranks, why, bounds)
            self._log_open(scan, log)
        else:
            log(f"{task.name}: ranking {count} relevant passages")
            scan = self._scan(shard, 0)
            ranking, _ = rank_by_scans(task, queries, [scan], ranks)
            clock.lap("rank_s")
            self._log_open(scan, log)
            log(f"{task.name}: searching {tops}")
            top = top_k(queries, [shard], depth, ranks, searcher=self.searcher)
        clock.lap("search_s")
        ranking = without_excluded(self.task, ranking)
        return Found(ranking, top_without_excluded(self.task, top), in_host_memory)

    def _scan(self, shard: Shard, candidates: int) -> Scan:
        if self.options.coarse == "none":
            return Scan(shard, self.task, candidates)
        return CoarseScan(shard, self.task, candidates, self.options.coarse)

    def _log_open(self, scan: Scan, log: Callable[[str], None]) -> None:
        """How many coarse scores decided nothing."""
        if isinstance(scan, CoarseScan):
            left_open, scores = self.ranks.sum(np.array([scan.pairs, scan.scores])).tolist()
            log(
                f"{self.task.name}: {left_open / scores:.3%} of the {self.options.coarse} scores "
                "could not decide which passage is ahead"
            )


def score_run(task: Task, run: Run, log: Callable[[str], None]) -> Scored:
    """Score a TREC run; passages that it does not list have no rank."""
    task = replace(task, notes=(*run.notes, *task.notes))
    _log_notes(task, log)
    scoring = {"average precision": "over the passages that the run lists, as in trec_eval"}
    settings = _settings(task, scoring)
    ranking = without_excluded(task, run.ranking(with_excluded(task)))
    top = top_without_excluded(task, run.top(task, TOP + (task.excluded is not None)))
    return Scored(task, run.name, ranking, top, settings, {})


def _log_notes(task: Task, log: Callable[[str], None]) -> None:
    for note in task.notes[:MAX_NOTES]:
        log(f"{task.name}: left out: {note}")


def _settings(task: Task, scoring: Mapping[str, Any]) -> dict[str, Any]:
    settings = {"task": task.spec}
    if task.missing:
        settings["incomplete"] = f"allowed; {'; '.join(task.missing)}"
    if task.notes:
        settings["left out on reading"] = f"{len(task.notes):,}, the first: {task.notes[0]}"
    return {**settings, "ties": TIES[task.ties], **scoring, **_versions()}


def _scoring(dimension: int, options: ScoringOptions, search: str, grid: Grid) -> dict[str, Any]:
    rounded = ", passages rounded to float16" if options.half else ""
    scoring = {
        "dimension": dimension,
        "average precision": "full depth, exact ranks by counting",
        "score": f"float32 inner product{rounded}",
        "tile": f"{grid.columns} queries x {grid.rows} passages",
        "search": search,
    }
    if options.coarse != "none":
        scoring["coarse pass"] = f"in {options.coarse}; ranks are those of scores in float32"
    if options.debiasing is not None:
        scoring["debiasing"] = str(options.debiasing)
    if options.quantisation is not None:
        size = options.quantisation.bytes_per_passage(dimension)
        scoring["quantisation"] = (
            f"{options.quantisation}; {size:,} bytes per passage in place of {4 * dimension:,}"
        )
    if cuts := [dim for dim in options.dims if dim < dimension]:
        scoring["cuts"] = (
            f"{', '.join(map(str, cuts))}: vectors cut to their first values and normalised again"
        )
    return scoring


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
