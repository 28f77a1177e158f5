"""Records of steps: gathered from all ranks, sent to metrics.jsonl, W&B and the terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from hybrid_dist.config.schema import DEV_LOSS
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.feed import StepInputs
from hybrid_dist.training.meters import Meters
from hybrid_dist.training.step import Result

Write = Callable[[dict[str, Any]], None]
Phase = Callable[[str], AbstractContextManager[None]]


class StepLog:
    """Gathers records on all ranks; the first rank passes them to every writer."""

    def __init__(
        self,
        ranks: Ranks,
        tick: Callable[[int], None],
        phase: Phase,
        writers: list[Write],
        meters: Meters,
    ) -> None:
        self._tick, self._phase, self._meters = tick, phase, meters
        self._writers = writers if ranks.is_first else []
        self._record: dict[str, Any] = {}
        self.losses: dict[str, float] = {}
        """The last mean of each loss: train/loss, train/loss/KIND, dev/loss."""
        self.begin()

    def timed(self, steps: Iterator[StepInputs]) -> Iterator[StepInputs]:
        """The same steps; the time that each was waited for goes to the meters."""
        self.begin()
        while True:
            begin = time.perf_counter()
            work = next(steps, None)
            if work is None:
                return
            self._meters.wait(time.perf_counter() - begin)
            yield work

    @contextmanager
    def paused(self, phase: str) -> Iterator[None]:
        """Time spent inside does not count as training; the watchdog knows the phase."""
        start = time.perf_counter()
        with self._phase(phase):
            yield
        self._since += time.perf_counter() - start

    def note(self, step: int, work: StepInputs, result: Result) -> None:
        """Remember an update; sends nothing and does not wait for the device."""
        self._tick(step)
        self._meters.note(work, result)

    def step(self, progress: Progress, work: StepInputs, result: Result) -> None:
        """Gather means over the updates since the last record. All ranks take part."""
        seconds = time.perf_counter() - self._since
        self._record |= self._meters.read(seconds, len(work.batch)) | {
            "train/temperature": float(result.temperature),
            "train/grad_norm": float(result.grad_norm),
            "train/lr": result.lr,
            "train/kind": work.batch.kind,
            "train/stream": work.batch.stream.name,
            "train/skipped": progress.skipped,
        }
        self.begin()

    def figures(self, figures: Mapping[str, float | None]) -> None:
        """Add the figures of an evaluation to the record of this step."""
        self._record |= figures

    def write(self, step: int) -> None:
        """Pass the record of this step, if there is one, to all writers."""
        record = self.taken()
        if record:
            for write in self._writers:
                write({"step": step} | record)

    def taken(self) -> dict[str, Any]:
        """The record of this step, which is then written elsewhere."""
        record, self._record = self._record, {}
        for name, value in record.items():
            if name in ("train/loss", DEV_LOSS) or name.startswith("train/loss/"):
                self.losses[name] = value
        return record

    def begin(self) -> None:
        """Start the means of the next record.

        Called after each checkpoint too, so that a resumed run writes the records of one that
        was not interrupted.
        """
        self._since = time.perf_counter()
        self._meters.begin()
