"""The batches of a run before it starts: a record of every step, or tables of many."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from hybrid_dist.batching import KINDS, GlobalBatch, Plan, Stream, check_world, shard_batch
from hybrid_dist.config.schema import Config
from hybrid_dist.data.store.reader import Store
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.text import cell

BAR = 24
"""Letters of the longest bar."""
EXAMINED = 200
"""Batches whose rows are counted."""
PARTS = 5
"""Parts of the steps in which a changing mix is shown."""


def step_records(
    config: Config, plan: Plan, stores: Sequence[Store], steps: int, world: int | None
) -> Iterator[dict[str, Any]]:
    """Each step's kind, stream and rows; with `world`, also the rows and tokens of each rank."""
    tokens = None
    if world is not None:
        check_world(plan.size, world)
        model = config.model
        tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model), model.trust_remote_code)
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
            source = plan.sources[batch.stream.source]
            own = tokens.with_prefixes(source.query_prefix, source.passage_prefix)
            record["ranks"] = _ranks(batch, store, world, own)
        yield record


def _ranks(
    batch: GlobalBatch, store: Store, world: int, tokens: TextTokens
) -> list[dict[str, Any]]:
    lengths = np.array(
        tokens.lengths(store.queries(batch.query_row), store.passages(batch.passage_row))
    )
    if batch.negatives is not None:
        ids = tokens.passage_ids(store.passage_texts(batch.negatives.passages))
        batch.negatives.add_to(lengths, np.array([len(one) for one in ids], np.int64))
    if batch.parallel is not None and (aligned := np.flatnonzero(batch.parallel.aligned)).size:
        queries, passages = batch.parallel.query_row, batch.parallel.passage_row
        if queries is not None:
            ids = tokens.query_ids(store.queries(queries[aligned]))
            lengths[aligned] += [len(one) for one in ids]
        if passages is not None:
            ids = tokens.passage_ids(store.passages(passages[aligned]))
            lengths[aligned] += [len(one) for one in ids]
    shard = shard_batch(batch.lengths, 0, world, chunk_size=0)
    of_ranks = np.split(shard.order, np.cumsum(shard.counts)[:-1])
    return [{"rows": rows.tolist(), "tokens": int(lengths[rows].sum())} for rows in of_ranks]


def tables(plan: Plan, config: Config, steps: int) -> Iterator[Table | Text | str]:
    """Shares of kinds, batches of streams, rows of languages, streams left out, false negatives."""
    streams = plan.batch_counts(steps)
    yield _kinds(streams, plan, steps)
    if config.batching.mix_end.weights is not None:
        yield _mix_over_steps(plan, steps)
    if len(plan.sources) > 1:
        yield _sources(streams, plan, steps)
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


def _kinds(streams: Counter[Stream], plan: Plan, steps: int) -> Table:
    table = Table("Kind", "Wanted", "Given", "Batches", title=f"{steps:,} steps")
    shares = plan.wanted_shares(steps)
    for kind in KINDS:
        count = sum(n for stream, n in streams.items() if stream.kind == kind)
        if wanted := sum(share for stream, share in shares.items() if stream.kind == kind):
            table.add_row(kind, f"{wanted:.2%}", f"{count / steps:.2%}", f"{count:,}")
    return table


def _mix_over_steps(plan: Plan, steps: int) -> Table:
    """The share of each kind in equal parts of the steps."""
    borders = np.unique(np.linspace(0, steps, PARTS + 1).astype(np.int64)).tolist()
    parts = list(pairwise(borders))
    table = Table("Kind", *(f"{first:,} to {last - 1:,}" for first, last in parts))
    table.title = "Batches of each kind, by step"
    for kind in KINDS:
        of_kind = [
            sum(n for stream, n in plan.batch_counts(border).items() if stream.kind == kind)
            for border in borders
        ]
        if of_kind[-1]:
            shares = zip(pairwise(of_kind), parts, strict=True)
            cells = [(after - before) / (last - first) for (before, after), (first, last) in shares]
            table.add_row(kind, *(f"{share:.1%}" for share in cells))
    return table


def _sources(streams: Counter[Stream], plan: Plan, steps: int) -> Table:
    """The batches of each source, and its prefixes if it has its own."""
    has_prefixes = any(
        source.query_prefix is not None or source.passage_prefix is not None
        for source in plan.sources
    )
    names = ("Query prefix", "Passage prefix") if has_prefixes else ()
    table = Table("Source", "Wanted", "Given", "Batches", *names, title="Sources")
    shares = plan.wanted_shares(steps)
    for number, source in enumerate(plan.sources):
        wanted = sum(share for stream, share in shares.items() if stream.source == number)
        count = sum(n for stream, n in streams.items() if stream.source == number)
        prefixes = (source.query_prefix, source.passage_prefix) if has_prefixes else ()
        shown = (cell("the model's" if one is None else repr(one)) for one in prefixes)
        given = f"{count / steps:.2%}"
        table.add_row(cell(source.name), f"{wanted:.2%}", given, f"{count:,}", *shown)
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
