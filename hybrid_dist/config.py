"""What a run is: one frozen, typed value made of a YAML file and `--section.key value` flags."""

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

import tyro
import yaml
from pydantic import Field, TypeAdapter, ValidationError

from hybrid_dist.errors import UserError, nearest
from hybrid_dist.strict_yaml import read_yaml

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Temperature = Annotated[float, Field(ge=1e-4, le=100, allow_inf_nan=False)]
PositiveReal = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1)]
T = TypeVar("T")
LEARNED_TEMPERATURE = (0.001, 1.0)
"""A learned temperature stays in between."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(cls: type[T]) -> type[T]:
    """A frozen dataclass whose unknown keys pydantic refuses."""
    cls.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


@section
class Run:
    dir: str = "runs"
    """Folder that holds run folders."""
    name: str = "run"
    """Name of this run: its folder is run.dir/run.name. A folder that exists is resumed."""


@section
class Model:
    name_or_path: str = "xlm-roberta-base"
    """A Hugging Face model: a name on the hub or a folder with config.json and tokenizer."""
    init: Literal["pretrained", "scratch"] = "pretrained"
    """Start from the model's weights, or from random weights of its config's sizes."""
    pooling: Literal["mean", "cls", "labse"] = "mean"
    """Mean of the tokens, the first token, or the first token through LaBSE's dense layer."""
    query_prefix: str = "Query: "
    """Put before every question."""
    passage_prefix: str = "Passage: "
    """Put before every passage."""
    max_query_tokens: Positive = 64
    """Questions are cut to this many tokens, special tokens included."""
    max_passage_tokens: Positive = 256
    """Passages are cut to this many tokens, special tokens included."""
    dropout: Rate | None = None
    """Dropout of hidden states; unset: what the model's config says."""
    attention_dropout: Rate | None = None
    """Dropout of attention weights. Computing no padding leaves it out: a number above 0 has texts
    padded, unset leaves it out where the model can do without padding."""


@section
class Data:
    train: tuple[str, ...] = ()
    """What to train on: prepared stores, or pair files (JSON lines or Parquet; globs)."""
    dev: tuple[str, ...] = ()
    """Stores or pair files whose loss is measured at every eval.every."""


@section
class Mix:
    monolingual: Share = 0.0
    """Weight of batches whose questions and passages are all in one language."""
    cross_lingual: Share = 0.0
    """Weight of batches whose questions and passages are in different languages."""
    multilingual: Share = 0.0
    """Weight of batches that draw both languages of every pair freely."""


@section
class Batching:
    size: Annotated[int, Field(ge=2)] = 128
    """Pairs in the GLOBAL batch, whatever the number of GPUs."""
    mix: Mix = field(default_factory=lambda: Mix(monolingual=0.5, cross_lingual=0.5))
    """Weights of the kinds of batches; a kind that a file's `mix` leaves out has weight 0."""
    cross_lingual: Literal["diverse", "pairwise"] = "diverse"
    """Cross-lingual batches draw the two languages for every row, or for the whole batch."""
    language_temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Languages of monolingual batches, and pairs when pairwise, are drawn by size to this power:
    0 equally, 1 by size. Rows of diverse and multilingual batches draw among their uid's languages
    equally."""
    language_weights: dict[str, Share] = field(default_factory=dict)
    """Draw languages of monolingual batches, and pairs when pairwise, by these weights instead of
    by size; one not named weighs 1, and 0 leaves one out."""
    hard_negatives: Count = 0
    """Hard negatives of each pair that a step takes, where the pairs list any; they are negatives
    of all questions of the batch. Of longer lists every pass takes others."""
    false_negatives: Literal["mask", "keep"] = "mask"
    """What the loss does with negatives that are known to be right answers too."""


@section
class Loss:
    temperature: Temperature = 0.05
    """Similarities are divided by this before the softmax."""
    learn_temperature: bool = False
    """Train the temperature, starting from loss.temperature."""
    symmetric: bool = False
    """Also rank questions for every passage, and take the mean of both losses."""


@section
class Optim:
    lr: PositiveReal = 3e-5
    """Peak learning rate of AdamW."""
    weight_decay: Weight = 0.01
    """Decoupled weight decay; never on biases and layer norms."""
    warmup_steps: Count = 0
    """Steps of linear warm-up to the peak."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """What follows the warm-up: down to zero in a line, down a cosine, or no change."""
    max_grad_norm: Weight = 1.0
    """Clip the global gradient norm to this; 0 never clips."""


@section
class Train:
    steps: Positive = 1000
    """Optimizer steps in all."""
    chunk_size: Count = 0
    """Pairs encoded at once on a rank, for large batches in little memory; 0: all of them."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Arithmetic of the encoder; the loss is always computed in fp32."""
    gradient_checkpointing: bool = False
    """Recompute each layer in the backward pass to save memory."""
    compile: bool = False
    """Compile the encoder with torch.compile."""
    hang_minutes: PositiveReal = 20
    """A rank that stands still for so long, while the others wait, is named and ends the run."""


@section
class Checkpoint:
    every: Count = 500
    """Steps between checkpoints, the last step included; 0: only where a run is stopped, or asked
    to save."""
    keep: Positive = 2
    """How many of the latest checkpoints to keep; that of the best step is kept beside them."""
    on_failure: Literal["stop", "go_on"] = "stop"
    """When one cannot be written, as on a full disk; those before it stand either way."""
    resume: str = "auto"
    """auto: go on from the latest checkpoint of the run folder; never; or a checkpoint's path."""


@section
class Eval:
    every: Count = 0
    """Steps between evaluations on the way; 0: none. The finished model is evaluated anyway."""
    tasks: tuple[str, ...] = ()
    """Evaluation tasks, each NAME:PATH, or NAME:PATH?option=value."""
    metric: str = "map.multilingual"
    """Figure of the first task's report that chooses the best checkpoint, or NAME/figure; or
    dev/loss, the loss on data.dev, which also chooses where there are no tasks."""
    patience: Count = 0
    """So many evaluations in a row without a better eval.metric end the run; 0: none do."""
    groups: tuple[str, ...] = ()
    """Groups of question languages that reports tell of, each NAME=LANGUAGE,LANGUAGE; `seen` and
    `unseen` in training come by themselves."""


@section
class Log:
    every: Count = 10
    """Steps between lines of metrics.jsonl and W&B; 0: none."""
    wandb: Literal["online", "offline", "disabled"] = "offline"
    """W&B mode. Offline writes a folder that `wandb sync` sends later."""
    project: str = "hybrid_dist"
    """W&B project."""
    group: str = ""
    """W&B group, which puts runs that belong together side by side; empty: none."""
    tags: tuple[str, ...] = ()
    """W&B tags."""
    job_type: str = "train"
    """W&B job type."""


@section
class Config:
    """One run of hybrid_dist."""

    seed: Seed = 1
    """Decides initial weights, batches and dropout."""
    run: Run = field(default_factory=Run)
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    batching: Batching = field(default_factory=Batching)
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    eval: Eval = field(default_factory=Eval)
    log: Log = field(default_factory=Log)


DEV_LOSS = "dev/loss"
"""The figure of eval.metric that is no task's."""

HELP = """One run of hybrid_dist.

Start from a file with --config FILE and change single values with --section.key value
(or --section.key=value); the flags below are the keys of the file.

Example: hybrid-dist train --config configs/demo.yaml --run.name first --train.steps 500"""

FREE_ON_RESUME = (
    "run.",
    "log.",
    "eval.",
    "checkpoint.",
    "train.steps",
    "train.chunk_size",
    "train.hang_minutes",
)
"""Keys that may differ when a run folder is resumed: the others would make it another run."""


def load(args: Sequence[str], program: str) -> Config:
    """The run that `--config FILE` and the flags describe, checked as far as it can be."""
    file, flags = _split_config_flag(args)
    base = _checked(read_yaml(file), str(file)) if file else Config()
    config = tyro.cli(
        Config,
        prog=program,
        description=HELP,
        args=_with_python_booleans(flags),
        default=base,
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
        console_outputs=int(os.environ.get("RANK", "0")) == 0,
    )
    config = _checked(dataclasses.asdict(config), "command line")
    _check_possible(config)
    return config


def from_yaml(file: Path) -> Config:
    """The run that a resolved file describes (the config.yaml of a run folder)."""
    return _checked(read_yaml(file), str(file))


def to_yaml(config: Config) -> str:
    """The resolved value, in the form that `from_yaml` and `--config` read."""
    tree = yaml.safe_load(json.dumps(dataclasses.asdict(config)))  # tuples become lists
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def flatten(section: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a section by their dotted keys."""
    flat: dict[str, Any] = {}
    for key in dataclasses.fields(section):
        value = getattr(section, key.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{key.name}.")
        else:
            flat[prefix + key.name] = value
    return flat


def other_run(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """The keys, with both values, that make `new` another run than `old`."""
    before, after = flatten(old), flatten(new)
    return {
        key: (before[key], after[key])
        for key in after
        if before[key] != after[key] and not key.startswith(FREE_ON_RESUME)
    }


def _split_config_flag(args: Sequence[str]) -> tuple[Path | None, list[str]]:
    file, flags, rest = None, [], list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--config" or arg.startswith("--config="):
            value = arg.partition("=")[2] or (rest.pop(0) if rest else "")
            if not value or value.startswith("--"):
                raise UserError("--config: expects a YAML file, as in --config configs/demo.yaml")
            if file is not None:
                raise UserError(f"--config: given twice ({file} and {value}); give one file")
            file = Path(value)
        else:
            flags.append(arg)
    return file, flags


def _with_python_booleans(flags: Sequence[str]) -> list[str]:
    """`true` and `false` as files spell them, in the spelling that tyro takes."""
    defaults = flatten(Config())
    names = {f"--{key}" for key, value in defaults.items() if isinstance(value, bool)}
    spelled = {"true": "True", "false": "False"}
    made: list[str] = []
    for flag in flags:
        name, equals, value = flag.partition("=")
        if name in names and equals:
            made.append(f"{name}={spelled.get(value, value)}")
        else:
            made.append(spelled.get(flag, flag) if made and made[-1] in names else flag)
    return made


def _checked(tree: Any, where: str) -> Config:
    if not isinstance(tree, dict):
        raise UserError(f"{where}: expected sections such as `model:` and `data:`, found {tree!r}")
    tree = {key: ({} if value is None else value) for key, value in tree.items()}
    try:
        return TypeAdapter(Config).validate_python(tree)
    except ValidationError as error:
        problems = "\n  ".join(_problem(e) for e in error.errors())
        raise UserError(f"{where}:\n  {problems}") from None


def _problem(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        keys = list(flatten(Config()))
        by_last_name = [key for key in keys if key.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]]
        cure = f"; did you mean '{by_last_name[0]}'?" if by_last_name else nearest(path, keys)
        return f"{path}: unknown key{cure or ' (--help lists them all)'}"
    if error["type"] == "tuple_type":
        return f"{path}: expected a list (one `- item` a line), given {error['input']!r}"
    return f"{path}: {error['msg'][0].lower()}{error['msg'][1:]}, given {error['input']!r}"


def _check_possible(config: Config) -> None:
    mix = config.batching.mix
    if mix.monolingual + mix.cross_lingual + mix.multilingual == 0:
        raise UserError(
            "batching.mix: all weights are 0, so no batch can be drawn; "
            "give monolingual, cross_lingual or multilingual a weight above 0"
        )
    if not config.data.train:
        raise UserError(
            "data.train: no pair file is given; add one, as in --data.train toy/train.jsonl"
        )
    name = config.run.name
    outside = Path(name).is_absolute() or ".." in Path(name).parts or not name.strip("./ ")
    if outside or not name.isprintable():
        raise UserError(f"run.name: {name!r} names no folder inside run.dir")
    if not config.model.name_or_path:
        raise UserError("model.name_or_path: is empty; give a folder or a name on the hub")
    lowest, highest = LEARNED_TEMPERATURE
    if config.loss.learn_temperature and not lowest <= config.loss.temperature <= highest:
        raise UserError(
            f"loss.temperature: {config.loss.temperature} cannot be learned from; "
            f"start between {lowest} and {highest}"
        )
    if config.eval.every and not (config.eval.tasks or config.data.dev):
        raise UserError(
            f"eval.every: is {config.eval.every}, but there is nothing to evaluate; "
            "give eval.tasks or data.dev, or set eval.every to 0"
        )
    if config.eval.metric == DEV_LOSS and not config.data.dev:
        raise UserError(
            f"eval.metric: is {DEV_LOSS}, but there are no held-out pairs; give data.dev"
        )
    if config.eval.patience and not config.eval.every:
        raise UserError(
            f"eval.patience: is {config.eval.patience}, but nothing is evaluated on the way; "
            "give eval.every, or set eval.patience to 0"
        )
    for task in config.eval.tasks:
        name, colon, path = task.partition(":")
        if not (name and colon and path):
            raise UserError(f"eval.tasks: {task!r} is not NAME:PATH, as in toy:data/toy")
