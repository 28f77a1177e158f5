"""`hybrid-dist estimate`: memory, time and cost of a run on hardware that is not at hand."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from hybrid_dist.batching import Plan
from hybrid_dist.config import flags
from hybrid_dist.config.command_options import Flag, parse_known
from hybrid_dist.config.schema import Config
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.data.user_cache import store_cache
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.estimating.estimate import estimate
from hybrid_dist.estimating.estimate_tables import estimate_object, estimate_tables
from hybrid_dist.estimating.hardware import Cluster, card, link
from hybrid_dist.estimating.memory import STRATEGIES
from hybrid_dist.estimating.model_size import model_size
from hybrid_dist.estimating.workload import (
    Workload,
    given_workload,
    longest_workload,
    planned_workload,
)
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.text import json_text


@dataclass(frozen=True, kw_only=True)
class Options:
    """Estimate memory, time and cost of a run before it is started.

    Reads the model's config.json and the lengths of the training data; needs no GPU. Keys of the
    run's config are flags here too, as in --batching.size 8192.

    Example: hybrid-dist estimate --config configs/xlmr-large-hybrid.yaml --gpus 8 --gpu h100
    """

    gpus: int = 1
    """GPUs of each machine."""
    gpu: str = "h100"
    """Their kind: h100, h200, a100-80, a100-40, l40s, l4, a10, rtx4090 or rtx3090."""
    nodes: int = 1
    """Machines."""
    link: str = "ib400"
    """The network between machines: ib400, ib200, ib100, eth100, eth25 or eth10."""
    adapters: int = 1
    """Network adapters of each machine."""
    launcher: str | None = None
    """The launcher file whose step is timed, such as ddp; default: single for one GPU, else ddp."""
    tokens: int | None = None
    """Tokens of a query, its passage and hard negatives together; default: those of the data."""
    json: Flag = False
    """Print one JSON object, in bytes and seconds."""


def main(args: Sequence[str], program: str = "hybrid-dist estimate") -> None:
    own, rest = parse_known(Options, args, program)
    with report_errors(program):
        for name in ("gpus", "nodes", "adapters", "tokens"):
            if (value := getattr(own, name)) is not None and value < 1:
                raise UserError(f"--{name}: {value} is too few; give 1 or more")
        cluster = Cluster(card(own.gpu), own.gpus, own.nodes, link(own.link) * own.adapters)
        strategy = own.launcher or ("ddp" if cluster.world > 1 else "single")
        if strategy not in STRATEGIES or (strategy == "single" and cluster.world > 1):
            raise UserError(f"--launcher: {strategy!r} is none of {', '.join(STRATEGIES)}")
        config = flags.load(rest, program)
        if config.train.precision == "fp32":
            raise UserError(
                "train.precision: steps in fp32 were measured on no GPU and are not estimated; "
                "choose bf16 or fp16"
            )
        size = model_size(config.model, config.train.frozen_layers)
        result = estimate(config, size, cluster, workload(config, own.tokens), strategy)
    if own.json:
        print(json_text(estimate_object(result), 1))
        return
    console = Console()
    for part in estimate_tables(result):
        console.print(part, highlight=False)


def workload(config: Config, tokens: int | None) -> Workload:
    """The text of a step: as given, of the training data, or else the longest there may be."""
    if tokens is not None:
        return given_workload(config, tokens)
    try:
        stores, sources = open_sources(
            config.data.train,
            EncoderSpec.of(config.model).max_tokens,
            store_cache(config.data.cache_dir),
        )
    except UserError as error:
        return longest_workload(config, str(error))
    plan = Plan(sources, config.batching, config.seed, steps=config.train.steps, align=config.align)
    model = config.model
    tokenizer = TextTokens.load(model.name_or_path, EncoderSpec.of(model), model.trust_remote_code)
    return planned_workload(config, plan, stores, tokenizer)
