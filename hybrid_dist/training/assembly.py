"""The parts of a training loop, built from a config and wired together."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hybrid_dist.batching import shard_batch
from hybrid_dist.config.resolve import longest_pair
from hybrid_dist.config.schema import DEV_LOSS, Config
from hybrid_dist.errors import UserError
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.runtime.ended import EndRecord
from hybrid_dist.runtime.launch import strategy
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.stopping import stoppable
from hybrid_dist.runtime.watchdog import Watch
from hybrid_dist.tracking.metrics_log import MetricsLog
from hybrid_dist.tracking.tensorboard_log import TensorBoardLog
from hybrid_dist.tracking.terminal import Terminal
from hybrid_dist.tracking.wandb_run import WandbRun
from hybrid_dist.training.checkpoint.export import Exporter
from hybrid_dist.training.checkpoint.manager import Checkpoints
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.checkpoint.state import TrainingState
from hybrid_dist.training.chunk_size import (
    Trial,
    check_strategy,
    largest_chunk_size,
    reserved_bytes,
    steady_chunks,
)
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.flops import Flops
from hybrid_dist.training.health import Health
from hybrid_dist.training.inputs import RunEvaluation, RunInputs
from hybrid_dist.training.meters import Meters
from hybrid_dist.training.objective import copies_of_vectors
from hybrid_dist.training.optimizer import adamw
from hybrid_dist.training.requests import Requests
from hybrid_dist.training.selection import Evaluate, Selection, SelectionMetric, resume_selection
from hybrid_dist.training.step import Updater
from hybrid_dist.training.step_log import StepLog
from hybrid_dist.training.step_profile import StepProfiler


@dataclass(frozen=True)
class RunContext:
    """What surrounds the loop for the whole run."""

    config: Config
    inputs: RunInputs
    accelerator: Any
    ranks: Ranks
    terminal: Terminal
    watch: Watch
    wandb: WandbRun
    requests: Requests
    ending: EndRecord


@dataclass(frozen=True)
class TrainingParts:
    """What the loop calls, and the progress that it starts from."""

    progress: Progress
    feed: Feed
    updater: Updater
    meters: Meters
    log: StepLog
    selection: Selection
    checkpoints: Checkpoints
    exporter: Exporter
    health: Health
    profiler: StepProfiler


def assemble(context: RunContext, model: BiEncoder) -> TrainingParts:
    """Prepare the model for its strategy, resume from a checkpoint, and build what surrounds it."""
    config, inputs, ranks = context.config, context.inputs, context.ranks
    flops = Flops.of(model.encoder.backbone)  # before weights are sharded
    teacher = inputs.teacher
    if teacher is not None:
        teacher.place(ranks)
        context.terminal.say(f"teacher: {teacher.description}")
    optimizer = adamw(model, config.optim)
    updater = Updater(config, context.accelerator, ranks, model, optimizer, teacher)
    feed = partial(
        Feed,
        tokens=inputs.tokens,
        ranks=ranks,
        mask=config.batching.false_negatives != "keep",
        query_negatives=config.loss.query_negatives,
        chunk_tokens=(tokens := config.train.chunk_tokens),
        least_chunks=(
            least := steady_chunks(inputs.plan, ranks.world, tokens, strategy(context.accelerator))
        ),
    )
    training_feed = partial(feed, inputs.plan, inputs.stores, teacher=teacher)
    chunk_size = _chunk_size(context, model, updater, training_feed)
    feed = partial(feed, chunk_size=chunk_size)
    torch.manual_seed(config.seed + 1000 * (ranks.rank + 1))  # dropout differs between ranks
    if updater.vocabulary is not None:
        context.terminal.say("of the word embeddings' gradient, ranks exchange the used rows")
    exporter = _exporter(context, updater, model)
    checkpoints = _checkpoints(context, updater)
    metric = selection_metric(inputs.evaluation)
    progress = _resume(context, checkpoints, metric)
    _agree_on_first_step(context, progress, (chunk_size, tokens, least))
    options, width = updater.loss_options, model.encoder.width
    meters = Meters(ranks, inputs.plan, flops, progress.step, options, width)
    log = _step_log(context, meters, progress)
    selection = Selection(
        updater,
        exporter,
        log,
        ranks,
        dev=feed(*inputs.dev) if inputs.dev else None,
        evaluate_tasks=_task_evaluation(context) if inputs.evaluation.tasks else None,
        metric=metric,
        patience=config.eval.patience,
        say=context.terminal.say,
    )
    return TrainingParts(
        progress,
        training_feed(chunk_size=chunk_size),
        updater,
        meters,
        log,
        selection,
        checkpoints,
        exporter,
        Health(
            inputs.folder.not_finite,
            inputs.stores,
            ranks,
            config.train.steps,
            least_tokens=longest_pair(config) if config.train.chunk_tokens else 0,
        ),
        StepProfiler(inputs.folder.path, ranks, context.terminal.say),
    )


def _chunk_size(
    context: RunContext, model: BiEncoder, updater: Updater, feed: Callable[..., Feed]
) -> int:
    """Pairs in a chunk: those of the config; for `auto` those that the run folder has recorded for
    as many processes on the same device, or else measured and recorded."""
    config, inputs, ranks = context.config, context.inputs, context.ranks
    size = config.train.chunk_size
    if size != "auto":
        return size
    check_strategy(strategy(context.accelerator))
    device = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else "cpu"
    measured_on = {"processes": ranks.world, "device": device}
    recorded = ranks.decide_on_first(lambda: inputs.folder.recorded_chunk_size(measured_on))
    if recorded is not None:
        context.terminal.say(f"train.chunk_size: auto is {recorded} pairs, as measured before")
        return recorded
    pairs = config.batching.size
    candidates = pairs * (1 + config.batching.hard_negatives)
    copies = copies_of_vectors(config)
    reserve = reserved_bytes(model, updater.optimizer, copies * (pairs + candidates))
    trial = Trial(
        model,
        lambda size: feed(chunk_size=size),
        inputs.plan,
        ranks,
        config.train.steps,
        reserve,
        inputs.teacher,
    )
    size = largest_chunk_size(trial, context.terminal.say)
    if ranks.is_first:
        inputs.folder.record_chunk_size(size, measured_on)
    return size


def selection_metric(evaluation: RunEvaluation) -> SelectionMetric:
    if evaluation.metric is None:
        return SelectionMetric(DEV_LOSS, higher_is_better=False)
    return SelectionMetric(f"eval/{evaluation.metric}", evaluation.higher_is_better)


def _exporter(context: RunContext, updater: Updater, model: BiEncoder) -> Exporter:
    return Exporter(
        context.inputs.folder,
        context.accelerator,
        context.ranks,
        updater.model,
        model.encoder.backbone,
        context.inputs.tokens.tokenizer,
        EncoderSpec.of(context.config.model, context.config.loss.dims),
    )


def _checkpoints(context: RunContext, updater: Updater) -> Checkpoints:
    accelerator, ranks = context.accelerator, context.ranks
    state = TrainingState(
        accelerator,
        ranks,
        updater.model,
        updater.optimizer,
        strategy(accelerator),
        updater.average,
    )
    options = context.config.checkpoint
    return Checkpoints(
        context.inputs.folder.checkpoints,
        state,
        ranks,
        options.keep,
        options.on_failure,
        context.terminal.say,
        options.keep_every,
        options.background,
    )


def _resume(context: RunContext, checkpoints: Checkpoints, metric: SelectionMetric) -> Progress:
    """Load the checkpoint that the config selects, if any; its progress, or that of a new run."""
    config, terminal = context.config, context.terminal
    checkpoint = checkpoints.find(config.checkpoint.resume)
    if checkpoint is None:
        return Progress()
    progress = checkpoints.load(checkpoint)
    if progress.step > config.train.steps:
        raise UserError(
            f"train.steps: is {config.train.steps}, but {checkpoint} is trained to step "
            f"{progress.step}; give {progress.step} or more, or choose another checkpoint"
        )
    done = progress.step >= config.train.steps
    will_evaluate = bool(config.eval.every) and not done
    has_model = context.ranks.decide_on_first(context.inputs.folder.model.is_dir)
    progress, notice = resume_selection(progress, metric, will_evaluate, has_model)
    if notice is not None:
        terminal.say(notice)
    suffix = f"; that is all of train.steps, {config.train.steps}" if done else ""
    terminal.say(f"resumed from {checkpoint}, step {progress.step}{suffix}")
    return progress


def _agree_on_first_step(
    context: RunContext, progress: Progress, chunks: tuple[int, int, int]
) -> None:
    """Check that all ranks start at the same step, with equally many chunks, which are given by
    their pairs, their tokens and their least number."""
    ranks = context.ranks
    lengths = context.inputs.plan.batch(progress.step).lengths
    shard = shard_batch(lengths, ranks.rank, ranks.world, *chunks)
    ranks.agree({"the first step": progress.step, "its number of chunks": len(shard.chunks)})


def _step_log(context: RunContext, meters: Meters, progress: Progress) -> StepLog:
    """Steps go to terminal and watchdog; records to metrics.jsonl, trackers and the terminal."""
    terminal, watch = context.terminal, context.watch
    metrics = MetricsLog(context.inputs.folder.metrics)
    if context.ranks.is_first and (unreadable := metrics.truncate_after(progress.step)):
        terminal.say(
            f"{context.inputs.folder.metrics.name}: {len(unreadable):,} lines cannot be read and "
            f"are left out (the first: {unreadable[0]}); the original file is {metrics.damaged}"
        )

    context.ending.step = progress.step

    def tick(step: int) -> None:
        terminal.step(step)
        watch.step(step)
        context.ending.step = step

    writers: list[Callable[[dict[str, Any]], None]]
    writers = [metrics.write, context.wandb.write, terminal.show]
    if context.config.log.tensorboard and context.ranks.is_first:
        events = TensorBoardLog(context.inputs.folder.path, progress.step, metrics.read())
        writers.append(events.write)
    return StepLog(context.ranks, tick, watch.phase, writers, meters)


def _task_evaluation(context: RunContext) -> Evaluate:
    """Evaluates a saved model during training, and sends the reports to W&B."""
    folder = context.inputs.folder

    def evaluate(model: Path, step: int) -> dict[str, float]:
        out, name = folder.evaluation(step), f"{folder.model} of step {step}"
        with context.terminal.parts(), stoppable(context.ranks, context.requests.asked) as ranks:
            figures = context.inputs.evaluation(model, out, ranks, name=name)
        context.wandb.reports(out, "eval")
        return figures

    return evaluate
