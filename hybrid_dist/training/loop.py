"""The training loop: one update after the other, and what is due at the edges of steps."""

from dataclasses import replace

from hybrid_dist.config import Config
from hybrid_dist.training.checkpoint import Checkpoints, Progress
from hybrid_dist.training.export import Exporter
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.selection import Selection
from hybrid_dist.training.step_log import StepLog
from hybrid_dist.training.update import Updater


def train(
    config: Config,
    progress: Progress,
    feed: Feed,
    updater: Updater,
    log: StepLog,
    selection: Selection,
    checkpoints: Checkpoints,
    exporter: Exporter,
) -> Progress:
    """From where the run stands to its last step; model/ is then the best, else the last.

    Called by all ranks. Nothing is sent to agree on what comes next: each rank works it out alike.
    """
    steps = config.train.steps

    def due(step: int, every: int) -> bool:
        return bool(every) and (step % every == 0 or step == steps)

    for work in feed.steps(progress.step, steps):
        result = updater.update(work)
        progress = replace(progress, step=work.batch.step + 1)
        log.note(progress.step, work, result)
        if due(progress.step, config.log.every):
            log.step(progress.step, work, result)
        if due(progress.step, config.eval.every):
            log.check(progress.step)
            with log.paused():
                progress = selection.evaluate(progress)
        log.write(progress.step)
        if due(progress.step, config.checkpoint.every):
            log.check(progress.step)
            with log.paused():
                checkpoints.save(progress)
            log.begin()
    log.check(progress.step)
    if progress.best_step is None:
        exporter.write(exporter.folder.model)
    return progress
