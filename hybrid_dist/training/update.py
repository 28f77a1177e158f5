"""One update of the weights, the same under every strategy."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.config import Config
from hybrid_dist.loss.contrastive import LossParts, contrastive_loss
from hybrid_dist.training.feed import Feed, Work
from hybrid_dist.training.optimizer import learning_rate


def keep_gathered(model: nn.Module) -> list[FSDPModule]:
    """Let FSDP2 gather weights once a step, not once a chunk; the modules to reshard after it."""
    sharded: list[FSDPModule] = [m for m in model.modules() if isinstance(m, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.set_reshard_after_backward(False, recurse=False)
    return sharded


@dataclass(frozen=True)
class Result:
    """What an update tells of itself; figures of this rank's rows are summed when logged."""

    parts: LossParts
    temperature: Tensor
    grad_norm: float | Tensor
    """Of the global batch, before clipping."""
    lr: float
    skipped: bool
    """The gradient was not finite, on any rank: weights and AdamW's states are as before."""


class Updater:
    """The prepared model and its optimizer."""

    def __init__(
        self,
        config: Config,
        accelerator: Any,
        ranks: Ranks,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._config, self._accelerator, self._ranks = config, accelerator, ranks
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self._sharded = keep_gathered(self.model)
        self.model.train()

    def update(self, work: Work) -> Result:
        optim = self._config.optim
        rate = learning_rate(work.batch.step, self._config.train.steps, optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts, temperature = self._loss(work)
        self._accelerator.backward(parts.loss)  # DeepSpeed clips and updates, or skips, here too
        self._reshard()
        norm = self._accelerator.clip_grad_norm_(
            self.model.parameters(), optim.max_grad_norm or math.inf
        )
        if isinstance(norm, DTensor):  # of FSDP2: each rank has its part of it
            norm = norm.full_tensor()
        skipped = not math.isfinite(norm)  # of the reduced gradient: the same on all ranks
        if self._accelerator.scaler is not None or not skipped:
            self.optimizer.step()  # fp16's scaler skips by itself, and must hear of it
        self.optimizer.zero_grad()
        return Result(parts, temperature.detach(), norm, rate, skipped)

    def mean_loss(self, feed: Feed, steps: int) -> float:
        """The loss over the first steps of a feed, without dropout and without updates."""
        self.model.eval()
        with torch.no_grad():
            values = [self._loss(work)[0].value for work in feed.steps(0, steps)]
        self._reshard()
        self.model.train()
        return float(self._ranks.sum(torch.stack(values).mean(0, keepdim=True).cpu().numpy())[0])

    def _reshard(self) -> None:
        for module in self._sharded:
            module.reshard()

    def _loss(self, work: Work) -> tuple[LossParts, Tensor]:
        queries, passages, temperature = self.model(work.chunks)
        parts = contrastive_loss(
            queries, passages, temperature, work.rows, self._config.loss.symmetric
        )
        return parts, temperature
