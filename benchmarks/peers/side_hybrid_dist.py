"""hybrid_dist: `train` and `evaluate` as its users call them, and `TextEmbedder`.

    side_hybrid_dist.py SPEC [vectors|model]

Without a second argument it trains and encodes. `vectors` evaluates given vectors, `model` a model.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from sides import Spec, Training, run

import hybrid_dist as hd
from hybrid_dist.config.schema import (
    Batching,
    Checkpoint,
    Config,
    Data,
    Log,
    Loss,
    Model,
    Optim,
    Run,
    Train,
)
from hybrid_dist.training.checkpoint.trained_model import export

POLLED_S = 0.01


def train(spec: Spec) -> Training:
    """The clock is that of metrics.jsonl, whose records have the time of each step."""
    task = spec.task or {}
    folder = Path(spec.out, "run")
    clock = Clock(folder, spec.seconds)
    result = hd.train(
        Config(
            seed=task["seed"],
            run=Run(dir=spec.out, name=folder.name),
            model=Model(
                name_or_path=spec.model,
                query_prefix=task["query_prefix"],
                passage_prefix=task["passage_prefix"],
                max_query_tokens=spec.tokens,
                max_passage_tokens=spec.tokens,
            ),
            data=Data(train=tuple(task["pairs"])),
            batching=Batching(size=spec.size, **task["batching"]),
            loss=Loss(temperature=spec.temperature),
            optim=Optim(lr=spec.lr, schedule="constant", weight_decay=0.01, max_grad_norm=1.0),
            train=Train(steps=spec.steps, chunk_size=spec.chunk, precision="fp32"),
            checkpoint=Checkpoint(every=0),
            log=Log(every=1, wandb="disabled"),
        )
    )
    clock.stopped.set()
    if spec.seconds and result.stopped_by:
        (checkpoint,) = folder.glob("checkpoints/step-*")
        export(checkpoint, Path(spec.trained))
    elif spec.seconds:
        result.model.rename(spec.trained)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").open(encoding="utf-8")]
    steps = [record["system/step_ms"] / 1000 for record in records]
    losses = [record["train/loss"] for record in records]
    peak = max(record["system/memory_gib"] for record in records)
    return Training(clock.first_end - steps[0], steps, losses, peak)


class Clock:
    """Notes when the first step ends, and asks the run to stop after some seconds."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.first_end = 0.0
        self.stopped = threading.Event()
        threading.Thread(target=self._watch, args=(folder, seconds), daemon=True).start()

    def _watch(self, folder: Path, seconds: float) -> None:
        metrics = folder / "metrics.jsonl"
        while not (metrics.exists() and (line := metrics.read_text("utf-8")).endswith("\n")):
            if self.stopped.wait(POLLED_S):
                return
        self.first_end = time.time()
        took = json.loads(line.splitlines()[0])["system/step_ms"] / 1000
        if seconds and not self.stopped.wait(seconds - took):
            (folder / "STOP").touch()


def encode(folder: str, texts: dict[str, list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Texts have their prefixes already."""
    embedder = hd.TextEmbedder.load(folder, device="cpu", query_prefix="", passage_prefix="")
    return embedder.encode_queries(texts["queries"]), embedder.encode_passages(texts["passages"])


def of_model(spec: Spec) -> dict[str, Any]:
    """Seconds since the process was started."""
    parts = json.loads(Path(spec.texts).read_text("utf-8"))
    embedder = hd.TextEmbedder.load(spec.model, device="cpu")
    queries = embedder.encode_queries(list(parts["queries"].values()))
    passages = embedder.encode_passages(list(parts["corpus"].values()))
    report = hd.evaluate(hd.Task.from_qrels(**parts), queries, passages)
    report.write(Path(spec.out, "report"))
    return {"seconds": time.time() - spec.started, "map": report.map.multilingual}


def of_vectors(spec: Spec) -> dict[str, Any]:
    """All pairs of languages, the pool, intervals and bias, with the report: one pass for all."""
    task = hd.Task.from_qrels(**json.loads(Path(spec.texts).read_text("utf-8")))
    queries, passages = (np.load(Path(spec.pairs, f"{n}.npy")) for n in ("queries", "passages"))
    begin = time.perf_counter()
    hd.evaluate(task, queries, passages).write(Path(spec.out, "report"))
    seconds = time.perf_counter() - begin
    return {"pairs": seconds, "pooled": seconds}


spec = Spec.read()
if len(sys.argv) > 2:
    figures = of_model(spec) if sys.argv[2] == "model" else of_vectors(spec)
    print(json.dumps(figures), flush=True)
else:
    run(spec, ["hybrid_dist", "transformers", "torch"], train, encode)
