"""The text of a step: tokens of each row, from the run's data or as given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.batching import Plan, check_world, shard_batch
from hybrid_dist.config.schema import Config
from hybrid_dist.data.store.index import TrainingSource
from hybrid_dist.data.store.reader import Store
from hybrid_dist.model.tokenization import TextTokens

STEPS = 16
"""Steps of the plan that are looked at, spread over the run."""
SAMPLE = 512
"""Rows that are tokenized where a store has no token ids."""


@dataclass(frozen=True)
class Workload:
    """The rows of some steps."""

    rows: tuple[np.ndarray, ...]
    """Tokens of each row of a step: its query, passage, hard negatives and translations."""
    texts: float
    """Texts of a row, on average."""
    source: str
    """Where the lengths are from."""

    @property
    def pairs(self) -> int:
        """Pairs of a step."""
        return len(self.rows[0])

    @property
    def tokens(self) -> float:
        """Tokens of a row, on average."""
        return float(np.mean([rows.mean() for rows in self.rows]))

    def chunks(self, world: int, size: int) -> "Chunks":
        """A step of the busiest rank, in chunks of `size` pairs; 0: in one chunk."""
        check_world(self.pairs, world)
        counts, heaviest, totals = 0, 0, 0.0
        for rows in self.rows:
            shard = shard_batch(rows, 0, world, size)
            sizes = [int(rows[shard.rows[chunk]].sum()) for chunk in shard.chunks]
            counts, heaviest = len(sizes), max(heaviest, *sizes)
            totals += sum(sizes)
        return Chunks(counts, heaviest, totals / len(self.rows), max(shard.counts))


@dataclass(frozen=True)
class Chunks:
    """A rank's share of a step."""

    count: int
    heaviest: int
    """Tokens of the longest chunk of any step."""
    tokens: float
    """Tokens of all chunks, on average."""
    pairs: int


def given_workload(config: Config, tokens: int) -> Workload:
    """Rows that all have so many tokens."""
    rows = np.full(config.batching.size, tokens, np.int64)
    return Workload((rows,), _texts(config), f"--tokens {tokens:,}")


def longest_workload(config: Config, why: str) -> Workload:
    """Rows that all have the most tokens that the config allows."""
    model = config.model
    most = model.max_query_tokens + (1 + config.batching.hard_negatives) * model.max_passage_tokens
    rows = np.full(config.batching.size, most, np.int64)
    return Workload((rows,), _texts(config), f"the maximum lengths of the config: {why}")


def planned_workload(
    config: Config, plan: Plan, stores: Sequence[Store], tokens: TextTokens
) -> Workload:
    """Rows as the run's plan deals them, in tokens of its model."""
    exact = [store.tokens is not None and not tokens.mismatch(store.tokens) for store in stores]
    per_unit = [
        1.0 if known else _tokens_per_unit(store, source, tokens)
        for store, source, known in zip(stores, plan.sources, exact, strict=True)
    ]
    steps = np.unique(np.linspace(0, config.train.steps - 1, STEPS).astype(np.int64)).tolist()
    rows = []
    for step in steps:
        batch = plan.batch(step)
        scaled = batch.lengths * per_unit[batch.stream.source]
        rows.append(np.maximum(1, np.rint(scaled)).astype(np.int64))
    source = "token ids of the stores" if all(exact) else f"{SAMPLE} rows of each store, tokenized"
    return Workload(tuple(rows), _texts(config), source)


def _tokens_per_unit(store: Store, source: TrainingSource, tokens: TextTokens) -> float:
    """Tokens of the model for each character, or token of another model, of a plan's lengths."""
    index, (most_of_query, most_of_passage) = source.index, source.max_lengths
    rows = np.unique(np.linspace(0, index.num_rows - 1, SAMPLE).astype(np.int64))
    queries = np.minimum(index.query_length[rows], most_of_query)
    passages = np.minimum(index.passage_length[index.passage_of[rows]], most_of_passage)
    units = float(queries.mean() + passages.mean())
    return float(np.mean(tokens.lengths(store.queries(rows), store.passages(rows)))) / units


def _texts(config: Config) -> float:
    aligned = {"queries": 1, "passages": 1, "both": 2}[config.align.of] * config.align.share
    return 2 + config.batching.hard_negatives + (aligned if config.align.weight else 0.0)
