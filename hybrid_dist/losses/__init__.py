"""InfoNCE over the global batch: a reference, a streamed implementation, and the batch layout."""

from hybrid_dist.losses.batch_layout import NO_ID, BatchLayout
from hybrid_dist.losses.gathered_loss import Guide
from hybrid_dist.losses.infonce import InfoNCE, LossOutput, info_nce
from hybrid_dist.losses.options import LossOptions, Margin

__all__ = [
    "NO_ID",
    "BatchLayout",
    "Guide",
    "InfoNCE",
    "LossOptions",
    "LossOutput",
    "Margin",
    "info_nce",
]
