"""Training on ranks that hold few pairs at once: `limited_memory.py 8,3 -- the flags of training`.

Stands in for GPUs of different sizes: a rank runs out of memory in any chunk with more pairs than
its limit.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import torch

from hybrid_dist.commands import train
from hybrid_dist.model.encoder import BiEncoder, Chunk


def main() -> None:
    limits = list(map(int, sys.argv[1].split(",")))
    limit, whole = limits[int(os.environ.get("RANK", "0"))], BiEncoder.forward

    def limited(self: BiEncoder, chunks: Sequence[Chunk]) -> Any:
        encoded = whole(self, chunks)
        if self.training and max(len(chunk.queries.sizes) for chunk in chunks) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encoded

    BiEncoder.forward = limited  # type: ignore[method-assign]
    train.main(sys.argv[3:])


if __name__ == "__main__":
    main()
