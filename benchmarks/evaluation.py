"""The evaluator against common alternatives, timed in turns, as ratios of medians.

  scan    XQuAD-R with vectors of dimension 768, all settings, intervals and bias figures, against
          NumPy's bare `queries @ passages.T`; and the memory beyond imports and vectors
  mteb    the same against MTEB's exact search and scoring at k = 1,000 of the pool of all languages
          alone, and of that and all language pairs (--peer-python: a Python with mteb)
  large   2 million passages and 1,000 queries of dimension 256 on 2 ranks: memory beyond imports,
          and the top 100 against faiss's IndexFlatIP alone
  embed   texts of natural lengths against SentenceTransformer.encode, unsorted and sorted

XQuAD-R is read from HYBRID_DIST_DATA/xquad-r; vectors are random except in `embed`. Ratios above 1
mean that ours is faster.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Missing, compare, data, forget_peak, minilm, needs, peak_gib, run_parts

from hybrid_dist.evaluation.search import top_k
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.reporting.evaluation_report import evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks, exit_process

PEER = Path(__file__).with_name("mteb_peer.py")
PASSAGES, QUERIES, SIZE, BEST = 2_000_000, 1000, 256, 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts: dict[str, Callable[[argparse.Namespace], None]]
    parts = {"scan": scan, "mteb": mteb, "large": large, "embed": embed}
    parser.add_argument("what", nargs="*", help=f"{', '.join(parts)}; all, unless some are named")
    parser.add_argument("--turns", type=int, default=5, help="turns each")
    parser.add_argument("--peer-python", help="a python that has mteb")
    parser.add_argument("--inside", nargs=2, default=(), help=argparse.SUPPRESS)  # by this file
    options = parser.parse_args()
    if options.inside:
        what, folder = options.inside
        {"memory": scan_memory, "rank": large_inside}[what](Path(folder))
        return
    for what in options.what:
        if what not in parts:
            parser.error(f"{what!r} is none of {', '.join(parts)}")
    run_parts({name: partial(run, options) for name, run in parts.items()}, options.what or parts)


def again(python: list[str], what: str, folder: Path, **environment: str) -> list[dict[str, Any]]:
    """Run a part of this file in processes of its own; returns the JSON object of each."""
    command = [*python, __file__, "--inside", what, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def random_vectors(count: int, size: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, size), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


# --- XQuAD-R


class RandomVectors:
    """Random vectors for a task."""

    name = "random vectors"

    def __init__(self, task: Task) -> None:
        self._queries = random_vectors(len(task.query_ids), 768, 1)
        self._passages = random_vectors(len(task.passage_ids), 768, 2)

    def queries(self, rows: slice) -> np.ndarray:
        return self._queries[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self._passages[rows]


def xquad_r() -> Task:
    return load_task(f"xquad_r:{data('xquad-r', 'the XQuAD-R of LAReQA')}")


def scan(options: argparse.Namespace) -> None:
    task = xquad_r()
    vectors = RandomVectors(task)
    whole = slice(None)
    queries, passages = vectors.queries(whole), vectors.passages(whole)
    print(f"scan: {len(queries):,} queries x {len(passages):,} passages, dimension 768")

    def ours(first: int, last: int) -> None:
        with tempfile.TemporaryDirectory() as out:
            evaluate_vectors(task, vectors, Ranks(), Path(out))

    def bare(first: int, last: int) -> None:
        queries @ passages.T

    ratio = compare({"ours": ours, "bare": bare}, 1, options.turns, "bare product over ours")
    print(f"  the whole report takes {1 / ratio:.2f} times the bare product")
    (memory,) = again([sys.executable], "memory", Path())
    print(f"  {memory['beyond_gib']:.2f} GiB beyond imports, task and vectors")


def scan_memory(_: Path) -> None:
    task = xquad_r()
    vectors = RandomVectors(task)
    forget_peak()
    before = peak_gib()
    with tempfile.TemporaryDirectory() as out:
        evaluate_vectors(task, vectors, Ranks(), Path(out))
    print(json.dumps({"beyond_gib": peak_gib() - before}))


# --- MTEB


def mteb(options: argparse.Namespace) -> None:
    if options.peer_python is None:
        raise Missing("give --peer-python a python that has mteb")
    task = xquad_r()
    vectors = RandomVectors(task)
    print(f"mteb: search and scoring at k = 1,000 of {len(task.query_ids):,} queries")
    seconds: dict[str, list[float]] = {"ours": [], "pooled": [], "pairs": []}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        np.save(folder / "queries.npy", vectors.queries(slice(None)))
        np.save(folder / "passages.npy", vectors.passages(slice(None)))
        np.savez(
            folder / "task.npz",
            starts=task.relevant_starts,
            relevant=task.relevant,
            query_language=task.query_language,
            passage_language=task.passage_language,
        )
        for turn in range(options.turns):
            begin = time.perf_counter()
            evaluate_vectors(task, vectors, Ranks(), folder / "report")
            seconds["ours"].append(time.perf_counter() - begin)
            seconds["pooled"].append(mteb_seconds(options.peer_python, folder, "pooled"))
            if turn == 0:  # minutes
                seconds["pairs"].append(mteb_seconds(options.peer_python, folder, "pairs"))
    ours, pooled, pairs = (statistics.median(values) for values in seconds.values())
    print(f"  ours, all settings, full depth, report: {ours:.1f} s, median of {options.turns}")
    print(f"  mteb, the pool of all languages: {pooled:.1f} s, median of {options.turns}")
    print(f"  mteb, all pairs of languages: {pairs:.1f} s, once")
    print(f"  ratio: {pooled / ours:.2f} for the pool alone, {(pooled + pairs) / ours:.1f} for all")


def mteb_seconds(python: str, folder: Path, what: str) -> float:
    command = [python, str(PEER), str(folder), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.splitlines()[-1])


# --- millions of passages


def large(options: argparse.Namespace) -> None:
    needs("faiss")
    print(f"large: the best {BEST} of {PASSAGES:,} x {SIZE} for {QUERIES:,} queries, 2 ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    results = again([*torchrun, "--nproc_per_node", "2"], "rank", Path(), OMP_NUM_THREADS="1")
    for rank in results:
        print(
            f"  rank {rank['rank']}: {rank['beyond_gib']:.2f} GiB beyond imports for a shard of "
            f"{rank['shard_gib']:.2f} GiB ({rank['beyond_gib'] / rank['shard_gib']:.2f})"
        )
    ours, theirs = (max(rank[side] for rank in results) for side in ("ours_s", "faiss_s"))
    print(f"  ours {ours:.2f} s, faiss alone {theirs:.2f} s on the same shards, medians")
    print(f"  ours takes {ours / theirs:.2f} times faiss's")


def large_inside(_: Path) -> None:
    import faiss
    import torch.distributed as dist

    dist.init_process_group("gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    held = Grid().shards(PASSAGES, ranks.world)[ranks.rank]
    queries = random_vectors(QUERIES, SIZE, 1)
    forget_peak()
    before = peak_gib()
    vectors = np.empty((len(held), SIZE), np.float32)
    for low in range(0, len(held), 65_536):  # no second copy, which would hide in the peak
        vectors[low : low + 65_536] = random_vectors(len(vectors[low : low + 65_536]), SIZE, low)
    shard = Shard.of(held.start, vectors, ranks.device)
    seconds: dict[str, list[float]] = {"ours": [], "faiss": []}
    for turn in range(4):
        ranks.barrier()
        begin = time.perf_counter()
        top_k(queries, [shard], BEST, ranks)
        seconds["ours"].append(time.perf_counter() - begin)
        if turn == 0:
            beyond = peak_gib() - before
            index = faiss.IndexFlatIP(SIZE)
            index.add(vectors)
        ranks.barrier()
        begin = time.perf_counter()
        index.search(queries, BEST)
        seconds["faiss"].append(time.perf_counter() - begin)
    result = {
        "rank": ranks.rank,
        "beyond_gib": beyond,
        "shard_gib": vectors.nbytes / 2**30,
        **{f"{side}_s": statistics.median(values[1:]) for side, values in seconds.items()},
    }
    for rank in ranks.gather(result):
        if ranks.is_first:
            print(json.dumps(rank), flush=True)
    exit_process()


# --- embedding


def embed(options: argparse.Namespace) -> None:
    needs("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    task = xquad_r()
    english = np.flatnonzero(task.passage_language == task.languages.index("en"))
    texts = [task.passage_texts[int(row)] for row in english]
    texts = [texts[n] for n in np.random.default_rng(3).permutation(len(texts))]
    embedder = TextEmbedder.load(minilm(), torch.device("cpu"))
    peer = SentenceTransformer(minilm(), device="cpu")
    for order, given in (("unsorted", texts), ("sorted by length", sorted(texts, key=len))):
        print(f"embed: {len(given):,} English sentences, {order}")

        def ours(first: int, last: int, given: list[str] = given) -> None:
            embedder.encode_passages(given)

        def theirs(first: int, last: int, given: list[str] = given) -> None:
            peer.encode(given, show_progress_bar=False)

        compare({"ours": ours, "theirs": theirs}, 1, options.turns)


if __name__ == "__main__":
    main()
