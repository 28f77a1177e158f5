"""FSDP2 on CPUs, through Accelerate's own code.

Accelerate picks FSDP2 for GPUs only; made to believe that there is one, it shards a model on gloo
as well.
"""

import os
from typing import Any

import torch
import torch.distributed as dist

from hybrid_dist.runtime.launch import PRECISION, fsdp2_plugin
from hybrid_dist.runtime.ranks import Ranks

LAUNCHER = {  # what accelerate launch makes of launchers/fsdp2.yaml
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "false",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}


def start_fsdp2(precision: str = "fp32") -> tuple[Any, Ranks]:
    """An Accelerator that shards by the plugin of the product, under torchrun."""
    from accelerate import Accelerator
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    torch.set_num_threads(1)
    os.environ |= LAUNCHER
    dist.init_process_group("gloo")
    plugin = fsdp2_plugin(precision)
    accelerator = Accelerator(cpu=True, mixed_precision=PRECISION[precision], fsdp_plugin=plugin)
    if precision != "fp32":
        plugin.set_mixed_precision(PRECISION[precision])  # as on a GPU
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin
    if precision == "fp16":
        accelerator.scaler = torch.amp.GradScaler("cpu")
    return accelerator, Ranks(int(os.environ["RANK"]), dist.get_world_size())
