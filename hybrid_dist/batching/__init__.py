"""The plan: which global batch every step takes, computed by each rank for itself."""

from hybrid_dist.batching.deal import Share, deal
from hybrid_dist.batching.plan import KINDS, GlobalBatch, Plan, largest_size

__all__ = ["KINDS", "GlobalBatch", "Plan", "Share", "deal", "largest_size"]
