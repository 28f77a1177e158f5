"""`evaluate --coarse` against scores in fp32, timed in turns, as ratios of medians.

Ranks and the first 10 of 512 queries among random passages of dimension 384. Each query is near its
first relevant passage; with several, the others are anywhere, as translations are that a model does
not find. Says whether the results have equal bits, and how many scores were left open.
"""

import argparse
from functools import partial

import numpy as np
import torch
from measuring import Step, compare

from hybrid_dist.evaluation.coarse import DTYPES, CoarseScan
from hybrid_dist.evaluation.ranking import Scan, rank_by_scans
from hybrid_dist.evaluation.search import SPARE, merge_proposals
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.runtime.ranks import Ranks

QUERIES, WIDTH, TOP, LANGUAGES = 512, 384, 10, 8
DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


class Ranked:
    """One set of vectors, ranked with a coarse pass or without."""

    def __init__(self, passages: int, relevant: int) -> None:
        rng = np.random.default_rng(1)
        chosen = [rng.choice(passages, relevant, replace=False) for _ in range(QUERIES)]
        vectors = unit(rng.standard_normal((passages, WIDTH), dtype=np.float32))
        noise = unit(rng.standard_normal((QUERIES, WIDTH), dtype=np.float32))
        near = vectors[[numbers[0] for numbers in chosen]]
        self.queries = unit(near + rng.uniform(0.5, 3, (QUERIES, 1)).astype(np.float32) * noise)
        self.task = task(passages, chosen)
        grid = Grid.of(DEVICE, QUERIES, passages)
        self.shard, self.ranks = Shard.of(0, vectors, DEVICE, grid), Ranks(device=DEVICE)
        self.found: dict[str, tuple[np.ndarray, ...]] = {}
        self.left_open: dict[str, float] = {}

    def run(self, coarse: str, first: int, last: int) -> None:
        scan: Scan
        if coarse == "none":
            scan = Scan(self.shard, self.task, TOP + SPARE)
        else:
            scan = CoarseScan(self.shard, self.task, TOP + SPARE, coarse)
        ranking, rows = rank_by_scans(self.task, self.queries, [scan], self.ranks)
        bounds = [scan.candidate_bounds(QUERIES)]
        top = merge_proposals(self.queries, [self.shard], rows, TOP, self.ranks, bounds=bounds)
        self.found[coarse] = ranking.pooled, ranking.in_language, top.numbers, top.scores
        if isinstance(scan, CoarseScan):
            self.left_open[coarse] = scan.pairs / scan.scores


def unit(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


def task(passages: int, chosen: list[np.ndarray]) -> Task:
    """Queries of one language, with these relevant passages in any."""
    names = [str(number) for number in range(max(passages, QUERIES))]
    relevant = np.concatenate([np.sort(numbers) for numbers in chosen])
    return Task(
        name="random",
        path="",
        languages=tuple(f"l{n}" for n in range(LANGUAGES)),
        query_ids=names[:QUERIES],
        query_texts=names[:QUERIES],
        query_language=np.zeros(QUERIES, np.int64),
        passage_ids=names[:passages],
        passage_texts=names[:passages],
        passage_language=np.repeat(np.arange(LANGUAGES), -(-passages // LANGUAGES))[:passages],
        relevant_starts=np.cumsum([0, *map(len, chosen)]),
        relevant=relevant,
        grades=np.ones(len(relevant), np.int64),
        one_pool=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--relevant", type=int, nargs="+", default=[1, 11], help="of each query")
    parser.add_argument("--turns", type=int, default=5, help="turns each")
    options = parser.parse_args()
    for relevant in options.relevant:
        print(f"{relevant} relevant of {options.passages:,} passages, on {DEVICE.type}")
        ranked = Ranked(options.passages, relevant)
        for coarse in DTYPES:
            sides: dict[str, Step] = {
                coarse: partial(ranked.run, coarse),
                "fp32": partial(ranked.run, "none"),
            }
            compare(sides, 1, options.turns, f"fp32 over {coarse}")
            equal = map(np.array_equal, ranked.found[coarse], ranked.found["none"])
            print(f"  left open: {ranked.left_open[coarse]:.3%}; equal bits: {all(equal)}")


if __name__ == "__main__":
    main()
