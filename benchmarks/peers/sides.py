"""What the programs of all sides share. They run with the Python of their peer, where hybrid_dist
need not be installed: this imports little.

A program reads its `Spec` from a file, trains, encodes, and prints one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measuring import peak_gib

Encode = Callable[[str, dict[str, list[str]]], tuple[np.ndarray, np.ndarray]]
"""The vectors of queries and passages, by the model in a folder."""


@dataclass(frozen=True)
class Spec:
    """What a side is to do. Texts have their prefixes already."""

    started: float
    """The time at which its process was started."""
    model: str
    """A folder that sentence-transformers and transformers load."""
    pairs: str
    """A folder with the pairs of all batches, one batch after the other, in each layout."""
    out: str
    """A new folder."""
    texts: str = ""
    """A file with queries and passages to encode; empty: none."""
    size: int = 32
    """Pairs in a batch."""
    chunk: int = 0
    """Pairs that are encoded at once; 0: all of a batch."""
    steps: int = 4
    seconds: float = 0.0
    """Ends training after this time, if it is not 0; the trained model then encodes."""
    vectors: bool = False
    """Write the vectors of the texts."""
    tokens: int = 128
    """Of the longest query, and of the longest passage."""
    temperature: float = 0.02
    lr: float = 1e-5
    task: dict[str, Any] | None = None
    """Of our side alone: store, prefixes and options of batches."""

    @classmethod
    def read(cls) -> "Spec":
        return cls(**json.loads(Path(sys.argv[1]).read_text("utf-8")))

    @property
    def trained(self) -> str:
        """Where the trained model is left."""
        return str(Path(self.out, "model"))

    def file(self, layout: str) -> str:
        return str(Path(self.pairs, f"{layout}.jsonl"))


@dataclass
class Training:
    """The times of a training."""

    began: float = 0.0
    """Of the first step."""
    seconds: list[float] | None = None
    """Of each step, data included."""
    losses: list[float] | None = None
    peak: float = 0.0
    """GiB of memory of the process, at most."""


def run(spec: Spec, packages: list[str], train: Callable[[Spec], Training], encode: Encode) -> None:
    """Train, encode with the trained model or with that of the start, and print the figures."""
    result: dict[str, Any] = {"versions": {name: version(name) for name in packages}}
    if spec.steps:
        training = train(spec)
        result |= {
            "start_s": training.began - spec.started,
            "step_s": training.seconds,
            "losses": training.losses,
            "peak_gib": training.peak,
        }
    if spec.texts:
        texts = json.loads(Path(spec.texts).read_text("utf-8"))
        model = spec.trained if spec.seconds else spec.model
        begin = time.perf_counter()
        vectors = encode(model, texts)
        result["encode_s"] = time.perf_counter() - begin
        if spec.vectors:
            for name, array in zip(("queries", "passages"), vectors, strict=True):
                np.save(Path(spec.out, f"{name}.npy"), array.astype(np.float32))
    result["cpu_s"] = time.process_time()
    print(json.dumps(result), flush=True)


# --- trainers that are built on that of transformers


def arguments(spec: Spec) -> dict[str, Any]:
    """The arguments that all of them share."""
    return {
        "output_dir": str(Path(spec.out, "trainer")),
        "per_device_train_batch_size": spec.size,
        "max_steps": spec.steps,
        "learning_rate": spec.lr,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 1,
    }


def timed(trainer: Any, spec: Spec) -> Training:
    """Train, and note when each step ends."""
    from transformers import TrainerCallback

    training, ends = Training(), [0.0]

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not training.began:
                training.began = time.time()
                ends[0] = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            ends.append(time.perf_counter())
            if spec.seconds and ends[-1] - ends[0] >= spec.seconds:
                control.should_training_stop = True

    trainer.add_callback(Clock())
    trainer.train()
    training.peak = peak_gib()
    training.seconds = [last - first for first, last in pairwise(ends)]
    training.losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return training


class InOrder:
    """The batches of a data set in its own order, as sentence-transformers' trainer asks for
    them."""

    def __init__(self, dataset: Any, batch_size: int, drop_last: bool = True, **_: Any) -> None:
        self.batch_size, self.drop_last, self._count = batch_size, drop_last, len(dataset)

    def __len__(self) -> int:
        return self._count // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, len(self) * self.batch_size, self.batch_size):
            yield list(range(first, first + self.batch_size))

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""
