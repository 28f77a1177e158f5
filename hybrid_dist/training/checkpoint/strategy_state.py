"""Weights and optimizer state under each strategy, as whole tensors and as this rank's parts."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.tensors import STEP, WEIGHTS
from hybrid_dist.training.checkpoint.zero import ZeroState


class StrategyState(Protocol):
    """Access to weights and optimizer state under one strategy. All ranks call it together."""

    def get(self, part: str, parameter: nn.Parameter) -> Tensor | None:
        """The whole tensor on every rank; None if AdamW has no state of the parameter yet."""

    def put(self, part: str, parameter: nn.Parameter, value: Tensor) -> None:
        """Set a part from the whole tensor, which is the same on every rank."""

    def scale(self) -> dict[str, float]:
        """What the loss scaler of fp16 has learned; empty in other precisions."""

    def set_scale(self, scale: dict[str, float]) -> None:
        """Continue with a loss scale; one of another kind of scaler is ignored."""

    def own_weights(self) -> list[Tensor]:
        """This rank's parts of the fp32 weights that are trained, by which they can be changed."""

    def renew_weights_in_use(self) -> None:
        """After a change by `own_weights`, renew what the model computes with."""


def strategy_state(accelerator: Any, ranks: Ranks, optimizer: Any, strategy: str) -> StrategyState:
    """Of a prepared optimizer."""
    if strategy.startswith("zero"):
        return ZeroState(optimizer.optimizer, ranks)
    return TorchState(optimizer, accelerator.scaler)


class TorchState:
    """One process, DDP and FSDP2: AdamW holds the states, as plain tensors or DTensors."""

    def __init__(self, optimizer: Any, scaler: Any = None) -> None:
        self._optimizer, self._state, self._scaler = optimizer, optimizer.state, scaler

    def get(self, part: str, parameter: nn.Parameter) -> Tensor | None:
        value = parameter if part == WEIGHTS else self._state.get(parameter, {}).get(part)
        return value.full_tensor() if isinstance(value, DTensor) else value

    @torch.no_grad()
    def put(self, part: str, parameter: nn.Parameter, value: Tensor) -> None:
        if part == STEP:
            self._state[parameter][STEP] = value
            return
        if isinstance(parameter, DTensor):
            mesh, placements = parameter.device_mesh, parameter.placements
            value = distribute_tensor(value, mesh, placements, src_data_rank=None)
        if part == WEIGHTS:
            parameter.copy_(value)
        else:
            self._state[parameter][part] = value

    def scale(self) -> dict[str, float]:
        return {} if self._scaler is None else self._scaler.state_dict()

    def set_scale(self, scale: dict[str, float]) -> None:
        if self._scaler is not None and self._scaler.state_dict().keys() == scale.keys():
            self._scaler.load_state_dict(scale)

    def own_weights(self) -> list[Tensor]:
        parts: list[Tensor] = []
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                # asked for anew every time: FSDP2 moves a shard in the first step
                own = parameter.to_local() if isinstance(parameter, DTensor) else parameter
                parts.append(own.detach())
        return parts

    def renew_weights_in_use(self) -> None:
        """Nothing: the model computes with the weights, or with copies made in each step."""
