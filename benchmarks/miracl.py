"""Exact ranks and the top 100 of MIRACL's 90 million passages on eight ranks: a simulation.

Eight processes search corpora whose languages have MIRACL's shares, at two sizes, and one process
searches the smaller one: results must be equal. What a rank receives from the others and holds
beside its shard is measured, and extended to the whole corpus, width and number of queries.

  python benchmarks/miracl.py                  # --passages 100000 400000 --width 64 --queries 1024

Vectors are random; every query has 2.4 relevant passages on average, in its own language.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measuring import forget_peak, peak_gib

from hybrid_dist.evaluation.ranking import ranks_and_candidates
from hybrid_dist.evaluation.search import SPARE, merge_proposals
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.runtime.ranks import Ranks, exit_process

CORPORA = {
    "ar": 2_061_414,
    "bn": 297_265,
    "en": 32_893_221,
    "es": 10_373_953,
    "fa": 2_207_172,
    "fi": 1_883_509,
    "fr": 14_636_953,
    "hi": 506_264,
    "id": 1_446_315,
    "ja": 6_953_614,
    "ko": 1_486_752,
    "ru": 9_543_918,
    "sw": 131_924,
    "te": 518_079,
    "th": 542_166,
    "zh": 4_934_368,
}
"""Passages of MIRACL's 16 known languages."""
DEV_QUERIES, WIDTH, WORLD, TOP = 13_071, 768, 8, 100


@dataclass(frozen=True)
class CountingRanks(Ranks):
    """Counts the bytes that this rank hands to collectives, and the seconds that it is in them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sent", {"bytes": 0, "seconds": 0.0})

    def sum(self, array: np.ndarray) -> np.ndarray:
        return self._counted(super().sum, array)

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        return self._counted(super().gather_rows, array)

    def _counted(self, collective: Any, array: np.ndarray) -> np.ndarray:
        sent: dict[str, Any] = self.sent  # type: ignore[attr-defined]
        begin = time.perf_counter()
        result: np.ndarray = collective(array)
        sent["seconds"] += time.perf_counter() - begin
        sent["bytes"] += array.nbytes
        return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--passages", type=int, nargs=2, default=(100_000, 400_000))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)  # by this file
    options = parser.parse_args()
    if options.inside is not None:
        inside(options.inside, options.width, options.queries)
        return
    few, many = sorted(options.passages)
    (alone,) = started(1, few, options)
    runs = {passages: started(WORLD, passages, options) for passages in (few, many)}
    same = all(rank["results"] == alone["results"] for rank in runs[few])
    print(f"{few:,} passages: 1 and {WORLD} ranks give {'equal' if same else 'DIFFERENT'} bits")
    for passages, ranks in runs.items():
        beyond, shard, sent, waited, seconds = (
            max(rank[name] for rank in ranks)
            for name in ("beyond", "shard", "sent", "waited", "seconds")
        )
        print(
            f"{passages:,} passages of {options.width}, {options.queries:,} queries: a rank has "
            f"{shard:.3f} GiB of vectors and {beyond:.3f} GiB beside them, hands "
            f"{sent / options.queries:,.0f} bytes a query to the others, {seconds:.1f} s, "
            f"{waited:.1f} s of them in collectives"
        )
    at_scale(max(rank["sent"] for rank in runs[many]) / options.queries)


def at_scale(bytes_per_query: float) -> None:
    """What follows for the whole of MIRACL."""
    passages = sum(CORPORA.values())
    own = passages / WORLD
    flop = 2.0 * own * DEV_QUERIES * WIDTH
    print(
        f"MIRACL: {passages:,} passages of {WIDTH} in fp16, {DEV_QUERIES:,} queries, {WORLD} ranks"
    )
    print(f"  vectors: {own * WIDTH * 2 / 1e9:.1f} GB a rank")
    print(f"  a scan: {flop / 1e12:,.0f} TFLOP a rank; ranks and the top {TOP} take two")
    print(f"  to the others: {bytes_per_query * DEV_QUERIES / 1e6:,.0f} MB a rank in all")


def started(world: int, passages: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What each rank of a run measured."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(world), __file__, "--inside", str(passages)]
    command += ["--width", str(options.width), "--queries", str(options.queries)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def inside(passages: int, width: int, queries: int) -> None:
    """One rank: its shard of the corpus, all queries."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    ranks = CountingRanks(dist.get_rank(), dist.get_world_size())
    task, grid = planted(passages, queries), Grid()
    held = grid.shards(passages, ranks.world)[ranks.rank]
    vectors = np.empty((len(held), width), np.float16)
    for row, number in enumerate(held):  # the same vectors on any number of ranks
        vectors[row] = np.random.Generator(np.random.SFC64(number)).standard_normal(width)
    given = np.random.default_rng(1).standard_normal((queries, width), dtype=np.float32)
    forget_peak()
    before = peak_gib()
    ranks.barrier()
    begin = time.perf_counter()
    shards = [Shard.of(held.start, vectors, ranks.device, grid)]
    ranking, rows = ranks_and_candidates(task, given, shards, ranks, TOP + SPARE)
    top = merge_proposals(given, shards, rows, TOP, ranks)
    seconds = time.perf_counter() - begin
    found = b"".join(
        array.tobytes() for array in (ranking.pooled, ranking.in_language, top.numbers, top.scores)
    )
    sent: dict[str, Any] = ranks.sent  # type: ignore[attr-defined]
    result = {
        "results": hashlib.sha256(found).hexdigest(),
        "shard": vectors.nbytes / 2**30,
        "beyond": peak_gib() - before,
        "sent": sent["bytes"],
        "waited": sent["seconds"],
        "seconds": seconds,
    }
    for rank in ranks.gather(result):
        if ranks.is_first:
            print(json.dumps(rank), flush=True)
    exit_process()


def planted(passages: int, queries: int) -> Task:
    """A corpus with MIRACL's languages, in their order; queries are dealt among them."""
    share = np.array(list(CORPORA.values())) / sum(CORPORA.values())
    counts = np.maximum(4, np.floor(share * passages)).astype(np.int64)
    counts[np.argmax(counts)] += passages - counts.sum()
    first = np.concatenate([[0], np.cumsum(counts)])
    query_language = np.sort(np.arange(queries) % len(CORPORA))
    draw = np.random.default_rng(0)
    relevant = [
        np.sort(draw.choice(counts[lang], draw.integers(1, 5), replace=False)) + first[lang]
        for lang in query_language
    ]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in relevant])])
    return Task(
        name="miracl",
        path="",
        languages=tuple(CORPORA),
        query_ids=_names(queries),
        query_texts=_names(queries),
        query_language=query_language,
        passage_ids=_names(passages),
        passage_texts=_names(passages),
        passage_language=np.repeat(np.arange(len(CORPORA)), counts),
        relevant_starts=starts,
        relevant=np.concatenate(relevant),
        grades=np.ones(starts[-1], np.int64),
    )


def _names(count: int) -> Sequence[str]:
    """Ids and texts that nobody reads, in no memory."""
    numbers: Any = range(count)
    return numbers


if __name__ == "__main__":
    main()
