"""What is told of steps: gathered from all ranks, given to metrics.jsonl, W&B and the terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from hybrid_dist.batching import KINDS
from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.errors import UserError
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
        self._broken: Any = 0.0
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
        self._correct = self._correct + result.parts.correct
        self._broken = self._broken + result.parts.broken
        kind = KINDS.index(work.batch.kind)
        self._losses[kind] = self._losses[kind] + result.parts.value
        self._counts[kind] += 1

    def step(self, step: int, work: Work, result: Result) -> None:
        """Gather means over the updates since the last record. All ranks take part."""
        correct, broken, *losses = self._sums(self._correct, self._broken, *self._losses)
        by_kind, steps = np.array(losses), sum(self._counts)
        rows, seconds = steps * len(work.batch), time.perf_counter() - self._since
        self._record |= {
            "train/loss": float(by_kind.sum()) / steps,
            **{
                f"train/loss/{kind}": float(total) / count
                for kind, total, count in zip(KINDS, by_kind, self._counts, strict=True)
                if count
            },
            "train/grad_norm": float(result.grad_norm),
            "train/lr": result.lr,
            "train/kind": work.batch.kind,
            "train/stream": work.batch.stream.name,
            "train/accuracy": correct / rows,
            "train/temperature": float(result.temperature),
            "train/false_negatives": work.batch.false_negatives(),
            "train/pairs_per_s": rows / seconds,
        }
        self.begin()
        _refuse_not_finite(step, by_kind, broken)

    def check(self, step: int) -> None:
        """Refuse to keep what came of a loss that is not finite. All ranks take part."""
        broken, *losses = self._sums(self._broken, *self._losses)
        _refuse_not_finite(step, np.array(losses), broken)

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
        self._correct = self._broken = 0.0
        self._losses = [0.0] * len(KINDS)
        self._counts = [0] * len(KINDS)


def _refuse_not_finite(step: int, losses: np.ndarray, broken: float) -> None:
    if not np.isfinite(losses).all():
        why = f", for {broken:.0f} vectors have numbers that are not" if broken else ""
        raise UserError(
            f"train/loss is not finite at step {step} or shortly before{why}; start another "
            "run.name with a lower optim.lr, more optim.warmup_steps or another train.precision"
        )
