"""FSDP2 on CPUs: PyTorch's fully_shard itself, where Accelerate's way to it is closed."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from hybrid_dist.cluster.ranks import Ranks


class FullySharded:
    """What the updater asks of an accelerator, with a model sharded as Accelerate shards it."""

    scaler = None

    @classmethod
    def start(cls) -> tuple["FullySharded", Ranks]:
        torch.set_num_threads(1)
        dist.init_process_group("gloo")
        return cls(), Ranks(int(os.environ["RANK"]), dist.get_world_size())

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        old = dict(model.named_parameters())
        for module in model.modules():
            if type(module).__name__ in model._no_split_modules:  # type: ignore[operator]
                fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
        new = {old[name]: parameter for name, parameter in model.named_parameters()}
        for group in optimizer.param_groups:
            group["params"] = [new[parameter] for parameter in group["params"]]
        return model, optimizer

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters: Any, most: float) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(parameters, most)

    def unwrap_model(self, model: nn.Module) -> nn.Module:
        return model

    def free_memory(self) -> None:
        """Nothing is kept from one model to the next."""

    def get_state_dict(self, model: nn.Module) -> dict[str, Any]:
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_model_state_dict(model, options=whole)
