"""The plan: which global batch every step takes, computed by each rank for itself."""

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
