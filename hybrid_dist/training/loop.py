"""The training loop: one update after the other, and what is due at the edges of steps."""

from contextlib import closing
from dataclasses import dataclass, replace

from hybrid_dist.config.schema import Config
from hybrid_dist.training.assembly import TrainingParts
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.requests import PendingRequests, Requests


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
    progress, log, health, selection = parts.progress, parts.log, parts.health, parts.selection
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
        save = due(progress.step, config.checkpoint.every) or pending.save or bool(pending.stop)
        if due(progress.step, config.eval.every) and health.sound:
            with log.paused("evaluation"):
                progress = selection.evaluate(progress)
            is_choice = progress.best_step == progress.step or selection.gave_up(progress)
            save |= bool(config.checkpoint.every) and is_choice
        log.write(progress.step)
        if pending.failed:
            with log.paused("save"):
                parts.checkpoints.finish()
        if pending.profile or parts.profiler.is_on:
            with log.paused("save"):
                parts.profiler.at_edge(progress.step, pending.profile)
        if save and health.sound:
            with log.paused("save"):
                parts.checkpoints.save(progress)
            log.begin()
        if pending.stop is not None:
            return LoopEnd(progress, pending.stop)
        if selection.gave_up(progress):
            break
    if progress.best_step is None:
        with parts.updater.averaged():
            parts.exporter.write(parts.exporter.folder.model)
    return LoopEnd(progress)
