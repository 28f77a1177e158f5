"""`hybrid-dist plan`: the batches of a run, step by step, before it is started."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid_dist.batching import KINDS, GlobalBatch, Plan, Stream, check_world, shard_batch
from hybrid_dist.batching.streams import mix_weights
from hybrid_dist.config import flags
from hybrid_dist.config.schema import Config
from hybrid_dist.data.store.reader import Store, open_sources
from hybrid_dist.data.user_cache import store_cache
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.text import cell, json_text

BAR = 24
EXAMINED = 200
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
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object for every step."""
    world_size: int | None = None
    """With --json: also the rows and tokens of each rank."""


def main(args: Sequence[str], program: str = "hybrid-dist plan") -> None:
    own, rest = tyro.cli(Options, args=args, prog=program, return_unknown_args=True)
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
        plan = Plan(sources, config.batching, config.seed)
        if own.json:
            _print_steps(config, plan, stores, own.steps, own.world_size)
        else:
            for table in tables(plan, config, own.steps):
                Console().print(cell(table) if isinstance(table, str) else table)


def _print_steps(
    config: Config, plan: Plan, stores: Sequence[Store], steps: int, world: int | None
) -> None:
    tokens = None
    if world is not None:
        check_world(plan.size, world)
        model = config.model
        tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model), model.trust_remote_code)
    try:
        for record in records(config, plan, stores, steps, world, tokens):
            print(json_text(record))
        sys.stdout.flush()
    except BrokenPipeError:  # a reader such as head has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def records(
    config: Config,
    plan: Plan,
    stores: Sequence[Store],
    steps: int,
    world: int | None,
    tokens: TextTokens | None,
) -> Iterator[dict[str, Any]]:
    """Each step's kind, stream and rows; with `world`, also the rows and tokens of each rank."""
    for step in range(steps):
        batch = plan.batch(step)
        store = stores[batch.stream.source]
        index, names = store.index, store.index.languages
        languages = (index.language_of(rows) for rows in (batch.query_row, batch.passage_row))
        rows = zip(store.uids(batch.query_row), *languages, strict=True)
        record: dict[str, Any] = {
            "step": step,
            "kind": batch.kind,
            "stream": batch.stream.name,
            "rows": [
                {"uid": uid, "query_lang": names[query_lang], "passage_lang": names[passage_lang]}
                for uid, query_lang, passage_lang in rows
            ],
        }
        if world is not None and tokens is not None:
            record["ranks"] = _ranks(config, batch, store, world, tokens)
        yield record


def _ranks(
    config: Config, batch: GlobalBatch, store: Store, world: int, tokens: TextTokens
) -> list[dict[str, Any]]:
    lengths = np.array(
        tokens.lengths(store.queries(batch.query_row), store.passages(batch.passage_row))
    )
    if batch.negatives is not None:
        ids = tokens.passage_ids(store.passage_texts(batch.negatives.passages))
        batch.negatives.add_to(lengths, np.array([len(one) for one in ids], np.int64))
    shard = shard_batch(batch.lengths, 0, world, config.train.chunk_size)
    of_ranks = np.split(shard.order, np.cumsum(shard.counts)[:-1])
    return [{"rows": rows.tolist(), "tokens": int(lengths[rows].sum())} for rows in of_ranks]


def tables(plan: Plan, config: Config, steps: int) -> Iterator[Table | Text | str]:
    """Shares of kinds, batches of streams, rows of languages, streams left out, false negatives."""
    streams = plan.batch_counts(steps)
    yield _kinds(streams, config, steps)
    yield _streams(streams, plan)
    for stream in plan.small_streams:
        yield cell(f"left out: {stream.too_small_message(plan.size)}")
    batches = [plan.batch(step) for step in range(min(steps, EXAMINED))]
    yield _languages(batches, plan)
    masked = [batch.false_negatives() for batch in batches]
    yield (
        f"false negatives in the first {len(batches)} batches: {np.mean(masked):.1f} pairs of rows "
        f"a batch, {max(masked)} at most"
    )


def _kinds(streams: Counter[Stream], config: Config, steps: int) -> Table:
    table = Table("Kind", "Wanted", "Given", "Batches", title=f"{steps:,} steps")
    weights = mix_weights(config.batching.mix)
    for kind, weight in zip(KINDS, weights, strict=True):
        count = sum(n for stream, n in streams.items() if stream.kind == kind)
        if weight:
            wanted = weight / sum(weights)
            table.add_row(kind, f"{wanted:.2%}", f"{count / steps:.2%}", f"{count:,}")
    return table


def _streams(streams: Counter[Stream], plan: Plan) -> Table:
    table = Table("Kind", "Stream", "Pairs", "Batches", "Passes", title="What batches draw from")
    for kind in KINDS:
        for stream in plan.streams[kind]:
            passes = streams[stream] / (stream.num_uids // plan.size)
            count = f"{streams[stream]:,}"
            table.add_row(kind, cell(stream.name), f"{stream.num_uids:,}", count, f"{passes:.2f}")
    return table


def _languages(batches: Sequence[GlobalBatch], plan: Plan) -> Table:
    """The number of queries and passages of each language, over all kinds."""
    query_counts: Counter[str] = Counter()
    passage_counts: Counter[str] = Counter()
    for batch in batches:
        index = plan.sources[batch.stream.source].index
        for counter, rows in ((query_counts, batch.query_row), (passage_counts, batch.passage_row)):
            codes, counts = np.unique(index.language_of(rows), return_counts=True)
            for code, count in zip(codes, counts, strict=True):
                counter[index.languages[code]] += int(count)
    table = Table(
        "Language", "Queries", "Passages", "", title=f"Rows of the first {len(batches)} batches"
    )
    total = query_counts + passage_counts
    languages = {language for source in plan.sources for language in source.index.languages}
    for language in sorted(languages):
        bar = "█" * round(BAR * total[language] / max(total.values()))
        table.add_row(
            cell(language), f"{query_counts[language]:,}", f"{passage_counts[language]:,}", bar
        )
    return table
