"""One run of training: check, build, call.

What can be refused is refused before weights are read.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from hybrid_dist.batching import Plan, check_world, max_batch_size, shard_batch
from hybrid_dist.config.schema import DEV_LOSS, Config, flatten
from hybrid_dist.data.store.reader import Source, Store, check_sources, open_sources
from hybrid_dist.data.user_cache import store_cache
from hybrid_dist.errors import UserError
from hybrid_dist.model.compiling import compile_layers
from hybrid_dist.model.encoder import BiEncoder, Encoder, recompute_layers
from hybrid_dist.model.loading import build, check_lengths, read_config
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime import environment
from hybrid_dist.runtime.launch import start, strategy
from hybrid_dist.runtime.ranks import Ranks, exit_process
from hybrid_dist.runtime.signals import Interruption
from hybrid_dist.runtime.watchdog import Watch
from hybrid_dist.tracking.metrics_log import MetricsLog
from hybrid_dist.tracking.terminal import Terminal
from hybrid_dist.tracking.wandb_run import WandbRun
from hybrid_dist.tracking.warned import prefix_warnings_with_rank
from hybrid_dist.training.checkpoint.export import Exporter
from hybrid_dist.training.checkpoint.manager import Checkpoints
from hybrid_dist.training.checkpoint.progress import Progress
from hybrid_dist.training.checkpoint.state import TrainingState
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.flops import Flops
from hybrid_dist.training.health import Health
from hybrid_dist.training.loop import train
from hybrid_dist.training.meters import Meters
from hybrid_dist.training.optimizer import adamw
from hybrid_dist.training.requests import Requests
from hybrid_dist.training.run_folder import TRAINING_LANGUAGES, RunFolder
from hybrid_dist.training.selection import Evaluate, Selection, SelectionMetric, resume_selection
from hybrid_dist.training.step import Updater
from hybrid_dist.training.step_log import StepLog

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What attention computes in, by train.precision."""


class RunEvaluation(Protocol):
    """What a run is evaluated on, and the figure that chooses its best checkpoint."""

    @property
    def tasks(self) -> Sequence[Any]:
        """Empty where nothing is evaluated."""
        ...

    @property
    def metric(self) -> str | None:
        """NAME/figure; None where the loss on held-out pairs chooses."""
        ...

    @property
    def higher_is_better(self) -> bool: ...

    def overlap(self, stores: Sequence[Store], sources: Sequence[str]) -> str:
        """Whether any text that is evaluated on is a training text, in one line."""
        ...

    def __call__(
        self, model: Path, out: Path, ranks: Ranks, say: Callable[[str], None] | None = None
    ) -> dict[str, float]:
        """Score a saved model on all ranks: figures by NAME/figure, reports in OUT/NAME."""
        ...


LoadEvaluation = Callable[[Config, Sequence[str]], RunEvaluation]
"""From a config and the languages that are trained on to the evaluation."""


@dataclass(frozen=True)
class RunInputs:
    """All that a run is made of but its weights: read and found fit."""

    folder: RunFolder
    stores: list[Store]
    plan: Plan
    dev: tuple[Plan, list[Store]] | None
    evaluation: RunEvaluation
    model_config: Any
    tokens: TextTokens


def load_inputs(config: Config, load_evaluation: LoadEvaluation) -> RunInputs:
    """Read everything but weights; refuse what cannot be run."""
    check_sources([*config.data.train, *config.data.dev])  # a wrong path is told before all else
    folder = RunFolder(config)
    folder.check()
    stores, sources = _open(config, config.data.train)
    plan = Plan(sources, config.batching, config.seed)
    dev = _dev(config) if config.data.dev else None
    model_config = read_config(config.model)
    check_lengths(model_config, config.model)
    name, trusted = config.model.name_or_path, config.model.trust_remote_code
    tokens = TextTokens.load(name, EncoderSpec.of(config.model), trusted)
    tokens.check(model_config)
    evaluation = load_evaluation(config, training_languages(plan))
    return RunInputs(folder, stores, plan, dev, evaluation, model_config, tokens)


def _open(config: Config, patterns: Sequence[str]) -> tuple[list[Store], list[Source]]:
    max_tokens = EncoderSpec.of(config.model).max_tokens
    return open_sources(patterns, max_tokens, store_cache(config.data.cache_dir))


def training_languages(plan: Plan) -> list[str]:
    return sorted({name for source in plan.sources for name in source.index.languages})


def _dev(config: Config) -> tuple[Plan, list[Store]]:
    """The held-out pairs, in batches of the same mix, as large as they allow."""
    stores, sources = _open(config, config.data.dev)
    # weights may name languages that only train has, and dev pairs may lack negatives
    batching = replace(config.batching, language_weights={}, hard_negatives=0)
    size = min(batching.size, max_batch_size(sources, batching))
    if size < 2:
        raise UserError(
            f"data.dev: too few pairs for a batch of every kind of batching.mix (at most {size} "
            "rows); add pairs in every language, or leave data.dev empty"
        )
    return Plan(sources, replace(batching, size=size), config.seed), stores


def run(config: Config, interruption: Interruption, load_evaluation: LoadEvaluation) -> None:
    """One run, from its configuration to its final report.

    `load_evaluation` reads what the run is evaluated on: training does not import the evaluator.
    """
    interruption.listen()
    prefix_warnings_with_rank()
    materials = load_inputs(config, load_evaluation)
    accelerator, ranks = start(
        config.train.precision, config.optim.max_grad_norm, config.train.hang_minutes
    )
    check_world(config.batching.size, ranks.world)
    ranks.agree(_told(config, materials))  # and all have looked at the folder before it is written
    torch.manual_seed(config.seed)  # the same initial weights on every rank
    model = _model(config, materials.model_config)
    choose_attention(model.encoder, DTYPES[config.train.precision], ranks)
    if config.train.compile:
        compile_layers(model.encoder)
    ranks.agree({"how texts are encoded": model.encoder.encoding_description} | _shapes(model))
    if ranks.is_first:
        materials.folder.hold()
        described = environment.describe(ranks.world, strategy(accelerator))
        described |= {
            "encoding": model.encoder.encoding_description,
            "trust_remote_code": config.model.trust_remote_code,
            TRAINING_LANGUAGES: training_languages(materials.plan),
        }
        materials.folder.write_description(described)
    with Terminal(config.run.name, config.train.steps, ranks.is_first) as terminal:
        _introduce(terminal, config, materials, accelerator, ranks)
        terminal.say(f"texts are {model.encoder.encoding_description}")
        requests = Requests(materials.folder.path, ranks, interruption)
        with (
            materials.folder.written_to(),
            Watch(ranks, config.train.hang_minutes) as watch,
            _wandb(config, materials.folder, ranks, terminal) as wandb,
        ):
            _train(config, materials, model, accelerator, ranks, terminal, requests, watch, wandb)
    exit_process()


def _told(config: Config, materials: RunInputs) -> dict[str, Any]:
    """What every rank must have the same of before the first collective of the work itself."""
    return {
        **{f"the value of {key}": value for key, value in flatten(config).items()},
        **{f"the version of {name}": version for name, version in environment.versions().items()},
        **{
            f"the content of {source.name}": store.fingerprint
            for source, store in zip(materials.plan.sources, materials.stores, strict=True)
        },
    }


def _shapes(model: torch.nn.Module) -> dict[str, str]:
    """The weights that are about to be shared out."""
    return {
        f"the shape of {name}": f"{tuple(weights.shape)} of {weights.dtype}"
        for name, weights in model.named_parameters()
    }


def _train(
    config: Config,
    materials: RunInputs,
    model: BiEncoder,
    accelerator: Any,
    ranks: Ranks,
    terminal: Terminal,
    requests: Requests,
    watch: Watch,
    wandb: WandbRun,
) -> None:
    folder, tokens = materials.folder, materials.tokens
    flops = Flops.of(model.encoder.backbone)  # before weights are sharded
    updater = Updater(config, accelerator, ranks, model, adamw(model, config.optim))
    torch.manual_seed(config.seed + 1000 * (ranks.rank + 1))  # but other dropout
    exporter = Exporter(
        folder,
        accelerator,
        ranks,
        updater.model,
        model.encoder.backbone,
        tokens.tokenizer,
        EncoderSpec.of(config.model),
    )
    checkpoints = Checkpoints(
        folder.checkpoints,
        TrainingState(accelerator, ranks, updater.model, updater.optimizer, strategy(accelerator)),
        ranks,
        config.checkpoint.keep,
        config.checkpoint.on_failure,
        terminal.say,
    )
    judge = _judge(materials.evaluation)
    progress = _resume(config, checkpoints, judge, folder, ranks, terminal)
    lengths = materials.plan.batch(progress.step).lengths
    share = shard_batch(lengths, ranks.rank, ranks.world, config.train.chunk_size)
    ranks.agree({"the step to go on from": progress.step, "its chunks": len(share.chunks)})
    meters = Meters(ranks, materials.plan, flops, progress.step)
    log = _step_log(folder.metrics, ranks, meters, progress, terminal, watch, wandb)
    feed = partial(
        Feed,
        tokens=tokens,
        ranks=ranks,
        chunk_size=config.train.chunk_size,
        mask=config.batching.false_negatives == "mask",
    )
    evaluation = materials.evaluation
    selection = Selection(
        updater,
        exporter,
        log,
        feed(*materials.dev) if materials.dev else None,
        _evaluated(evaluation, ranks, wandb) if evaluation.tasks else None,
        judge,
        config.eval.patience,
        terminal.say,
    )
    stopped_by = train(
        config,
        progress,
        feed(materials.plan, materials.stores),
        updater,
        log,
        selection,
        checkpoints,
        exporter,
        Health(folder.not_finite, materials.stores, ranks, config.train.steps),
        requests,
    )
    mix = [[stream.kind, stream.name, count] for stream, count in meters.batches.items()]
    wandb.table("plan/mix", ("kind", "stream", "batches"), sorted(mix))
    if stopped_by is not None:
        _stop(folder, ranks, stopped_by, wandb, terminal)
        return
    if evaluation.tasks:
        figures = evaluation(folder.model, folder.evaluation(), ranks, terminal.say)
        wandb.reports(folder.evaluation(), "final")
        wandb.summarize({f"final/{name}": value for name, value in figures.items()})
    wandb.finish()
    terminal.say(f"done: the model is {folder.model}")


def _step_log(
    file: Path,
    ranks: Ranks,
    meters: Meters,
    progress: Progress,
    terminal: Terminal,
    watch: Watch,
    wandb: WandbRun,
) -> StepLog:
    """Steps go to the terminal and the watch; records to metrics.jsonl, W&B and the terminal."""
    metrics = MetricsLog(file)
    if ranks.is_first and (lost := metrics.truncate_after(progress.step)):
        terminal.say(
            f"{file.name}: {len(lost):,} lines cannot be read and are left out (the first: "
            f"{lost[0]}); the file as it was is {metrics.damaged}"
        )

    def tick(step: int) -> None:
        terminal.step(step)
        watch.step(step)

    return StepLog(ranks, tick, [metrics.write, wandb.write, terminal.show], meters)


def _judge(evaluation: RunEvaluation) -> SelectionMetric:
    if evaluation.metric is None:
        return SelectionMetric(DEV_LOSS, higher_is_better=False)
    return SelectionMetric(f"eval/{evaluation.metric}", evaluation.higher_is_better)


def _evaluated(evaluation: RunEvaluation, ranks: Ranks, wandb: WandbRun) -> Evaluate:
    """The tasks of an evaluation on the way, told to W&B."""

    def evaluate(model: Path, out: Path) -> dict[str, float]:
        figures = evaluation(model, out, ranks)
        wandb.reports(out, "eval")
        return figures

    return evaluate


def _stop(folder: RunFolder, ranks: Ranks, why: str, wandb: WandbRun, terminal: Terminal) -> None:
    """Leave before the end, with word for who starts the run again."""
    if ranks.is_first:
        folder.mark_interrupted(why)
    wandb.finish()
    terminal.say(f"stopped by {why}; start the same command again to go on")


def _model(config: Config, model_config: Any) -> BiEncoder:
    encoder = build(config.model, model_config)
    if config.train.gradient_checkpointing:
        recompute_layers(encoder)
    return BiEncoder(encoder, config.loss.temperature, config.loss.learn_temperature)


def choose_attention(encoder: Encoder, dtype: torch.dtype, ranks: Ranks) -> None:
    """By the card that can do least, so that all ranks compute alike."""
    refusals = ranks.gather(encoder.kernel_refusal_reason(ranks.device, dtype))
    encoder.select_attention(ranks.device, next(filter(None, refusals), None))


def _resume(
    config: Config,
    checkpoints: Checkpoints,
    judge: SelectionMetric,
    folder: RunFolder,
    ranks: Ranks,
    terminal: Terminal,
) -> Progress:
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
    evaluates = bool(config.eval.every) and not done
    model_is_there = ranks.decide_on_first(folder.model.is_dir)
    progress, why = resume_selection(progress, judge, evaluates, model_is_there)
    if why is not None:
        terminal.say(why)
    more = f"; that is all of train.steps, {config.train.steps}" if done else ""
    terminal.say(f"resumed from {checkpoint}, step {progress.step}{more}")
    return progress


def _wandb(config: Config, folder: RunFolder, ranks: Ranks, terminal: Terminal) -> WandbRun:
    """Only the first rank's does anything."""
    return WandbRun(config.log, folder.path, asdict(config), terminal.say, ranks.is_first)


def _introduce(
    terminal: Terminal, config: Config, materials: RunInputs, accelerator: Any, ranks: Ranks
) -> None:
    indexes = [source.index for source in materials.plan.sources]
    languages = training_languages(materials.plan)
    terminal.say(
        f"{sum(index.rows for index in indexes):,} pairs in {len(languages)} languages; "
        f"{ranks.world} x {ranks.device.type} ({strategy(accelerator)}, "
        f"{config.train.precision}); batches of {config.batching.size}"
    )
    for source, store in zip(materials.plan.sources, materials.stores, strict=True):
        if store.tokens is not None and (why := materials.tokens.mismatch(store.tokens)):
            terminal.say(f"{source.name}: texts are tokenised on the way, for {why}")
    for line in _cached_stores(config, materials, ranks):
        terminal.say(line)
    for stream in materials.plan.left_out:
        terminal.say(stream.left_out(config.batching.size))
    if ranks.is_first:
        terminal.say(materials.evaluation.overlap(materials.stores, config.data.train))


def _cached_stores(config: Config, materials: RunInputs, ranks: Ranks) -> list[str]:
    """Which cached stores stand for pair files, and whether any rank had to build them."""
    stores = [*materials.stores, *(materials.dev[1] if materials.dev else ())]
    states = zip(*ranks.gather([store.cached for store in stores]), strict=True)
    return [
        f"{pattern}: store {store.folder}, "
        + ("built now" if "built" in of_ranks else "reused from an earlier start")
        for pattern, store, of_ranks in zip(
            [*config.data.train, *config.data.dev], stores, states, strict=True
        )
        if store.cached
    ]
