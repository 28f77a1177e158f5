"""Evaluation on the way, and the choice of the best checkpoint."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hybrid_dist.training.checkpoint import Progress
from hybrid_dist.training.export import Exporter
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.step_log import StepLog
from hybrid_dist.training.update import Updater

DEV_STEPS = 16

Evaluate = Callable[[Path, Path], Mapping[str, float]]
"""From a model's folder and a folder for reports to figures by name; called on every rank."""


@dataclass(frozen=True)
class Judge:
    """Evaluates models, and says by which figure one is better than another."""

    evaluate: Evaluate
    figure: str
    higher_is_better: bool

    def prefers(self, value: float, best: float | None) -> bool:
        return best is None or (value > best if self.higher_is_better else value < best)


def _random_state_kept() -> AbstractContextManager[None]:
    """Evaluating must not change what dropout draws next: a run is the same however often it is
    evaluated."""
    gpu = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    return torch.random.fork_rng(devices=gpu)


class Selection:
    """Measures the run at its eval steps and keeps the best model."""

    def __init__(
        self,
        updater: Updater,
        exporter: Exporter,
        log: StepLog,
        dev: Feed | None,
        judge: Judge | None,
    ) -> None:
        self._updater, self._exporter, self._log = updater, exporter, log
        self._dev, self._judge = dev, judge

    def evaluate(self, progress: Progress) -> Progress:
        """Log dev loss and figures of this step; the best model so far becomes the run's."""
        figures: dict[str, float] = {}
        with _random_state_kept():
            if self._dev is not None:
                figures["dev/loss"] = self._updater.mean_loss(self._dev, DEV_STEPS)
            if self._judge is not None:
                progress = self._judged(self._judge, progress, figures)
        self._log.figures(figures)
        return progress

    def _judged(self, judge: Judge, progress: Progress, figures: dict[str, float]) -> Progress:
        """What is evaluated is what would be shipped: the exported folder, loaded anew."""
        folder = self._exporter.folder
        draft = folder.path / "model.candidate"
        self._exporter.write(draft)
        found = judge.evaluate(draft, folder.evaluation(progress.step))
        figures.update({f"eval/{name}": value for name, value in found.items()})
        value = found[judge.figure]
        if judge.prefers(value, progress.best):
            self._exporter.keep(draft)
            return replace(progress, best=value, best_step=progress.step)
        self._exporter.discard(draft)
        return progress
