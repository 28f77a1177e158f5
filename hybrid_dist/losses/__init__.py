"""InfoNCE over the global batch: a reference, a streamed implementation, and the batch layout."""

from hybrid_dist.losses.batch_layout import NO_ID, BatchLayout
from hybrid_dist.losses.infonce import InfoNCE, LossOutput, info_nce

__all__ = ["NO_ID", "BatchLayout", "InfoNCE", "LossOutput", "info_nce"]
