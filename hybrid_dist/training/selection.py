"""Evaluation on the way, and the choice of the best checkpoint."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hybrid_dist.config.schema import DEV_LOSS
from hybrid_dist.training.checkpoint.export import Exporter
from hybrid_dist.training.checkpoint.progress import Progress
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.step import Updater
from hybrid_dist.training.step_log import StepLog

DEV_STEPS = 16

Evaluate = Callable[[Path, Path], Mapping[str, float]]
"""From a model's folder and a folder for reports to figures by name; called on every rank."""


@dataclass(frozen=True)
class SelectionMetric:
    """Says by which figure of an evaluation one model is better than another."""

    figure: str
    higher_is_better: bool

    def judged(self, progress: Progress, value: float) -> Progress:
        """Where a run stands after an evaluation at its step."""
        progress = self.named_in(progress)
        if self._prefers(value, progress.best):
            return replace(progress, best=value, best_step=progress.step, no_better=0)
        return replace(progress, no_better=progress.no_better + 1)

    def named_in(self, progress: Progress) -> Progress:
        """The same with this figure as the one that chooses."""
        return replace(progress, metric=self.figure, higher_is_better=self.higher_is_better)

    def chose(self, progress: Progress) -> bool:
        return (progress.metric, progress.higher_is_better) == (self.figure, self.higher_is_better)

    def _prefers(self, value: float, best: float | None) -> bool:
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > best if self.higher_is_better else value < best


def resume_selection(
    progress: Progress, judge: SelectionMetric, evaluates: bool, model_is_there: bool
) -> tuple[Progress, str | None]:
    """A resumed run's progress, with a selection that goes on or starts anew; and why, to be said.

    Scores of two figures cannot be compared. `evaluates`: evaluations are still to come; else the
    model that was chosen before stays.
    """
    if progress.best is not None and not model_is_there:  # as of a checkpoint of another run
        anew = replace(progress, best=None, best_step=None, no_better=0)
        return anew, "the best model so far is not in this run's folder: the selection starts anew"
    if progress.metric is None:
        if progress.best is None and not progress.no_better:
            return progress, None
        return judge.named_in(progress), (
            f"the checkpoint does not say what its best score is of; taken to be {judge.figure}"
        )
    if judge.chose(progress) or not evaluates:
        return progress, None
    anew = replace(progress, best=None, best_step=None, no_better=0)
    return judge.named_in(anew), (
        f"eval.metric: was {progress.metric} and is {judge.figure}, which cannot be compared; the "
        f"selection of the best model starts anew (so far it was that of step {progress.best_step})"
    )


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
        tasks: Evaluate | None,
        judge: SelectionMetric,
        patience: int,
        say: Callable[[str], None],
    ) -> None:
        self._updater, self._exporter, self._log = updater, exporter, log
        self._dev, self._tasks = dev, tasks
        self._judge, self._patience, self._say = judge, patience, say
        self._candidate = exporter.folder.path / "model.candidate"

    def evaluate(self, progress: Progress) -> Progress:
        """Log dev loss and figures of this step; the best model so far becomes the run's."""
        figures: dict[str, float] = {}
        with _random_state_kept():
            if self._dev is not None:
                figures[DEV_LOSS] = self._updater.mean_loss(self._dev, DEV_STEPS)
            if self._tasks is not None:
                self._exporter.write(self._candidate)
                out = self._exporter.folder.evaluation(progress.step)
                found = self._tasks(self._candidate, out)
                figures |= {f"eval/{name}": value for name, value in found.items()}
            progress = self._judged(progress, figures[self._judge.figure])
        best = {"eval/best": progress.best, "eval/best_step": progress.best_step}
        self._log.figures(figures | best)
        if self.gave_up(progress):
            self._say(
                f"stops early: {self._judge.figure} was no better in {progress.no_better} "
                f"evaluations; the best is {progress.best:.4g}, of step {progress.best_step}"
                if progress.best is not None
                else f"stops early: {self._judge.figure} was never a number"
            )
        return progress

    def gave_up(self, progress: Progress) -> bool:
        """Whether so many evaluations were no better that the run need not go on."""
        return 0 < self._patience <= progress.no_better

    def _judged(self, progress: Progress, value: float) -> Progress:
        """What was evaluated is what is shipped: the exported folder, loaded anew."""
        progress = self._judge.judged(progress, value)
        best = progress.best_step == progress.step
        if best and self._tasks is None:
            self._exporter.write(self._candidate)
        if best:
            self._exporter.keep(self._candidate)
        elif self._tasks is not None:
            self._exporter.discard(self._candidate)
        return progress
