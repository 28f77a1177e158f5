"""One update of the weights, the same under every strategy."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from hybrid_dist.config.schema import Config
from hybrid_dist.losses.infonce import LossOutput, info_nce
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.feed import Feed, StepInputs
from hybrid_dist.training.optimizer import learning_rate


def keep_temperature_fp32(model: BiEncoder, optimizer: torch.optim.Optimizer) -> None:
    """Have FSDP2 keep a learned temperature in fp32: sharded by itself, before the rest of the
    model is with a policy of mixed precision."""
    if model.temperature is None:
        return
    plain = model.temperature.log
    fully_shard(model.temperature)
    for group in optimizer.param_groups:
        group["params"] = [model.temperature.log if p is plain else p for p in group["params"]]


def keep_parameters_gathered(model: nn.Module) -> list[FSDPModule]:
    """Let FSDP2 gather weights once a step, not once a chunk; the modules to reshard after it."""
    sharded: list[FSDPModule] = [m for m in model.modules() if isinstance(m, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.set_reshard_after_backward(False, recurse=False)
    return sharded


def sum_gradients_in_fp32(model: nn.Module) -> None:
    """Have autograd sum in fp32 what chunks give to the gradient of a weight that is bf16 or fp16,
    as all are under FSDP2 and ZeRO."""
    for weights in model.parameters():
        if weights.dtype in (torch.bfloat16, torch.float16):
            weights.grad_dtype = torch.float32


@dataclass(frozen=True)
class Result:
    """What an update tells of itself; figures of this rank's rows are summed when logged."""

    loss: LossOutput
    temperature: Tensor
    grad_norm: float | Tensor
    """Of the global batch, before clipping."""
    lr: float
    skipped: Tensor
    """Whether the gradient was not finite, on any rank: weights and AdamW's states are as before.
    It is on the device: a host that reads it waits for the step."""


class Updater:
    """The prepared model and its optimizer."""

    def __init__(
        self,
        config: Config,
        accelerator: Any,
        ranks: Ranks,
        model: BiEncoder,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        if accelerator.is_fsdp2:
            keep_temperature_fp32(model, optimizer)
        self._config, self._accelerator, self._ranks = config, accelerator, ranks
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self._sharded = keep_parameters_gathered(self.model)
        self._sums_in_fp32 = False
        self.model.train()

    def update(self, work: StepInputs) -> Result:
        optim = self._config.optim
        rate = learning_rate(work.batch.step, self._config.train.steps, optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        output, temperature = self._loss(work)
        if not self._sums_in_fp32:  # after a forward pass FSDP2's weights are whole, and bf16
            sum_gradients_in_fp32(self.model)
            self._sums_in_fp32 = True
        self._accelerator.backward(output.loss)  # DeepSpeed clips and updates, or skips, here too
        self._reshard()
        norm = self._accelerator.clip_grad_norm_(
            self.model.parameters(), optim.max_grad_norm or math.inf
        )
        if isinstance(norm, DTensor):  # of FSDP2: each rank has its part of it
            norm = norm.full_tensor()
        # of the reduced gradient: the same on all ranks
        skipped = ~torch.isfinite(torch.as_tensor(norm, device=self._ranks.device))
        self._step(skipped)
        self.optimizer.zero_grad()
        return Result(output, temperature.detach(), norm, rate, skipped)

    def _step(self, skipped: Tensor) -> None:
        """Let AdamW update unless the flag on the device forbids it: the host does not wait.

        Fused AdamW looks at `found_inf` in its kernel. fp16's scaler sets it itself, and DeepSpeed
        has decided for itself.
        """
        if self._accelerator.scaler is None:
            adamw: Any = getattr(self.optimizer, "optimizer", self.optimizer)  # Accelerate's own
            adamw.grad_scale, adamw.found_inf = None, skipped.float()
        self.optimizer.step()

    def mean_loss(self, feed: Feed, steps: int) -> float:
        """The loss over the first steps of a feed, without dropout and without updates."""
        self.model.eval()
        with torch.no_grad():
            values = [self._loss(work)[0].share for work in feed.steps(0, steps)]
        self._reshard()
        self.model.train()
        return float(self._ranks.sum(torch.stack(values).mean(0, keepdim=True).cpu().numpy())[0])

    def _reshard(self) -> None:
        for module in self._sharded:
            module.reshard()

    def _loss(self, work: StepInputs) -> tuple[LossOutput, Tensor]:
        queries, candidates, temperature = self.model(work.chunks)
        output = info_nce(
            queries, candidates, temperature, work.layout, self._config.loss.symmetric
        )
        return output, temperature
