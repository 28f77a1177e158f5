"""Evaluation during training, and the choice of the best model."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from hybrid_dist.config.schema import DEV_LOSS
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.stopping import Stopped
from hybrid_dist.training.checkpoint.export import Exporter
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.step import Updater
from hybrid_dist.training.step_log import StepLog

DEV_STEPS = 16
"""Batches of held-out pairs that dev/loss is the mean of."""


class Evaluate(Protocol):
    """Evaluates a model folder on the tasks of a run, on all ranks."""

    def __call__(self, model: Path, step: int) -> Mapping[str, float]:
        """Write the reports of a step's model and return its figures by name.

        Raises Stopped, on all ranks, if the run is asked to stop meanwhile.
        """
        ...


@dataclass(frozen=True)
class SelectionMetric:
    """The figure of an evaluation that decides which model is better."""

    figure: str
    higher_is_better: bool

    def record(self, progress: Progress, value: float) -> Progress:
        """The progress after an evaluation at its step that gave this value."""
        progress = self.set_in(progress)
        if self._prefers(value, progress.best):
            return replace(progress, best=value, best_step=progress.step, no_better=0)
        return replace(progress, no_better=progress.no_better + 1)

    def set_in(self, progress: Progress) -> Progress:
        """The same progress with this figure as its metric."""
        return replace(progress, metric=self.figure, higher_is_better=self.higher_is_better)

    def is_metric_of(self, progress: Progress) -> bool:
        return (progress.metric, progress.higher_is_better) == (self.figure, self.higher_is_better)

    def _prefers(self, value: float, best: float | None) -> bool:
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > best if self.higher_is_better else value < best


def resume_selection(
    progress: Progress, metric: SelectionMetric, will_evaluate: bool, has_model: bool
) -> tuple[Progress, str | None]:
    """The progress of a resumed run, and a notice for the user if its selection starts over.

    Values of two figures cannot be compared. `will_evaluate`: evaluations are still to come;
    otherwise the model chosen before stays. `has_model`: model/ exists in the run folder.
    """
    if progress.best is not None and not has_model:  # as of a checkpoint of another run
        fresh = replace(progress, best=None, best_step=None, no_better=0)
        return fresh, "the best model so far is not in this run's folder: the selection starts over"
    if progress.metric is None:
        if progress.best is None and not progress.no_better:
            return progress, None
        return metric.set_in(progress), (
            f"the checkpoint does not name the metric of its best score; assuming {metric.figure}"
        )
    if metric.is_metric_of(progress) or not will_evaluate:
        return progress, None
    fresh = replace(progress, best=None, best_step=None, no_better=0)
    return metric.set_in(fresh), (
        f"eval.metric: was {progress.metric} and is {metric.figure}, which cannot be compared; the "
        "selection of the best model starts over (the best so far was that of step "
        f"{progress.best_step})"
    )


def _keep_random_state() -> AbstractContextManager[None]:
    """Restore the random state afterwards: evaluating must not change what dropout draws next."""
    gpu = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    return torch.random.fork_rng(devices=gpu)


class Selection:
    """Evaluates the model at the eval steps and keeps the best one."""

    def __init__(
        self,
        updater: Updater,
        exporter: Exporter,
        log: StepLog,
        ranks: Ranks,
        dev: Feed | None,
        evaluate_tasks: Evaluate | None,
        metric: SelectionMetric,
        patience: int,
        say: Callable[[str], None],
    ) -> None:
        self._updater, self._exporter, self._log, self._ranks = updater, exporter, log, ranks
        self._dev, self._evaluate_tasks = dev, evaluate_tasks
        self._metric, self._patience, self._say = metric, patience, say
        self._candidate = exporter.folder.path / "model.candidate"
        self.best_scores: Mapping[str, float] | None = None
        """What the tasks gave for model/, if it was chosen since this start."""

    def evaluate(self, progress: Progress) -> Progress:
        """Log dev loss and figures of this step; model/ becomes the best model so far.

        Raises Stopped before anything is logged or chosen.
        """
        figures: dict[str, float] = {}
        scores: Mapping[str, float] | None = None
        with _keep_random_state(), self._updater.averaged():
            if self._dev is not None:
                figures[DEV_LOSS] = self._updater.mean_loss(self._dev, DEV_STEPS)
            if self._evaluate_tasks is not None:
                self._exporter.write(self._candidate)
                try:
                    scores = self._evaluate_tasks(self._candidate, progress.step)
                except Stopped:
                    self._exporter.discard(self._candidate)
                    raise
                figures |= {f"eval/{name}": value for name, value in scores.items()}
            progress = self._keep_if_best(progress, figures[self._metric.figure])
        if progress.best_step == progress.step:
            self.best_scores = scores
        best = {"eval/best": progress.best, "eval/best_step": progress.best_step}
        self._log.figures(figures | best)
        if self.gave_up(progress):
            self._say(
                f"stops early: {self._metric.figure} was no better in {progress.no_better} "
                f"evaluations; the best is {progress.best:.4g}, of step {progress.best_step}"
                if progress.best is not None
                else f"stops early: {self._metric.figure} was never a number"
            )
        return progress

    def leave(self, progress: Progress) -> None:
        """Leave the evaluation of this step, and the step's record, to the next start."""
        record = self._log.taken()
        if self._ranks.is_first:
            self._exporter.folder.leave_evaluation(progress.step, record)
        self._say(f"the evaluation of step {progress.step} is left to the next start")

    def take_up(self, progress: Progress) -> bool:
        """Whether the last start has left the evaluation of this step; its record is taken up."""
        folder = self._exporter.folder
        record = self._ranks.decide_on_first(lambda: folder.left_evaluation(progress.step))
        self._log.figures(record or {})
        return record is not None

    def taken_up(self) -> None:
        """The evaluation that was left is done."""
        if self._ranks.is_first:
            self._exporter.folder.evaluation_due.unlink(missing_ok=True)

    def gave_up(self, progress: Progress) -> bool:
        """Whether eval.patience is exhausted."""
        return 0 < self._patience <= progress.no_better

    def _keep_if_best(self, progress: Progress, value: float) -> Progress:
        """The evaluated folder itself becomes model/, so what was measured is what is shipped."""
        progress = self._metric.record(progress, value)
        is_best = progress.best_step == progress.step
        if is_best and self._evaluate_tasks is None:
            self._exporter.write(self._candidate)
        if is_best:
            self._exporter.keep(self._candidate)
        elif self._evaluate_tasks is not None:
            self._exporter.discard(self._candidate)
        return progress
