"""The schema of a run: typed sections with defaults.

resolve.py builds a Config from YAML and from Python overrides, flags.py from the command line.
"""

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field

from hybrid_dist.config.embedding import Precision
from hybrid_dist.config.section import section
from hybrid_dist.config.sources import Mix, MixEnd, TrainEntry, path_of
from hybrid_dist.config.values import (
    MOST,
    NUMBER,
    ChunkSize,
    Count,
    Length,
    Positive,
    PositiveReal,
    Rate,
    Real,
    Seed,
    Share,
    Switch,
    Temperature,
    Text,
    Weight,
)

LEARNED_TEMPERATURE = (0.001, 1.0)
"""Bounds of a learned temperature."""


@section
class Run:
    dir: Text = "runs"
    """Folder that holds run folders."""
    name: Text = "run"
    """Name of this run: its folder is run.dir/run.name. A folder that exists is resumed."""

    @property
    def folder(self) -> Path:
        return Path(self.dir) / self.name


@section
class Model:
    name_or_path: Text = "xlm-roberta-base"
    """A Hugging Face model: a name on the hub or a folder with config.json and tokenizer."""
    init: Literal["pretrained", "scratch"] = "pretrained"
    """Start from the model's weights, or from random weights of its config's sizes."""
    pooling: Literal["mean", "cls", "last", "labse"] = "mean"
    """Mean of the tokens, the first token, the last token (of decoders; the tokenizer has to end
    texts with a special token), or the first token through LaBSE's dense layer."""
    attention: Literal["auto", "bidirectional"] = "auto"
    """auto: as the model's config says; bidirectional: let the tokens of a decoder attend to those
    after them too."""
    lora_rank: Count = 0
    """Freeze the model and train LoRA matrices of this rank beside its layers; they are merged when
    the model is exported. 0: train the model itself."""
    lora_alpha: PositiveReal = 16
    """LoRA's update is multiplied by this over the rank."""
    lora_modules: tuple[Text, ...] = ("all-linear",)
    """Linear layers that get LoRA matrices: ends of their names, such as `query`, or `all-linear`:
    all inside the Transformer layers."""
    lora_dropout: Rate = 0.0
    """Dropout of the inputs of LoRA matrices."""
    query_prefix: Text = "Query: "
    """Put before every query."""
    passage_prefix: Text = "Passage: "
    """Put before every passage."""
    max_query_tokens: Length = 64
    """Queries are cut to this many tokens, special tokens included."""
    max_passage_tokens: Length = 256
    """Passages are cut to this many tokens, special tokens included."""
    trust_remote_code: Switch = False
    """Run the Python code that the model's folder or repository brings along; otherwise it is not
    run, and a model that needs it is refused. Such code can do all that you can: read it first."""
    dropout: Rate | None = None
    """Dropout of hidden states; unset: what the model's config says."""
    attention_dropout: Rate | None = None
    """Dropout of attention weights. Computing no padding leaves it out: a number above 0 has texts
    padded, unset leaves it out where the model can do without padding."""


_PATHS = tyro.constructors.PrimitiveConstructorSpec(
    nargs="*",
    metavar="[STR [STR ...]]",
    instance_from_str=tuple,
    is_instance=lambda value: isinstance(value, tuple),
    str_from_instance=lambda value: [path_of(entry) for entry in value],
)
"""Flags take paths; settings of a source need a file."""


@section
class Data:
    train: Annotated[tuple[TrainEntry, ...], _PATHS] = ()
    """What to train on: prepared stores, or pair files (JSON lines or Parquet; globs). In a file,
    an entry may also be a mapping {path, weight, mix, query_prefix, passage_prefix}."""
    dev: tuple[Text, ...] = ()
    """Stores or pair files whose loss is measured at every eval.every."""
    cache_dir: Text = ""
    """Where the stores of pair files are kept for the next start; empty: in the user's cache."""
    stage: Text = ""
    """A folder on the own disk of each machine, such as $TMPDIR/stores or /dev/shm/stores: stores
    and prepared collections are copied there, once per machine, and read from there. Variables are
    those of the machine. Empty: none are copied."""

    @property
    def train_paths(self) -> tuple[str, ...]:
        """The paths of data.train, with or without settings."""
        return tuple(path_of(entry) for entry in self.train)


@section
class Batching:
    size: Annotated[int, NUMBER, Field(ge=2, le=MOST)] = 128
    """Pairs in the GLOBAL batch, whatever the number of GPUs."""
    mix: Mix = field(default_factory=lambda: Mix(monolingual=0.5, cross_lingual=0.5))
    """Weights of the kinds of batches; a kind that a file's `mix` leaves out has weight 0."""
    mix_end: MixEnd = field(default_factory=MixEnd)
    """The mix at the last step: shares change linearly from batching.mix over train.steps."""
    cross_lingual: Literal["diverse", "pairwise"] = "diverse"
    """Cross-lingual batches draw the two languages for every row, or for the whole batch."""
    language_alpha: Annotated[float, NUMBER, Field(ge=0, le=10)] = 0.0
    """Languages of monolingual batches, and pairs when pairwise, are drawn by size to this power:
    0 equally, 1 by size. Rows of diverse and multilingual batches draw among their uid's languages
    equally."""
    language_weights: dict[Text, Share] = field(default_factory=dict)
    """Draw languages of monolingual batches, and pairs when pairwise, by these weights instead of
    by size; one not named weighs 1, and 0 leaves one out."""
    hard_negatives: Count = 0
    """Hard negatives of each pair that a step takes, where the pairs list any; they are negatives
    of all queries of the batch. Of longer lists every pass takes others."""
    false_negatives: Literal["mask", "keep", "margin"] = "mask"
    """mask: leave out negatives that are known to be right answers too; keep: leave out none;
    margin: also leave out those that score as high as the right passage, see batching.margin."""
    margin: Real = 0.0
    """With false_negatives: margin, a negative is left out if its similarity to the query is above
    that of the right passage minus this. A negative margin leaves out those that are higher by as
    much."""
    margin_kind: Literal["absolute", "relative"] = "absolute"
    """Subtract batching.margin, or this share of the right passage's similarity."""
    margin_scores: Literal["own", "teacher"] = "own"
    """Whose similarities batching.margin compares: the model's own, or those of distill.teacher."""


@section
class Loss:
    temperature: Temperature = 0.05
    """Similarities are divided by this before the softmax."""
    learn_temperature: Switch = False
    """Train the temperature, starting from loss.temperature."""
    symmetric: Switch = False
    """Also rank queries for every passage, and take the mean of both losses."""
    query_negatives: Switch = False
    """Score every query against the other queries of the batch too, as negatives."""
    passage_negatives: Switch = False
    """Score every right passage against the other right passages of the batch too, as negatives."""
    hardness: Weight = 0.0
    """Weigh candidates that are negatives by exp(hardness * similarity), so that hard ones count
    more; 0: equally. Those of query_negatives and passage_negatives weigh 1."""
    dims: tuple[Positive, ...] = ()
    """Matryoshka: train these numbers of first dimensions of the vectors too, each cut normalized
    again. The loss is the weighted mean over these and the full width."""
    dim_weights: tuple[PositiveReal, ...] = ()
    """Weight of each of loss.dims; empty: 1 each. The full width weighs 1 unless it is listed."""


@section
class Align:
    weight: Weight = 0.0
    """Weight, beside the contrastive loss, of a loss that pulls texts and their translations (the
    same uid in another language) together; 0: none, and no translations are encoded."""
    of: Literal["queries", "passages", "both"] = "queries"
    """Which texts of a row are aligned with a translation."""
    share: Annotated[float, NUMBER, Field(gt=0, le=1)] = 1.0
    """Share of the rows with a translation that are aligned; each encodes a text more, or two."""
    kind: Literal["cosine", "mse", "jsd"] = "cosine"
    """The distance of a text's vector from its translation's: 1 - cosine, or the mean squared
    difference of their numbers; or that of two queries' rankings of the batch's candidates, their
    Jensen-Shannon divergence."""
    temperature: Temperature = 0.05
    """Of the rankings that jsd compares: similarities are divided by this before the softmax."""


STORED = "stored"
"""The distill.teacher whose vectors are in the stores."""


@section
class Distill:
    teacher: Text = ""
    """A model to learn from, beside the pairs; or `stored`: the vectors that `prepare --teacher`
    has put in the stores of data.train; empty: no teacher."""
    query_prefix: Text | None = None
    """Put before every query for the teacher; unset: what the teacher's files say."""
    passage_prefix: Text | None = None
    """Put before every passage for the teacher; unset: what the teacher's files say."""
    weight: Weight = 1.0
    """Weight of the distillation loss beside the contrastive one; 0: none."""
    kind: Literal["scores", "cosine", "mse"] = "scores"
    """What is learned: the teacher's scores of the batch's candidates, by the KL divergence from
    its distribution; or its vectors, by 1 - cosine or by the mean squared difference."""
    temperature: Temperature = 0.05
    """Scores of teacher and student are divided by this before the softmax."""


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
    chunk_size: ChunkSize = 0
    """Pairs encoded at once on a rank, for large batches in little memory; 0: all of them; auto:
    the most that fit in the memory of every rank, measured when the run starts."""
    chunk_tokens: Count = 0
    """Tokens encoded at once on a rank, at most, instead of chunk_size: chunks of equal work; 0:
    chunks by pairs. Stores need token ids (prepare --tokenize)."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Arithmetic of the encoder; the loss is always computed in fp32."""
    frozen_layers: Count = 0
    """Freeze the embeddings and this many of the first layers, which takes less time and memory;
    0: train the whole model."""
    gradient_checkpointing: Switch = False
    """Recompute each layer in the backward pass to save memory."""
    sparse_vocabulary: Literal["auto", "always", "never"] = "auto"
    """Under DDP, exchange the gradient of those rows of the word embeddings only that a step uses;
    auto: if the run has several machines, between which it saves most of the traffic."""
    ema: Rate = 0.0
    """Decay of an exponential moving average of the weights, such as 0.999, which is evaluated and
    exported in their place; 0: none."""
    compile: Switch = False
    """Compile the encoder with torch.compile."""


@section
class HangMinutes:
    start: PositiveReal = 20
    """Minutes for which a rank may stand still, while the others wait for it, before it is named
    and the run ends: from the start of a run to the end of its first step."""
    step: PositiveReal = 2
    """The same in later steps; at least five times as long as the longest of the last steps."""
    evaluation: PositiveReal = 20
    """The same in evaluations, the final one included."""
    save: PositiveReal = 20
    """The same while a checkpoint is written or waited for."""
    end: PositiveReal = 20
    """The same from the last step on: the exported model, W&B."""


@section
class Checkpoint:
    every: Count = 500
    """Steps between checkpoints, the last step included; 0: only when a run is stopped, or
    requested to save."""
    keep: Positive = 2
    """How many of the latest checkpoints to keep; that of the best step is kept beside them."""
    keep_every: Count = 0
    """Keep the checkpoints of steps that are multiples of this too, for good; 0: none. A multiple
    of checkpoint.every."""
    background: Literal["auto", "always", "never"] = "auto"
    """Write checkpoints in a thread while training goes on, from a copy of 12 bytes per parameter
    in the first rank's main memory (16 with train.ema); auto: if twice as much is free there."""
    on_failure: Literal["stop", "go_on"] = "stop"
    """When one cannot be written, as on a full disk; those before it stand either way."""
    resume: Text = "auto"
    """auto: go on from the latest checkpoint of the run folder; never; or a checkpoint's path."""


@section
class Eval:
    every: Count = 0
    """Steps between evaluations on the way; 0: none. The finished model is evaluated anyway."""
    tasks: tuple[Text, ...] = ()
    """Evaluation tasks, each NAME:PATH, NAME:PATH?option=value, or LABEL=NAME:PATH to call it
    LABEL. Also FILE.yaml, a collection of tasks."""
    metric: Text = "map.multilingual"
    """Figure of the first task's report that chooses the best checkpoint, or NAME/figure; or
    dev/loss, the loss on data.dev, which also chooses where there are no tasks."""
    patience: Count = 0
    """So many evaluations in a row without a better eval.metric end the run; 0: none do."""
    precision: Precision = "auto"
    """Arithmetic of embedding: fp32, bf16, or auto: bf16 on GPUs that compute in it, else fp32."""
    groups: tuple[Text, ...] = ()
    """Groups of query languages that reports tell of, each NAME=LANGUAGE,LANGUAGE, or `script`,
    `family` or `tier`; `seen` and `unseen` in training come by themselves."""


@section
class Log:
    every: Count = 10
    """Steps between lines of metrics.jsonl and W&B; 0: none."""
    wandb: Literal["online", "offline", "disabled"] = "offline"
    """W&B mode. Offline writes a folder that `wandb sync` sends later."""
    project: Text = "hybrid_dist"
    """W&B project."""
    group: Text = ""
    """W&B group, which puts runs that belong together side by side; empty: none."""
    tags: tuple[Text, ...] = ()
    """W&B tags."""
    job_type: Text = "train"
    """W&B job type."""
    alerts: Switch = False
    """Have W&B send an alert when an online run fails or a rank hangs, as set in your account."""
    tensorboard: Switch = False
    """Write the same figures for TensorBoard too, into the run folder."""


@section
class Config:
    """One run of hybrid_dist."""

    @classmethod
    def load(cls, file: str | Path, /, **overrides: Any) -> "Config":
        """Read a YAML file and replace single values.

        Overrides are nested mappings or dotted keys, applied in order:
        `Config.load("run.yaml", seed=3, optim={"lr": 1e-4}, **{"train.steps": 500})`.
        Raises a UserError that names the file and the key of everything that is wrong.
        """
        from hybrid_dist.config.resolve import load_config

        return load_config(file, overrides)

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss or the masks use the vectors of distill.teacher."""
        scored = self.batching.margin_scores == "teacher"
        return bool(self.distill.teacher and (self.distill.weight or scored))

    seed: Seed = 1
    """Decides initial weights, batches and dropout."""
    run: Run = field(default_factory=Run)
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    batching: Batching = field(default_factory=Batching)
    loss: Loss = field(default_factory=Loss)
    align: Align = field(default_factory=Align)
    distill: Distill = field(default_factory=Distill)
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    hang_minutes: HangMinutes = field(default_factory=HangMinutes)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    eval: Eval = field(default_factory=Eval)
    log: Log = field(default_factory=Log)


DEV_LOSS = "dev/loss"
"""The figure of eval.metric that is no task's."""

FREE_ON_RESUME = (
    "run.",
    "log.",
    "eval.",
    "checkpoint.",
    "data.stage",
    "train.steps",
    "train.chunk_size",
    "train.chunk_tokens",
    "hang_minutes.",
)
"""Keys that may differ when a run folder is resumed: the others would make it another run."""


def flatten(section: Any, prefix: Text = "") -> dict[str, Any]:
    """The values of a section by their dotted keys."""
    flat: dict[str, Any] = {}
    for key in dataclasses.fields(section):
        value = getattr(section, key.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{key.name}.")
        else:
            flat[prefix + key.name] = value
    return flat


def changes_to_run(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """The keys, with both values, that make `new` another run than `old`."""
    before, after = flatten(old), flatten(new)
    # where the mix changes over the steps, their number decides every batch
    fixed = () if new.batching.mix_end.weights is None else ("train.steps",)
    return {
        key: (before[key], after[key])
        for key in after
        if before[key] != after[key] and (key in fixed or not key.startswith(FREE_ON_RESUME))
    }
