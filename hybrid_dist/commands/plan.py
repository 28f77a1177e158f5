"""`hybrid-dist plan`: the batches of a run, step by step, before it is started."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from hybrid_dist.batching import Plan
from hybrid_dist.config import flags
from hybrid_dist.config.command_options import Flag, parse_known
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.data.user_cache import store_cache
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.reporting.plan_summary import step_records, tables
from hybrid_dist.text import cell, json_text

MAX_STEPS = 10_000_000
"""More than any run; planning them takes half a minute."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show what the steps of a run would train on.

    Keys of the run's config are flags here too, as in --batching.size 64.

    Example: hybrid-dist plan --config configs/demo.yaml --steps 1000
    """

    steps: int = 1000
    """How many steps."""
    json: Flag = False
    """Print one JSON object for every step."""
    world_size: int | None = None
    """With --json: also the rows and tokens of each rank."""


def main(args: Sequence[str], program: str = "hybrid-dist plan") -> None:
    own, rest = parse_known(Options, args, program)
    with report_errors(program):
        for name, value in (("steps", own.steps), ("world-size", own.world_size)):
            if value is not None and value < 1:
                raise UserError(f"--{name}: {value} is too few; give 1 or more")
        if own.steps > MAX_STEPS:
            raise UserError(
                f"--steps: {own.steps:,} are too many: every step up to the last is worked out and "
                f"kept, 11 bytes each; give {MAX_STEPS:,} or fewer"
            )
        config = flags.load(rest, program)
        stores, sources = open_sources(
            config.data.train,
            EncoderSpec.of(config.model).max_tokens,
            store_cache(config.data.cache_dir),
        )
        steps = config.train.steps
        plan = Plan(sources, config.batching, config.seed, steps=steps, align=config.align)
        if own.json:
            _print_lines(step_records(config, plan, stores, own.steps, own.world_size))
        else:
            for table in tables(plan, config, own.steps):
                Console().print(cell(table) if isinstance(table, str) else table)


def _print_lines(records: Iterable[Mapping[str, Any]]) -> None:
    try:
        for record in records:
            print(json_text(record))
        sys.stdout.flush()
    except BrokenPipeError:  # a reader such as head has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
