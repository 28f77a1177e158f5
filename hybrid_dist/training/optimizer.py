"""AdamW without decay on biases and norms, and the learning rate as a function of the step."""

import math

import torch
from torch import nn

from hybrid_dist.config.schema import Optim


def adamw(model: nn.Module, optim: Optim) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices, not on vectors (biases, norms) or the temperature."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": optim.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=optim.lr,
        fused=True,
    )


def learning_rate(step: int, steps: int, optim: Optim) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then the schedule."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    if optim.schedule == "constant":
        return optim.lr
    left = max(0.0, (steps - step) / max(1, steps - optim.warmup_steps))
    if optim.schedule == "linear":
        return optim.lr * left
    return optim.lr * (1 - math.cos(math.pi * left)) / 2
