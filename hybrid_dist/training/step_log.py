"""What is told of steps: gathered from all ranks, given to metrics.jsonl, W&B and the terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from hybrid_dist.batching import KINDS
from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.training.checkpoint import Progress
from hybrid_dist.training.feed import Work
from hybrid_dist.training.update import Result

Write = Callable[[dict[str, Any]], None]


class StepLog:
    """Records go to every writer, on the first rank only."""

    def __init__(self, ranks: Ranks, tick: Callable[[int], None], writers: list[Write]) -> None:
        self._ranks, self._tick = ranks, tick
        self._writers = writers if ranks.is_first else []
        self._record: dict[str, Any] = {}
        self._correct: Any = 0.0
        self._losses: list[Any] = []
        self._counts: list[int] = []
        self.begin()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent inside does not count as training."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def note(self, step: int, work: Work, result: Result) -> None:
        """Remember an update; nothing is sent and the device is not waited for."""
        self._tick(step)
        self._updates += 1
        if result.skipped:
            return  # its loss is no number
        self._correct = self._correct + result.parts.correct
        kind = KINDS.index(work.batch.kind)
        self._losses[kind] = self._losses[kind] + result.parts.value
        self._counts[kind] += 1

    def step(self, progress: Progress, work: Work, result: Result) -> None:
        """Gather means over the updates since the last record. All ranks take part."""
        correct, *losses = self._sums(self._correct, *self._losses)
        made, seconds = sum(self._counts), time.perf_counter() - self._since
        if made:
            self._record |= {
                "train/loss": sum(losses) / made,
                **{
                    f"train/loss/{kind}": total / count
                    for kind, total, count in zip(KINDS, losses, self._counts, strict=True)
                    if count
                },
                "train/accuracy": correct / (made * len(work.batch)),
            }
        self._record |= {
            "train/grad_norm": float(result.grad_norm),
            "train/lr": result.lr,
            "train/kind": work.batch.kind,
            "train/stream": work.batch.stream.name,
            "train/temperature": float(result.temperature),
            "train/false_negatives": work.batch.false_negatives(),
            "train/pairs_per_s": self._updates * len(work.batch) / seconds,
            "train/skipped": progress.skipped,
        }
        self.begin()

    def _sums(self, *own: Any) -> list[float]:
        """The sums of this rank's figures over all ranks."""
        figures = torch.stack([torch.as_tensor(figure).double().cpu() for figure in own])
        sums: list[float] = self._ranks.sum(figures.numpy()).tolist()
        return sums

    def figures(self, figures: Mapping[str, float]) -> None:
        """Add the figures of an evaluation."""
        self._record |= figures

    def write(self, step: int) -> None:
        """Give what was gathered at this step to all writers: one record, if there is any."""
        if self._record:
            for write in self._writers:
                write({"step": step} | self._record)
        self._record = {}

    def begin(self) -> None:
        """Means are over the updates from here to the next record.

        Called after each checkpoint too, so that a resumed run writes the records of one that
        was not interrupted.
        """
        self._since = time.perf_counter()
        self._correct, self._updates = 0.0, 0
        self._losses = [0.0] * len(KINDS)
        self._counts = [0] * len(KINDS)
