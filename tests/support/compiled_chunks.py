"""The chunks of steps as a compiled encoder sees them."""

import numpy as np
import torch

from hybrid_dist.model.encoder import BiEncoder, Chunk
from hybrid_dist.model.packing import PackedTexts

LONGEST = 140


def chunks(step: int) -> list[Chunk]:
    """One to three chunks, with texts of 2 tokens to 140. Not all have one length: where nothing is
    to be padded transformers gives layers no mask, which is a second graph."""
    drawn = np.random.default_rng(step)

    def texts(count: int, median: int) -> PackedTexts:
        lengths = np.clip(drawn.lognormal(np.log(median), 0.8, count), 2, LONGEST).astype(int)
        lengths[:2] = 2, 3
        return PackedTexts.of([drawn.integers(3, 60, length).tolist() for length in lengths])

    rows = 2 + step % 7
    return [Chunk(texts(rows, 6), texts(2 * rows, 20)) for _ in range(1 + step % 3)]


def step(model: BiEncoder, number: int) -> dict[str, torch.Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        queries, candidates, _ = model(chunks(number))
    (queries @ candidates.T).square().sum().backward()
    named = model.named_parameters()
    return {name: part.grad.clone() for name, part in named if part.grad is not None}
