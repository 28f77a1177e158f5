"""The plan on 50 million pairs in 26 languages, beside what people use to choose batches.

Each side runs in a process of its own. Prints rows per second on one core, the time to a far step
in a new process and again in the same one, and the peak memory of the process. The peers
reach a step by iterating up to it: sentence-transformers' proportional sampler over 26
datasets, and Accelerate's skip_first_batches over one shuffled dataset.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

PAIRS, LANGUAGES, SIZE = 50_000_000, 26, 4096


def sizes() -> np.ndarray:
    """Pairs of each language: the largest has five times the smallest."""
    shares = 1 / np.sqrt(np.arange(1, LANGUAGES + 1))
    return (PAIRS * shares / shares.sum()).astype(np.int64)


def ours(far: int) -> dict[str, float]:
    from hybrid_dist.batching import Plan
    from hybrid_dist.config.schema import Batching
    from hybrid_dist.config.sources import Mix
    from hybrid_dist.data.store.index import Index, TrainingSource

    counts = sizes()
    starts = np.concatenate([[0], np.cumsum(counts)])
    uids = int(counts[0])
    stands_in = np.zeros(uids + 1, np.int64)  # uid u stands in the first languages, so many
    for count in counts:
        stands_in[0] += 1
        stands_in[count] -= 1
    uid_starts = np.concatenate([[0], np.cumsum(np.cumsum(stands_in[:-1]))])
    uid_rows = np.empty(starts[-1], np.int32)
    row_uid = np.empty(starts[-1], np.int32)
    for language, count in enumerate(counts):
        rows = np.arange(starts[language], starts[language] + count, dtype=np.int32)
        uid_rows[uid_starts[:count] + language] = rows
        row_uid[rows[0] : rows[-1] + 1] = np.arange(count, dtype=np.int32)
    index = Index(
        languages=tuple(f"l{i:02d}" for i in range(LANGUAGES)),
        row_uid=row_uid,
        language_starts=starts,
        uid_starts=uid_starts,
        uid_rows=uid_rows,
        uid_passage_cluster=np.arange(uids, dtype=np.int32),
        uid_query_cluster=np.arange(uids, dtype=np.int32),
        query_length=np.full(starts[-1], 40, np.uint16),
        passage_length=np.full(starts[-1], 400, np.uint16),
        passage_of=np.arange(starts[-1], dtype=np.int32),
        negative_starts=np.zeros(starts[-1] + 1, np.int64),
        negatives=np.zeros(0, np.int32),
        passage_cluster=row_uid,
    )
    options = Batching(size=SIZE, mix=Mix(monolingual=0.4, cross_lingual=0.4, multilingual=0.2))
    begin = time.perf_counter()
    plan = Plan([TrainingSource("generated", index)], options, seed=1)
    plan.batch(far)
    cold = time.perf_counter() - begin
    begin = time.perf_counter()
    plan.batch(far + 1)
    warm = time.perf_counter() - begin
    steps = 300
    begin = time.perf_counter()
    for step in range(steps):
        plan.batch(step)
    rate = steps * SIZE / (time.perf_counter() - begin)
    return {"rows_per_s": rate, "cold_s": cold, "warm_s": warm}


def sentence_transformers(far: int) -> dict[str, float]:
    import torch
    from sentence_transformers.base.sampler import DefaultBatchSampler, ProportionalBatchSampler
    from sentence_transformers.sentence_transformer.model import SentenceTransformer  # noqa: F401
    from torch.utils.data import ConcatDataset

    generator = torch.Generator().manual_seed(1)
    begin = time.perf_counter()
    datasets: list[Any] = [range(int(count)) for count in sizes()]
    samplers = [
        DefaultBatchSampler(
            torch.utils.data.RandomSampler(d, generator=generator), batch_size=SIZE, drop_last=True
        )
        for d in datasets
    ]
    sampler = ProportionalBatchSampler(
        ConcatDataset(datasets), samplers, generator=generator, seed=1
    )
    return _walk(iter(sampler), far, begin)


def accelerate(far: int) -> dict[str, float]:
    from accelerate import skip_first_batches
    from torch.utils.data import DataLoader

    begin = time.perf_counter()
    pairs: Any = range(PAIRS)
    loader: Any = DataLoader(pairs, batch_size=SIZE, shuffle=True, collate_fn=list)
    return _walk(iter(skip_first_batches(loader, far - 1)), 0, begin)


def _walk(batches, far: int, begin: float) -> dict[str, float]:  # type: ignore[no-untyped-def]
    for _ in range(far):
        next(batches)
    next(batches)
    cold = time.perf_counter() - begin
    begin = time.perf_counter()
    for _ in range(20):
        next(batches)
    return {"cold_s": cold, "rows_per_s": 20 * SIZE / (time.perf_counter() - begin)}


SIDES = {"ours": ours, "sentence_transformers": sentence_transformers, "accelerate": accelerate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=list(SIDES), help="run one side, and print its figures")
    parser.add_argument("--far", type=int, help="step to go to")
    options = parser.parse_args()
    if options.side:
        figures = SIDES[options.side](options.far)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(figures | {"peak_gib": peak}))
        return
    for side, far in [("ours", 1_000_000), ("ours", 2_000), *((s, 2_000) for s in [*SIDES][1:])]:
        command = [sys.executable, __file__, "--side", side, "--far", str(far)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{side}: did not run: {done.stderr.strip().splitlines()[-1]}")
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        warm = f", again {figures['warm_s'] * 1000:.1f} ms" if "warm_s" in figures else ""
        print(
            f"{side}: step {far:,} in {figures['cold_s']:.2f} s{warm}; "
            f"{figures['rows_per_s'] / 1e6:.2f} M rows/s; {figures['peak_gib']:.2f} GiB in all"
        )


if __name__ == "__main__":
    main()
