"""The estimate of a run on a cluster: what fits, how long a step takes, and the run as a whole."""

from dataclasses import dataclass, replace

from hybrid_dist.config.schema import Config
from hybrid_dist.estimating.hardware import GIB, Cluster
from hybrid_dist.estimating.memory import STRATEGIES, Memory, Step, memory
from hybrid_dist.estimating.model_size import ModelSize
from hybrid_dist.estimating.step_time import StepTime, step_time
from hybrid_dist.estimating.workload import Chunks, Workload
from hybrid_dist.training.chunk_size import CARD_SHARE, chunk_sizes
from hybrid_dist.training.objective import copies_of_vectors

BYTES_OF_CHECKPOINT = 12
"""Of each trained parameter: its weight and AdamW's two states, in fp32."""


@dataclass(frozen=True)
class Fit:
    """A strategy on the cluster."""

    strategy: str
    memory: Memory
    """In the chunks that are asked for, or in the largest that fit."""
    chunk: int
    """Pairs in these chunks."""
    largest: int
    """The largest chunk that fits, in pairs; 0: not even one pair does."""
    largest_batch: int
    """Pairs of the largest global batch that fits, in chunks of one pair."""


@dataclass(frozen=True)
class Estimate:
    """A run on a cluster."""

    size: ModelSize
    cluster: Cluster
    work: Workload
    fits: tuple[Fit, ...]
    chosen: Fit
    """Of the strategy that is asked for."""
    chunks: Chunks
    step: StepTime
    steps: int

    @property
    def seconds(self) -> float:
        """Of all steps, without start, evaluations and checkpoints."""
        return self.step.total * self.steps

    @property
    def checkpoint_bytes(self) -> int:
        frozen = self.size.parameters - self.size.trained
        return BYTES_OF_CHECKPOINT * self.size.trained + 4 * frozen


def estimate(
    config: Config, size: ModelSize, cluster: Cluster, work: Workload, strategy: str
) -> Estimate:
    """The run under every strategy, and the time of a step under one."""
    strategies = [one for one in STRATEGIES if (one == "single") == (cluster.world == 1)]
    if strategy not in strategies:
        strategies.append(strategy)
    fits = {one: _fit(config, size, cluster, work, one) for one in strategies}
    chosen = fits[strategy]
    chunks = work.chunks(cluster.world, chosen.chunk)
    exchanged = config.train.sparse_vocabulary
    is_sparse = exchanged == "always" or (exchanged == "auto" and cluster.nodes > 1)
    step = step_time(
        size,
        cluster,
        chunks,
        work.texts,
        _candidates(config),
        strategy,
        compiled=config.train.compile,
        recompute_layers=config.train.gradient_checkpointing,
        symmetric=config.loss.symmetric,
        used_words=int(work.tokens * work.pairs) if is_sparse else None,
    )
    return Estimate(
        size, cluster, work, tuple(fits.values()), chosen, chunks, step, config.train.steps
    )


def _fit(config: Config, size: ModelSize, cluster: Cluster, work: Workload, strategy: str) -> Fit:
    limit = CARD_SHARE * cluster.card.memory * GIB
    largest = 0
    for pairs in chunk_sizes(-(-work.pairs // cluster.world)):
        if _memory(config, size, cluster, work, strategy, pairs).total <= limit:
            largest = pairs
            break
    asked = config.train.chunk_size
    chunk = max(largest, 1) if asked == "auto" else asked
    used = _memory(config, size, cluster, work, strategy, chunk)
    return Fit(
        strategy, used, chunk, largest, _largest_batch(config, size, cluster, work, strategy)
    )


def _memory(
    config: Config, size: ModelSize, cluster: Cluster, work: Workload, strategy: str, chunk: int
) -> Memory:
    chunks = work.chunks(cluster.world, chunk)
    return memory(size, strategy, cluster.world, _step(config, work, chunks))


def _step(config: Config, work: Workload, chunks: Chunks) -> Step:
    vectors = work.texts * work.pairs * copies_of_vectors(config)
    return Step(
        chunks=chunks.count,
        tokens=chunks.heaviest,
        vectors=int(vectors),
        candidates=_candidates(config),
        precision=config.train.precision,
        recompute_layers=config.train.gradient_checkpointing,
        average=config.train.ema > 0,
    )


def _candidates(config: Config) -> int:
    return config.batching.size * (1 + config.batching.hard_negatives)


def _largest_batch(
    config: Config, size: ModelSize, cluster: Cluster, work: Workload, strategy: str
) -> int:
    """Pairs whose vectors fit beside the model and a chunk of the longest pair."""
    longest = max(int(rows.max()) for rows in work.rows)
    step = _step(config, work, Chunks(2, longest, longest, 1))
    fixed = memory(size, strategy, cluster.world, replace(step, vectors=0, candidates=0)).total
    of_pair = (memory(size, strategy, cluster.world, step).total - fixed) / work.pairs
    free = CARD_SHARE * cluster.card.memory * GIB - fixed
    return max(0, int(free / of_pair))
