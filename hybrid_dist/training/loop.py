"""The training loop: one update after the other, and what is due at the edges of steps."""

from contextlib import closing
from dataclasses import dataclass, replace

from hybrid_dist.config.schema import Config
from hybrid_dist.runtime.stopping import Stopped
from hybrid_dist.training.assembly import TrainingParts
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.requests import PendingRequests, Requests, name_of


@dataclass(frozen=True)
class LoopEnd:
    progress: Progress
    stopped_by: str | None = None
    """The signal or file that stopped the run before its last step, if any did."""


def train(config: Config, parts: TrainingParts, requests: Requests) -> LoopEnd:
    """Train to the last step, or until evaluations have stopped improving.

    Called by all ranks: each computes alike what comes next, or they agree on it at the step's
    edge. While updates are skipped because their gradient is not finite, nothing is evaluated or
    saved, since the weights themselves may be broken. In the end model/ holds the best model, or
    the last one if there was no evaluation.

    A run that is asked to stop saves first, and leaves an evaluation that is due to the next start.

    Between edges at which something is due the host runs one step ahead of a GPU: results of a
    step, and what ranks agreed on after it, are read after the next step. The last checkpoint is on
    disk when this returns, and one in flight when an error ends it.
    """
    with closing(parts.checkpoints):
        end = _train(config, parts, requests)
        with parts.log.paused("save"):
            parts.checkpoints.finish()
            parts.profiler.finish(end.progress.step)
        return end


def _train(config: Config, parts: TrainingParts, requests: Requests) -> LoopEnd:
    log, health, selection = parts.log, parts.health, parts.selection
    progress, stop = _take_up(parts)
    if stop is not None:
        return LoopEnd(progress, stop)
    steps = config.train.steps

    def due(step: int, every: int) -> bool:
        return bool(every) and (step % every == 0 or step == steps)

    intervals = (config.log.every, config.checkpoint.every, config.eval.every)
    last = progress.step if selection.gave_up(progress) else steps
    for work in log.timed(parts.feed.steps(progress.step, last)):
        with health.explain_oom(work):
            result = parts.updater.update(work)
        progress = replace(progress, step=work.batch.step + 1)
        log.note(progress.step, work, result)
        health.note(progress.step, work, result)
        settled = progress.step == last or any(due(progress.step, each) for each in intervals)
        failed, is_traced = parts.checkpoints.has_failed, parts.profiler.is_on
        pending = requests.at_edge(settled, failed, is_traced)
        progress = health.counted(progress, settled or pending != PendingRequests())
        if due(progress.step, config.log.every):
            log.step(progress, work, result)
        stop = pending.stop
        save = due(progress.step, config.checkpoint.every) or pending.save
        if due(progress.step, config.eval.every) and health.sound:
            with log.paused("evaluation"):
                progress, stop = _evaluate(parts, progress, stop)
            is_choice = progress.best_step == progress.step or selection.gave_up(progress)
            save |= bool(config.checkpoint.every) and is_choice
        log.write(progress.step)
        if pending.failed:
            with log.paused("save"):
                parts.checkpoints.finish()
        if pending.profile or parts.profiler.is_on:
            with log.paused("save"):
                parts.profiler.at_edge(progress.step, pending.profile)
        if (save or stop is not None) and health.sound:
            with log.paused("save"):
                parts.checkpoints.save(progress)
            log.begin()
            stop = stop or requests.at_edge(now=True).stop  # saving may take long
        if stop is not None:
            return LoopEnd(progress, stop)
        if selection.gave_up(progress):
            break
    if progress.best_step is None:
        with parts.updater.averaged():
            parts.exporter.write(parts.exporter.folder.model)
    return LoopEnd(progress)


def _evaluate(
    parts: TrainingParts, progress: Progress, stop: str | None
) -> tuple[Progress, str | None]:
    """The progress after an evaluation, and what stops the run: then the evaluation is left."""
    if stop is None:
        try:
            return parts.selection.evaluate(progress), None
        except Stopped as stopped:
            stop = name_of(stopped.by)
    parts.selection.leave(progress)
    return progress, stop


def _take_up(parts: TrainingParts) -> tuple[Progress, str | None]:
    """Evaluate first what the last start has left, if it left anything."""
    progress, stop = parts.progress, None
    if parts.selection.take_up(progress):
        with parts.log.paused("evaluation"):
            progress, stop = _evaluate(parts, progress, None)
        if stop is None:
            parts.log.write(progress.step)
            with parts.log.paused("save"):
                parts.checkpoints.save(progress)
                parts.checkpoints.finish()
                parts.selection.taken_up()
            parts.log.begin()
    return progress, stop
