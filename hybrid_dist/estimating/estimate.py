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
    run = _Run(config, size, cluster, work)
    strategies = [one for one in STRATEGIES if (one == "single") == (cluster.world == 1)]
    if strategy not in strategies:
        strategies.append(strategy)
    fits = {one: run.fit(one) for one in strategies}
    chosen = fits[strategy]
    chunks = work.chunks(cluster.world, chosen.chunk)
    exchanged = config.train.sparse_vocabulary
    is_sparse = exchanged == "always" or (exchanged == "auto" and cluster.nodes > 1)
    step = step_time(
        size,
        cluster,
        chunks,
        work.texts,
        run.candidates,
        strategy,
        compiled=config.train.compile,
        recompute_layers=config.train.gradient_checkpointing,
        symmetric=config.loss.symmetric,
        used_words=int(work.tokens * work.pairs) if is_sparse else None,
    )
    return Estimate(
        size, cluster, work, tuple(fits.values()), chosen, chunks, step, config.train.steps
    )


@dataclass(frozen=True)
class _Run:
    """A run whose memory is estimated."""

    config: Config
    size: ModelSize
    cluster: Cluster
    work: Workload

    @property
    def candidates(self) -> int:
        batching = self.config.batching
        return batching.size * (1 + batching.hard_negatives)

    @property
    def limit(self) -> float:
        """Bytes of a card that a run may take."""
        return CARD_SHARE * self.cluster.card.memory * GIB

    def fit(self, strategy: str) -> Fit:
        largest = 0
        for pairs in chunk_sizes(-(-self.work.pairs // self.cluster.world)):
            if self._in_chunks(strategy, pairs).total <= self.limit:
                largest = pairs
                break
        asked = self.config.train.chunk_size
        chunk = max(largest, 1) if asked == "auto" else asked
        used = self._in_chunks(strategy, chunk)
        return Fit(strategy, used, chunk, largest, self._largest_batch(strategy))

    def _in_chunks(self, strategy: str, pairs: int) -> Memory:
        return self._memory(strategy, self._step(self.work.chunks(self.cluster.world, pairs)))

    def _memory(self, strategy: str, step: Step) -> Memory:
        return memory(self.size, strategy, self.cluster.world, step)

    def _step(self, chunks: Chunks) -> Step:
        work, train = self.work, self.config.train
        return Step(
            chunks=chunks.count,
            tokens=chunks.heaviest,
            vectors=int(work.texts * work.pairs * copies_of_vectors(self.config)),
            candidates=self.candidates,
            precision=train.precision,
            recompute_layers=train.gradient_checkpointing,
            average=train.ema > 0,
        )

    def _largest_batch(self, strategy: str) -> int:
        """Pairs whose vectors fit beside the model and a chunk of the longest pair."""
        longest = max(int(rows.max()) for rows in self.work.rows)
        step = self._step(Chunks(2, longest, longest, 1))
        fixed = self._memory(strategy, replace(step, vectors=0, candidates=0)).total
        of_pair = (self._memory(strategy, step).total - fixed) / self.work.pairs
        return max(0, int((self.limit - fixed) / of_pair))
