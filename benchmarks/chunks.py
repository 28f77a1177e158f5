"""Chunks by tokens and by pairs, on lengths like mMARCO's: peak memory and processor time.

Queries have about 8 tokens and passages about 80, lognormal. The model is a BERT of random weights
(4 layers of 128); a step is a forward and a backward pass of 256 pairs with the loss, in fp32 and
without an optimizer. Each side runs in a process of its own. By tokens, chunks are cut once as many
as by pairs and once as long as the longest by pairs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from measuring import forget_peak, peak_gib, returning_memory
from transformers import BertConfig

from hybrid_dist.batching import RankShard, shard_batch
from hybrid_dist.config.schema import Model
from hybrid_dist.losses.infonce import InfoNCE
from hybrid_dist.model.encoder import BiEncoder, Chunk
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import PackedTexts

PAIRS, WORDS = 256, 30_000


def lengths(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the queries and of the passages of a batch [PAIRS]."""
    random = np.random.default_rng(step)
    queries = np.clip(random.lognormal(np.log(8) - 0.08, 0.4, PAIRS), 4, 64)
    passages = np.clip(random.lognormal(np.log(80) - 0.125, 0.5, PAIRS), 8, 256)
    return queries.astype(np.int64), passages.astype(np.int64)


def longest(shard: RankShard, rows: np.ndarray) -> int:
    """Tokens of the longest chunk."""
    return max(int(rows[shard.rows[cut]].sum()) for cut in shard.chunks)


def bert() -> BiEncoder:
    """Random weights, without dropout."""
    with tempfile.TemporaryDirectory() as folder:
        BertConfig(
            vocab_size=WORDS,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=512,
        ).save_pretrained(folder)
        settings = Model(name_or_path=folder, init="scratch", dropout=0.0, attention_dropout=None)
        encoder = build(settings, read_config(settings))
    if encoder.padding_reason is not None:
        raise SystemExit(encoder.padding_reason)
    return BiEncoder(encoder, 0.05, False)


def batch(
    step: int, pairs: int, chunk_size: int, chunk_tokens: int, least: int
) -> tuple[list[Chunk], int]:
    """The chunks of a step's first pairs, and the tokens of the longest."""
    queries, passages = (sizes[:pairs] for sizes in lengths(step))
    rows, random = queries + passages, np.random.default_rng(step)
    shard = shard_batch(rows, 0, 1, chunk_size, chunk_tokens, least)

    def texts(sizes: np.ndarray) -> PackedTexts:
        return PackedTexts.of([random.integers(0, WORDS, size).tolist() for size in sizes])

    parts = [shard.rows[cut] for cut in shard.chunks]
    return [Chunk(texts(queries[part]), texts(passages[part])) for part in parts], longest(
        shard, rows
    )


def side(chunk_size: int, chunk_tokens: int, least: int, steps: int) -> dict[str, float]:
    """The median processor time of a step, in one thread, and the peak memory beyond that after a
    step of a few pairs."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, loss = bert(), InfoNCE()
    seconds, counts, most = [], [], 0
    before = 0.0
    for step in range(-1, steps):  # the first warms up
        chunks, tokens = batch(
            abs(step), PAIRS if step >= 0 else 8, chunk_size, chunk_tokens, least
        )
        if step == 0:
            forget_peak()
            before = peak_gib()
        begin = time.process_time()
        queries, candidates, _ = model(chunks)
        loss(queries, candidates).backward()
        if step >= 0:
            seconds.append(time.process_time() - begin)
            counts.append(len(chunks))
            most = max(most, tokens)
    return {
        "seconds": statistics.median(seconds),
        "gib": peak_gib() - before,
        "chunks": statistics.mean(counts),
        "longest": most,
    }


def measured(chunk_size: int, chunk_tokens: int, least: int, steps: int) -> dict[str, float]:
    """The same in a new process, which returns memory as soon as it is freed."""
    words = ["--chunk-size", chunk_size, "--chunk-tokens", chunk_tokens, "--least", least]
    command = [sys.executable, __file__, *map(str, words), "--steps", str(steps)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=returning_memory()
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(chunk_size: int, steps: int, turns: int) -> None:
    """All sides in turn; medians over the turns."""
    rows = [sum(lengths(step)) for step in range(steps)]
    by_pairs = [shard_batch(np.asarray(row), 0, 1, chunk_size) for row in rows]
    most = max(longest(shard, np.asarray(row)) for shard, row in zip(by_pairs, rows, strict=True))
    sides = {
        f"chunk_size {chunk_size}": (chunk_size, 0, 1),
        "as many chunks by tokens": (0, most, len(by_pairs[0].chunks)),
        f"chunk_tokens {most}": (0, most, 1),
    }
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, options in sides.items():
            figures[name].append(measured(*options, steps))
    base: dict[str, float] = {}
    for name, of_turns in figures.items():
        medians = {key: statistics.median(one[key] for one in of_turns) for key in of_turns[0]}
        base = base or medians
        print(
            f"  {name:>25}: {medians['chunks']:.1f} chunks, the longest of {medians['longest']:,} "
            f"tokens; {medians['seconds']:.2f} s ({medians['seconds'] / base['seconds']:.2f}), "
            f"{medians['gib']:.3f} GiB ({medians['gib'] / base['gib']:.2f})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--chunk-size", type=int, help="run one side, and print its figures")
    parser.add_argument("--chunk-tokens", type=int, default=0)
    parser.add_argument("--least", type=int, default=1)
    parser.add_argument("--only", type=int, help="compare with chunks of so many pairs only")
    given = parser.parse_args()
    if given.chunk_size is not None:
        print(json.dumps(side(given.chunk_size, given.chunk_tokens, given.least, given.steps)))
        return
    for chunk_size in (64, 16) if given.only is None else (given.only,):
        print(f"{PAIRS} pairs in chunks of {chunk_size}")
        compare(chunk_size, given.steps, given.turns)


if __name__ == "__main__":
    main()
