"""The plan: the global batch of every step, which each rank computes by itself."""

from hybrid_dist.batching.plan import GlobalBatch, Plan, max_batch_size
from hybrid_dist.batching.sharding import RankShard, check_world, shard_batch
from hybrid_dist.batching.streams import KINDS, Stream

__all__ = [
    "KINDS",
    "GlobalBatch",
    "Plan",
    "RankShard",
    "Stream",
    "check_world",
    "max_batch_size",
    "shard_batch",
]
