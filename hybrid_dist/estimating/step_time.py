"""Time of a step by part."""

from dataclasses import dataclass

from hybrid_dist.estimating.hardware import Card, Cluster
from hybrid_dist.estimating.model_size import ModelSize
from hybrid_dist.estimating.workload import Chunks


@dataclass(frozen=True)
class StepTime:
    """Seconds by part; an exchange while layers compute costs only what does not fit there."""

    parts: dict[str, float]
    exchange: float
    """All of the exchange of gradients and weights, hidden or not."""

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def step_time(
    size: ModelSize,
    cluster: Cluster,
    chunks: Chunks,
    texts: float,
    candidates: int,
    strategy: str,
    compiled: bool = False,
    recompute_layers: bool = False,
    symmetric: bool = False,
    used_words: int | None = None,
) -> StepTime:
    """A step on each rank of a cluster.

    `texts`: texts of a row. `candidates`: of all ranks. `used_words`: word embeddings whose
    gradient is exchanged; None: all.
    """
    card, reached = cluster.card, cluster.card.reached
    shares = (
        (reached.compiled_forward, reached.compiled_backward)
        if compiled
        else (reached.forward, reached.backward)
    )
    tokens = chunks.tokens / chunks.count
    work = _work(size, tokens, chunks.tokens / chunks.pairs / texts)
    forward, backward = (
        max(flops / (share * card.training * 1e12), launches * size.layers)
        for flops, share, launches in zip(
            (work.forward, work.backward),
            shares,
            (reached.forward_launches, reached.backward_launches),
            strict=True,
        )
    )
    again = forward * (chunks.count - 1 + chunks.count * recompute_layers)
    exchange = _exchange(size, cluster, strategy, used_words)
    loss = 6 * chunks.pairs * candidates * size.width * (2 if symmetric else 1)
    return StepTime(
        {
            "encode": forward * chunks.count,
            "encode again": again,
            "exchange vectors": 2 * cluster.seconds(4.0 * candidates * size.width),
            "loss": loss / (reached.loss * card.fp32 * 1e12),
            "backward": backward * chunks.count,
            "exchange gradients, not hidden": max(0.0, exchange - backward),
            "clipping and AdamW": _update(size, cluster, strategy),
        },
        exchange,
    )


@dataclass(frozen=True)
class _Work:
    forward: float
    backward: float
    """FLOPs of a chunk."""


def _work(size: ModelSize, tokens: float, length: float) -> _Work:
    """Of a chunk of so many tokens, in texts of a length."""
    flops = size.flops
    forward = (2 * flops.weights + 4 * flops.width * length) * tokens
    whole = flops([length]) / length * tokens
    return _Work(forward, whole - forward)


def _exchange(size: ModelSize, cluster: Cluster, strategy: str, used_words: int | None) -> float:
    """Seconds on the network: gradients are reduced, and weights or gradients gathered."""
    numbers = size.trained
    if strategy == "ddp" and used_words is not None:
        numbers -= size.vocabulary - min(size.vocabulary, used_words * size.width)
    if strategy in ("single", "ddp"):
        return 2 * cluster.seconds(4.0 * numbers)
    reduced = 4.0 if strategy == "fsdp2" else 2.0
    return cluster.seconds(reduced * numbers) + cluster.seconds(2.0 * size.parameters)


def _update(size: ModelSize, cluster: Cluster, strategy: str) -> float:
    shards = 1 if strategy in ("single", "ddp") else cluster.world
    card = cluster.card
    return card.reached.update * size.trained / shards / (card.bandwidth * 1e9)


def embedding_seconds(size: ModelSize, cluster: Cluster, texts: int, length: float) -> float:
    """To embed texts of a length on all cards."""
    work = _work(size, texts * length, length).forward
    card = cluster.card
    return work / (card.reached.embedding * card.training * 1e12) / cluster.world


def ranking_seconds(card: Card, world: int, queries: int, passages: int, width: int) -> float:
    """To scan vectors twice, for exact ranks and the first results."""
    return 2 * 2 * queries * passages * width / (card.reached.search * card.fp32 * 1e12) / world
