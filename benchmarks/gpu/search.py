"""The evaluator's exact ranks and its search on one GPU, by torch and by FAISS: correct, equal for
any number of shards, and how fast.

10 million passages of 768 numbers in fp16; 1,000 queries, each with one planted passage.

  python benchmarks/gpu/search.py             # --dry-run: 20,000 x 64, on a CPU
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from card import Card
from torch import Tensor
from torch.nn import functional

from hybrid_dist.evaluation.coarse import CoarseScan
from hybrid_dist.evaluation.faiss_backend import Faiss, FaissOnCards
from hybrid_dist.evaluation.ranking import exact_ranks, rank_by_scans, ranks_and_candidates
from hybrid_dist.evaluation.search import SPARE, Searcher, merge_proposals, top_k
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.runtime.faiss_build import try_faiss
from hybrid_dist.runtime.ranks import Ranks

CARD = Card("search", __doc__)
PASSAGES, WIDTH, FEW = (20_000, 64, 9_000) if CARD.dry else (10_000_000, 768, 300_000)
QUERIES, LANGUAGES, TOP = 1000, 8, 100
TORCH = Searcher(None)


def _names(count: int) -> Sequence[str]:
    """Ids and texts that nobody reads, in no memory."""
    numbers: Any = range(count)
    return numbers


def task(passages: int, relevant: np.ndarray) -> Task:
    """Query i has one relevant passage; languages are runs of passages."""
    language = np.repeat(np.arange(LANGUAGES), -(-passages // LANGUAGES))[:passages]
    return Task(
        name="planted",
        path="",
        languages=tuple(f"l{n}" for n in range(LANGUAGES)),
        query_ids=_names(len(relevant)),
        query_texts=_names(len(relevant)),
        query_language=np.zeros(len(relevant), np.int64),
        passage_ids=_names(passages),
        passage_texts=_names(passages),
        passage_language=language,
        relevant_starts=np.arange(len(relevant) + 1),
        relevant=relevant,
        grades=np.ones(len(relevant), np.int64),
        one_pool=True,
    )


def planted() -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Random passages; one for each query lies near it, so that ranks are anywhere from 1 on."""
    torch.manual_seed(0)
    passages = torch.empty(PASSAGES, WIDTH, dtype=torch.float16, device=CARD.device)
    for part in passages.split(2**20):
        part.copy_(functional.normalize(torch.randn(len(part), WIDTH, device=CARD.device), dim=-1))
    queries = functional.normalize(torch.randn(QUERIES, WIDTH, device=CARD.device), dim=-1)
    relevant = torch.randperm(FEW, device=CARD.device)[:QUERIES]
    near = torch.linspace(0.02, 0.3, QUERIES, device=CARD.device)[:, None]
    mixed = near * queries + (1 - near) * passages[relevant].float()
    passages[relevant] = functional.normalize(mixed, dim=-1).half()
    return passages, queries.cpu().numpy(), relevant.cpu().numpy()


def counted(passages: Tensor, queries: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Ranks by plain products of large blocks in fp32, which may round otherwise."""
    vectors = torch.from_numpy(queries).to(CARD.device)
    targets = torch.from_numpy(relevant).to(CARD.device)
    limit = (passages[targets].float() * vectors).sum(1)
    ahead = torch.zeros(len(vectors), dtype=torch.long, device=CARD.device)
    for low in range(0, len(passages), 2**18):
        scores = passages[low : low + 2**18].float() @ vectors.T
        own = ((targets >= low) & (targets < low + len(scores))).nonzero()[:, 0]
        scores[targets[own] - low, own] = -torch.inf
        ahead += (scores > limit).sum(0)
    return 1 + ahead.cpu().numpy()


def faiss_searcher() -> Searcher | None:
    """FAISS on this device, if it is installed and has kernels for it."""
    build = try_faiss(None if CARD.dry else 0)
    if build.problem:
        CARD.record("faiss", left_out=build.problem)
        return None
    return Searcher(Faiss() if CARD.dry else FaissOnCards([torch.device("cuda", 0)]))


def main() -> None:
    passages, queries, relevant = planted()
    ranks, faiss = Ranks(device=CARD.device), faiss_searcher()

    def shards() -> None:
        few, some, grid = task(FEW, relevant), passages[:FEW], Grid.of(CARD.device, QUERIES, FEW)
        results: list[list[np.ndarray]] = []
        for count in (1, 2, 3, 8):
            parts = [
                Shard(rows.start, some[rows.start : rows.stop], grid)
                for rows in grid.shards(FEW, count)
            ]
            ranking, rows = ranks_and_candidates(few, queries, parts, ranks, TOP + SPARE)
            tops = {"one pass": merge_proposals(queries, parts, rows, TOP, ranks)}
            scans = [CoarseScan(shard, few, TOP + SPARE, "fp16") for shard in parts]
            by_coarse, rows = rank_by_scans(few, queries, scans, ranks)
            bounds = [scan.candidate_bounds(QUERIES) for scan in scans]
            top = merge_proposals(queries, parts, rows, TOP, ranks, bounds=bounds)
            coarse = [by_coarse.pooled, by_coarse.in_language, top.numbers, top.scores]
            for searcher in filter(None, (TORCH, faiss)):
                name = "faiss" if searcher.faiss else "torch"
                tops[name] = top_k(queries, parts, TOP, ranks, searcher=searcher)
            found = {
                name: [ranking.pooled, ranking.in_language, top.numbers, top.scores]
                for name, top in tops.items()
            }
            for name, arrays in {**found, "coarse in fp16": coarse}.items():
                results.append(arrays)
                pairs = zip(results[0], results[-1], strict=True)
                equal = all(np.array_equal(a, b) for a, b in pairs)
                CARD.record(f"{count} shards of {FEW:,}, {name}", bits_equal_the_first=equal)
        off = np.abs(counted(some, queries, relevant) - results[0][0])
        CARD.record("against plain counting", equal=f"{np.mean(off == 0):.2%}", worst=off.max())

    def speed() -> None:
        whole = task(PASSAGES, relevant)
        work = 2 * PASSAGES * WIDTH * QUERIES / 1e12
        what = f"{QUERIES} queries, {PASSAGES:,} passages of {WIDTH}"

        def timed(name: str, scans: int, action: Callable[[], object], tile: str) -> None:
            begin = CARD.now()
            action()
            seconds = CARD.now() - begin
            tflops = round(scans * work / seconds, 2)
            CARD.record(f"{name}, {what}", tile=tile, s=round(seconds, 3), tflops=tflops)

        small = Grid()  # the tiles of a CPU, on the same device
        for grid in (small, Grid.of(CARD.device, QUERIES, PASSAGES)):
            shard, tile = [Shard(0, passages, grid)], f"{grid.rows} x {grid.columns}"
            exact_ranks(task(FEW, relevant), queries, [Shard(0, passages[:FEW], grid)], ranks)

            def one_pass(shard: list[Shard] = shard) -> None:
                _, rows = ranks_and_candidates(whole, queries, shard, ranks, TOP + SPARE)
                merge_proposals(queries, shard, rows, TOP, ranks)

            def one_coarse_pass(shard: list[Shard] = shard) -> None:
                scan = CoarseScan(shard[0], whole, TOP + SPARE, "fp16")
                _, rows = rank_by_scans(whole, queries, [scan], ranks)
                bounds = [scan.candidate_bounds(QUERIES)]
                merge_proposals(queries, shard, rows, TOP, ranks, bounds=bounds)
                CARD.record("left open by fp16", share=f"{scan.pairs / scan.scores:.4%}")

            def search(searcher: Searcher, shard: list[Shard] = shard) -> None:
                top_k(queries, shard, TOP, ranks, searcher=searcher)

            count = functools.partial(exact_ranks, whole, queries, shard, ranks)
            timed("exact ranks", 2, count, tile)
            timed(f"exact ranks and first {TOP} in one pass", 2, one_pass, tile)
            timed(f"the same with a coarse pass in fp16, first {TOP}", 1, one_coarse_pass, tile)
            timed(f"first {TOP} by torch", 1, functools.partial(search, TORCH), tile)
        if faiss is not None:
            some = [Shard(0, passages[:FEW])]
            top_k(queries, some, TOP, ranks, searcher=faiss)
            timed(f"first {TOP} by faiss", 1, functools.partial(search, faiss), "faiss's")

    def ceiling() -> None:
        """The products, one comparison and a top-k, without any bookkeeping."""
        vectors = torch.from_numpy(queries).to(CARD.device)
        limit = torch.zeros(QUERIES, device=CARD.device)
        for rows in (1024, 16384, 131072):
            part = passages[: 40 * 131072]
            begin = CARD.now()
            for low in range(0, len(part), rows):
                scores = part[low : low + rows].float() @ vectors.T
                (scores > limit).sum(0)
                scores.topk(min(TOP + SPARE, len(scores)), dim=0)
            seconds = (CARD.now() - begin) * PASSAGES / len(part)
            CARD.record(f"ceiling, tiles of {rows:,} passages", s=round(seconds, 3))

    CARD.part("shards", 20, shards)
    CARD.part("speed", 30, speed)
    CARD.part("ceiling", 5, ceiling)
    CARD.record("memory", gib=CARD.peak_gib())


if __name__ == "__main__":
    main()
