"""One run: check everything, build the model, train, evaluate.

Whatever can be rejected is rejected before weights are read.
"""

from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

from hybrid_dist.batching import check_world
from hybrid_dist.config.schema import Config, flatten
from hybrid_dist.model import lora
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.runtime import environment
from hybrid_dist.runtime.ended import EndRecord
from hybrid_dist.runtime.hang_report import record_collectives
from hybrid_dist.runtime.launch import check_machine, joined, strategy
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.signals import Interruption
from hybrid_dist.runtime.stopping import Stopped, stoppable
from hybrid_dist.runtime.watchdog import Watch
from hybrid_dist.tracking.terminal import Terminal
from hybrid_dist.tracking.wandb_run import WandbRun
from hybrid_dist.training.assembly import RunContext, assemble
from hybrid_dist.training.initial_model import build_model
from hybrid_dist.training.inputs import LoadEvaluation, RunInputs, load_inputs
from hybrid_dist.training.loop import LoopEnd, train
from hybrid_dist.training.requests import Requests, name_of
from hybrid_dist.training.result import TrainingResult
from hybrid_dist.training.run_folder import TRAINING_LANGUAGES, TRAINING_PAIRS
from hybrid_dist.training.selection import Selection
from hybrid_dist.training.start_checks import warnings
from hybrid_dist.training.step_log import StepLog


def run(
    config: Config,
    load_evaluation: LoadEvaluation,
    interruption: Interruption | None = None,
    exit_on_hang: bool = False,
) -> TrainingResult:
    """Train from a config to the final report. All ranks call it together.

    `load_evaluation`: reads the tasks; training does not import the evaluator. `interruption`: the
    signals that stop the run, if the caller listens to any. `exit_on_hang`: let the watchdog end a
    process whose main thread waits for a hanging rank; otherwise it only reports which rank hangs.
    """
    heard = interruption or Interruption()
    with EndRecord(config.run.folder, lambda: heard.signal) as ending:
        result = _run(config, load_evaluation, heard, exit_on_hang, ending)
        ending.stopped_by = result.stopped_by
    return result


def _run(
    config: Config,
    load_evaluation: LoadEvaluation,
    interruption: Interruption,
    exit_on_hang: bool,
    ending: EndRecord,
) -> TrainingResult:
    check_machine(config.train.precision)
    record_collectives()
    inputs = load_inputs(config, load_evaluation)
    with (
        joined(config.train.precision, config.optim.max_grad_norm, longest_wait(config)) as (
            accelerator,
            ranks,
        ),
        closing(inputs.folder),
        Watch(
            *(ranks, config.hang_minutes, inputs.folder.path, exit_on_hang, [ending.hang])
        ) as watch,
    ):
        check_world(config.batching.size, ranks.world)
        ranks.agree(
            _shared_facts(config, inputs)
        )  # every rank has checked the folder before the first one writes to it
        model = build_model(config, inputs.model_config, ranks)
        if ranks.is_first:
            inputs.folder.hold()
            inputs.folder.write_description(_description(config, inputs, model, accelerator, ranks))
        ending.begin(ranks)
        with Terminal(config.run.name, config.train.steps, ranks.is_first) as terminal:
            _introduce(terminal, config, inputs, model, accelerator, ranks)
            requests = Requests(inputs.folder.path, ranks, interruption)
            with (
                inputs.folder.written_to(),
                WandbRun(
                    config.log, inputs.folder.path, asdict(config), terminal.say, ranks.is_first
                ) as wandb,
                ending.noting(),
            ):
                if config.log.alerts:
                    watch.before_exit.append(lambda ranks, why: wandb.fail(why))
                context = RunContext(
                    *(config, inputs, accelerator, ranks, terminal, watch, wandb, requests, ending)
                )
                return _train(context, model)


def longest_wait(config: Config) -> float:
    """The most minutes for which a rank may wait for others in any phase."""
    return max(asdict(config.hang_minutes).values())


def _train(context: RunContext, model: BiEncoder) -> TrainingResult:
    """Everything from the prepared model on: the loop, then the final evaluation."""
    inputs, terminal, wandb = context.inputs, context.terminal, context.wandb
    parts = assemble(context, model)
    end = train(context.config, parts, context.requests)
    context.watch.begin("end")
    mix = [[stream.kind, stream.name, count] for stream, count in parts.meters.batches.items()]
    wandb.table("plan/mix", ("kind", "stream", "batches"), sorted(mix))
    figures: dict[str, float] = {}
    if end.stopped_by is None and inputs.evaluation.tasks:
        try:
            figures = _final_evaluation(context, end.progress.best_step, parts.selection)
        except Stopped as stopped:
            end = replace(end, stopped_by=name_of(stopped.by))
            if not context.config.checkpoint.every:  # else there is one of the last step
                with context.watch.phase("save"):
                    parts.checkpoints.save(end.progress)
                    parts.checkpoints.finish()
    if end.stopped_by is not None and context.ranks.is_first:
        inputs.folder.mark_interrupted(end.stopped_by)
    wandb.finish()
    if end.stopped_by is None and context.ranks.is_first:
        inputs.evaluation.describe(inputs.folder.path)
    if end.stopped_by is not None:
        terminal.say(f"stopped by {end.stopped_by}; start the same command again to resume")
    else:
        terminal.say(f"done: the model is {inputs.folder.model}{_reports(inputs)}")
    # a launcher that was signalled exits with 1, and srun ends the others: the first rank included
    context.ranks.barrier()
    return _result(inputs, end, parts.log, figures)


def _reports(inputs: RunInputs) -> str:
    """Where the reports of a finished run are, as the end of a line."""
    out, names = inputs.folder.evaluation(), [task.name for task in inputs.evaluation.tasks]
    if len(names) == 1:
        return f", the report {out / names[0] / 'report.html'}"
    return f", its reports are in {out}" if names else ""


def _final_evaluation(
    context: RunContext, best_step: int | None, selection: Selection
) -> dict[str, float]:
    """The figures of the finished model, whose reports are written to the run's eval folder.

    They are those of its selection, or else the model is evaluated now, which raises Stopped, on
    all ranks, if the run is to stop.
    """
    inputs, terminal, ranks = context.inputs, context.terminal, context.ranks
    out, scores = inputs.folder.evaluation(), selection.best_scores
    with context.watch.phase("evaluation"):
        if scores is not None:
            figures = dict(scores)
            terminal.say(f"the model is that of step {best_step}, as evaluated then")
            source = inputs.folder.evaluation(best_step)
            ranks.decide_on_first(lambda: inputs.evaluation.copy_reports(source, out, terminal.say))
        else:
            with terminal.parts(), stoppable(ranks, context.requests.asked) as ranks:
                figures = inputs.evaluation(inputs.folder.model, out, ranks, terminal.say)
    context.wandb.reports(out, "final")
    context.wandb.summarize({f"final/{name}": value for name, value in figures.items()})
    return figures


def _result(
    inputs: RunInputs, end: LoopEnd, log: StepLog, figures: dict[str, float]
) -> TrainingResult:
    progress = end.progress
    return TrainingResult(
        folder=inputs.folder.path,
        model=inputs.folder.model,
        step=progress.step,
        losses=log.losses,
        metric=progress.metric,
        best=progress.best,
        best_step=progress.best_step,
        evaluation=figures,
        stopped_by=end.stopped_by,
    )


def _shared_facts(config: Config, inputs: RunInputs) -> dict[str, Any]:
    """What has to be equal on all ranks before the first collective of training itself."""
    return {
        **{f"the value of {key}": value for key, value in flatten(config).items()},
        **{f"the version of {name}": version for name, version in environment.versions().items()},
        **{
            f"the content of {source.name}": store.fingerprint
            for source, store in zip(inputs.plan.sources, inputs.stores, strict=True)
        },
    }


def _description(
    config: Config, inputs: RunInputs, model: BiEncoder, accelerator: Any, ranks: Ranks
) -> dict[str, Any]:
    """The content of environment.json."""
    return environment.describe(ranks.world, strategy(accelerator)) | {
        "encoding": model.encoder.encoding_description,
        "trust_remote_code": config.model.trust_remote_code,
        TRAINING_LANGUAGES: inputs.languages,
        TRAINING_PAIRS: inputs.num_pairs,
    }


def _introduce(
    terminal: Terminal,
    config: Config,
    inputs: RunInputs,
    model: BiEncoder,
    accelerator: Any,
    ranks: Ranks,
) -> None:
    """Show what is about to be trained, and every fallback with its reason."""
    sources = inputs.plan.sources
    terminal.say(
        f"{inputs.num_pairs:,} pairs in {len(inputs.languages)} languages; "
        f"{ranks.world} x {ranks.device.type} ({strategy(accelerator)}, "
        f"{config.train.precision}); batches of {config.batching.size}"
    )
    for source, store in zip(inputs.plan.sources, inputs.stores, strict=True):
        tokens = inputs.tokens.with_prefixes(source.query_prefix, source.passage_prefix)
        if store.tokens is not None and (reason := tokens.mismatch(store.tokens)):
            terminal.say(f"{source.name}: texts are tokenized during training, because {reason}")
    for line in _cached_stores(config, inputs, ranks):
        terminal.say(line)
    for stream in inputs.plan.small_streams:
        terminal.say(stream.too_small_message(config.batching.size))
    if ranks.is_first:
        drawn = [at for at, source in enumerate(sources) if source.is_drawn]
        stores = [inputs.stores[at] for at in drawn]
        paths = [config.data.train_paths[at] for at in drawn]
        terminal.say(inputs.evaluation.overlap(stores, paths))
        for line in warnings(inputs):
            terminal.say(f"warning: {line}")
    terminal.say(f"texts are {model.encoder.encoding_description}")
    if adapters := lora.describe(model, model.encoder.backbone):
        terminal.say(adapters)


def _cached_stores(config: Config, inputs: RunInputs, ranks: Ranks) -> list[str]:
    """Which cached stores are used for pair files, and whether any rank had to build them."""
    stores = [*inputs.stores, *(inputs.dev[1] if inputs.dev else ())]
    states = zip(*ranks.gather([store.cached for store in stores]), strict=True)
    return [
        f"{pattern}: store {store.folder}, "
        + ("built now" if "built" in of_ranks else "reused from an earlier start")
        for pattern, store, of_ranks in zip(
            [*config.data.train_paths, *config.data.dev], stores, states, strict=True
        )
        if store.cached
    ]
