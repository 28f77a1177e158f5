"""The plan: which global batch every step takes, computed by each rank for itself."""

from hybrid_dist.batching.plan import GlobalBatch, Plan, largest_size
from hybrid_dist.batching.sharding import Share, check_world, deal
from hybrid_dist.batching.streams import KINDS, Stream

__all__ = [
    "KINDS",
    "GlobalBatch",
    "Plan",
    "Share",
    "Stream",
    "check_world",
    "deal",
    "largest_size",
]
