"""The training loop: one update after the other, and what is due at the edges of steps."""

from dataclasses import replace

from hybrid_dist.config.schema import Config
from hybrid_dist.training.checkpoint.export import Exporter
from hybrid_dist.training.checkpoint.manager import Checkpoints
from hybrid_dist.training.checkpoint.progress import Progress
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.health import Health
from hybrid_dist.training.requests import PendingRequests, Requests
from hybrid_dist.training.selection import Selection
from hybrid_dist.training.step import Updater
from hybrid_dist.training.step_log import StepLog


def train(
    config: Config,
    progress: Progress,
    feed: Feed,
    updater: Updater,
    log: StepLog,
    selection: Selection,
    checkpoints: Checkpoints,
    exporter: Exporter,
    health: Health,
    requests: Requests,
) -> str | None:
    """From where the run stands to its last step, or until evaluations are no better for long;
    model/ is then the best, else the last.

    Called by all ranks: what comes next each works out alike, or they agree on it at the step's
    edge. What stopped the run before its end is returned, if anything did. While updates are
    skipped since their gradient is not finite, nothing is kept: the weights may be what is wrong.

    Between the edges at which something is due the host runs a step ahead of a GPU: what a step
    found, and what ranks agreed on after it, is read after the next.
    """
    steps = config.train.steps

    def due(step: int, every: int) -> bool:
        return bool(every) and (step % every == 0 or step == steps)

    intervals = (config.log.every, config.checkpoint.every, config.eval.every)
    last = progress.step if selection.gave_up(progress) else steps
    for work in log.timed(feed.steps(progress.step, last)):
        with health.explain_oom(work):
            result = updater.update(work)
        progress = replace(progress, step=work.batch.step + 1)
        log.note(progress.step, work, result)
        health.note(progress.step, work, result)
        settled = progress.step == last or any(due(progress.step, each) for each in intervals)
        asked = requests.at_edge(settled)
        progress = health.counted(progress, settled or asked != PendingRequests())
        if due(progress.step, config.log.every):
            log.step(progress, work, result)
        save = due(progress.step, config.checkpoint.every) or asked.save or asked.stop is not None
        if due(progress.step, config.eval.every) and health.sound:
            with log.paused():
                progress = selection.evaluate(progress)
            chosen = progress.best_step == progress.step or selection.gave_up(progress)
            save |= bool(config.checkpoint.every) and chosen
        log.write(progress.step)
        if save and health.sound:
            with log.paused():
                checkpoints.save(progress)
            log.begin()
        if asked.stop is not None:
            return asked.stop
        if selection.gave_up(progress):
            break
    if progress.best_step is None:
        exporter.write(exporter.folder.model)
    return None
