"""One update of the weights, the same under every strategy."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from hybrid_dist.config.schema import Config
from hybrid_dist.losses.alignment import Translations, align_rankings, align_vectors
from hybrid_dist.losses.auxiliary import AuxiliaryLoss, Pool
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.distillation import Vectors, distill_scores, distill_vectors
from hybrid_dist.losses.gathered_loss import Guide
from hybrid_dist.losses.infonce import LossOutput, info_nce
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.runtime.launch import strategy
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.tracking.stopwatch import Stopwatch
from hybrid_dist.training.checkpoint.strategy_state import strategy_state
from hybrid_dist.training.feed import Feed, StepInputs
from hybrid_dist.training.moving_average import MovingAverage
from hybrid_dist.training.objective import loss_options
from hybrid_dist.training.optimizer import learning_rate
from hybrid_dist.training.teacher import Teacher
from hybrid_dist.training.vocabulary import VocabularyExchange, is_sparse


def keep_temperature_fp32(model: BiEncoder, optimizer: torch.optim.Optimizer) -> None:
    """Keep a learned temperature in fp32 under FSDP2.

    It is sharded as a module of its own, before the rest of the model is sharded with mixed
    precision.
    """
    if model.temperature is None:
        return
    plain = model.temperature.log
    fully_shard(model.temperature)
    for group in optimizer.param_groups:
        group["params"] = [model.temperature.log if p is plain else p for p in group["params"]]


def keep_parameters_gathered(model: nn.Module) -> list[FSDPModule]:
    """Let FSDP2 gather weights once per step, not per chunk; returns the modules to reshard."""
    sharded: list[FSDPModule] = [m for m in model.modules() if isinstance(m, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.set_reshard_after_backward(False, recurse=False)
    return sharded


def sum_gradients_in_fp32(model: nn.Module) -> None:
    """Sum the gradients of chunks in fp32 for bf16 and fp16 weights, as FSDP2 and ZeRO have."""
    for weights in model.parameters():
        if weights.dtype in (torch.bfloat16, torch.float16):
            weights.grad_dtype = torch.float32


@dataclass(frozen=True)
class Result:
    """The outcome of an update; figures of this rank's rows are summed over ranks when logged."""

    loss: LossOutput
    """The contrastive loss."""
    others: dict[str, AuxiliaryLoss]
    """The losses beside it, by name."""
    temperature: Tensor
    grad_norm: float | Tensor
    """Gradient norm of the global batch, before clipping."""
    lr: float
    skipped: Tensor
    """True if the gradient was not finite on any rank: weights and AdamW's states are unchanged.
    The flag is on the device, so reading it on the host waits for the step."""
    encoding: Stopwatch
    """This rank's own forward pass, up to the first exchange with other ranks."""


class Updater:
    """The prepared model and its optimizer."""

    def __init__(
        self,
        config: Config,
        accelerator: Any,
        ranks: Ranks,
        model: BiEncoder,
        optimizer: torch.optim.Optimizer,
        teacher: Teacher | None = None,
    ) -> None:
        if accelerator.is_fsdp2:
            keep_temperature_fp32(model, optimizer)
        self._config, self._accelerator, self._ranks = config, accelerator, ranks
        self.loss_options = loss_options(config)
        self._guided = config.batching.margin_scores == "teacher"
        self._teacher = teacher
        self.vocabulary: VocabularyExchange | None = None
        table = model.encoder.backbone.get_input_embeddings().weight
        if table.requires_grad and is_sparse(config.train.sparse_vocabulary, strategy(accelerator)):
            self.vocabulary = VocabularyExchange(model, ranks.world)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.average: MovingAverage | None = None
        if config.train.ema:
            kept = strategy_state(accelerator, ranks, self.optimizer, strategy(accelerator))
            self.average = MovingAverage(config.train.ema, kept)
        self._sharded = keep_parameters_gathered(self.model)
        self._sums_in_fp32 = False
        self.model.train()

    def update(self, work: StepInputs) -> Result:
        optim = self._config.optim
        rate = learning_rate(work.batch.step, self._config.train.steps, optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        encoding = Stopwatch(self._ranks.device)
        output, others, temperature = self._losses(work, encoding)
        loss = output.loss
        for name, other in others.items():
            loss = loss + getattr(self._config, name).weight * other.loss
        if not self._sums_in_fp32:
            # only after a forward pass are FSDP2's weights gathered, in bf16
            sum_gradients_in_fp32(self.model)
            self._sums_in_fp32 = True
        self._accelerator.backward(loss)  # DeepSpeed clips and updates, or skips, here too
        self._reshard()
        if self.vocabulary is not None:
            self.vocabulary.average()
        norm = self._accelerator.clip_grad_norm_(
            self.model.parameters(), optim.max_grad_norm or math.inf
        )
        if isinstance(norm, DTensor):  # under FSDP2 each rank has a part of it
            norm = norm.full_tensor()
        # from the reduced gradient, so it is the same on all ranks
        skipped = ~torch.isfinite(torch.as_tensor(norm, device=self._ranks.device))
        self._step(skipped)
        if self.average is not None:
            self.average.update(skipped)
        self.optimizer.zero_grad()
        return Result(output, others, temperature.detach(), norm, rate, skipped, encoding)

    def _step(self, skipped: Tensor) -> None:
        """Update the weights unless the flag on the device is set; the host does not wait.

        Fused AdamW reads `found_inf` in its kernel. With fp16 the gradient scaler sets it, and
        DeepSpeed has its own check.
        """
        if self._accelerator.scaler is None:
            adamw: Any = getattr(self.optimizer, "optimizer", self.optimizer)  # unwrap Accelerate's
            adamw.grad_scale, adamw.found_inf = None, skipped.float()
        self.optimizer.step()

    def averaged(self) -> AbstractContextManager[None]:
        """Compute with the moving average of the weights, if the run keeps one."""
        return nullcontext() if self.average is None else self.average.in_use()

    def mean_loss(self, feed: Feed, steps: int) -> float:
        """The mean contrastive loss over the first steps of a feed, without dropout or updates.

        No negatives are masked by score: a model that scores them too high would hide its errors.
        """
        options = replace(self.loss_options, margin=None)
        values = []
        self.model.eval()
        with torch.no_grad():
            for work in feed.steps(0, steps):
                queries, candidates, temperature = self.model(work.chunks)
                output = info_nce(queries, candidates, temperature, work.layout, options)
                values.append(output.share)
        self._reshard()
        self.model.train()
        return float(self._ranks.sum(torch.stack(values).mean(0, keepdim=True).cpu().numpy())[0])

    def _reshard(self) -> None:
        for module in self._sharded:
            module.reshard()

    def _losses(
        self, work: StepInputs, encoding: Stopwatch
    ) -> tuple[LossOutput, dict[str, AuxiliaryLoss], Tensor]:
        """The contrastive loss, those beside it by their section of the config, and the
        temperature [1]. `encoding` times the forward pass."""
        with encoding("encoding"):
            queries, candidates, temperature = self.model(work.chunks)
        others: dict[str, AuxiliaryLoss] = {}
        if (translations := work.translations) is not None:
            ends = len(candidates) - len(translations.originals), len(translations.originals)
            candidates, vectors = candidates.split(ends)
            others["align"] = self._alignment(
                queries, candidates, vectors, translations, work.layout
            )
        guide = None
        if self._teacher is not None and work.teacher is not None:
            its = self._teacher.vectors(work.teacher)
            if self._config.distill.weight:
                others["distill"] = self._distillation((queries, candidates), its, work.layout)
            guide = Guide(*its) if self._guided else None
        options = self.loss_options
        output = info_nce(queries, candidates, temperature, work.layout, options, guide)
        return output, others, temperature

    def _alignment(
        self,
        queries: Tensor,
        candidates: Tensor,
        vectors: Tensor,
        translations: Translations,
        layout: BatchLayout,
    ) -> AuxiliaryLoss:
        align = self._config.align
        if align.kind == "jsd":
            pool = Pool.gather(candidates, layout)
            return align_rankings(
                queries, candidates, vectors, translations, align.temperature, pool
            )
        return align_vectors(
            queries, candidates, vectors, translations, align.kind, self._ranks.world
        )

    def _distillation(
        self, student: Vectors, teacher: Vectors, layout: BatchLayout
    ) -> AuxiliaryLoss:
        distill = self._config.distill
        if distill.kind == "scores":
            return distill_scores(student, teacher, distill.temperature, layout)
        return distill_vectors(student, teacher, distill.kind, layout)
