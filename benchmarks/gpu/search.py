"""The evaluator's exact ranks and its search on one GPU: correct, equal for any number of shards,
and how fast.

10 million passages of 768 numbers in fp16; 512 queries at once, each with one planted passage.

  python benchmarks/gpu/search.py             # --dry-run: 20,000 x 64, on a CPU
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from card import Card
from torch import Tensor
from torch.nn import functional

from hybrid_dist.evaluation.ranking import exact_ranks
from hybrid_dist.evaluation.search import top_k
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.runtime.ranks import Ranks

CARD = Card("search", __doc__)
PASSAGES, WIDTH, FEW = (20_000, 64, 9_000) if CARD.dry else (10_000_000, 768, 300_000)
QUERIES, LANGUAGES = 512, 8


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


def main() -> None:
    passages, queries, relevant = planted()
    ranks = Ranks(device=CARD.device)

    def shards() -> None:
        few, some, grid = task(FEW, relevant), passages[:FEW], Grid.of(CARD.device, QUERIES, FEW)
        results = []
        for count in (1, 2, 3, 8):
            parts = [
                Shard(rows.start, some[rows.start : rows.stop], grid)
                for rows in grid.shards(FEW, count)
            ]
            ranking, top = (
                exact_ranks(few, queries, parts, ranks),
                top_k(queries, parts, 100, ranks),
            )
            results.append((ranking.pooled, ranking.in_language, top.numbers, top.scores))
            equal = all(np.array_equal(a, b) for a, b in zip(results[0], results[-1], strict=True))
            CARD.record(f"{count} shards of {FEW:,}", bits_equal_one_shard=equal)
        off = np.abs(counted(some, queries, relevant) - results[0][0])
        CARD.record("against plain counting", equal=f"{np.mean(off == 0):.2%}", worst=off.max())

    def speed() -> None:
        whole = task(PASSAGES, relevant)
        work = 2 * PASSAGES * WIDTH * QUERIES / 1e12
        what = f"{QUERIES} queries, {PASSAGES:,} passages of {WIDTH}"
        small = Grid()  # the tiles of a CPU, on the same device
        for grid in (small, Grid.of(CARD.device, QUERIES, PASSAGES)):
            shard, tile = [Shard(0, passages, grid)], f"{grid.rows} x {grid.columns}"
            exact_ranks(task(FEW, relevant), queries, [Shard(0, passages[:FEW], grid)], ranks)
            begin = CARD.now()
            exact_ranks(whole, queries, shard, ranks)
            seconds = CARD.now() - begin
            tflops = round(2 * work / seconds, 2)  # two scans
            CARD.record(f"exact ranks, {what}", tile=tile, s=round(seconds, 3), tflops=tflops)
            begin = CARD.now()
            method = top_k(queries, shard, 100, ranks).method
            seconds = CARD.now() - begin
            tflops = round(work / seconds, 2)
            CARD.record(
                f"first 100, {what}", tile=tile, s=round(seconds, 3), tflops=tflops, by=method
            )

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
                scores.topk(min(116, len(scores)), dim=0)
            seconds = (CARD.now() - begin) * PASSAGES / len(part)
            CARD.record(f"ceiling, tiles of {rows:,} passages", s=round(seconds, 3))

    CARD.part("shards", 15, shards)
    CARD.part("speed", 15, speed)
    CARD.part("ceiling", 5, ceiling)
    CARD.record("memory", gib=CARD.peak_gib())


if __name__ == "__main__":
    main()
