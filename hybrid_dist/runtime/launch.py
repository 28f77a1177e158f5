"""How the processes come together: Accelerate, the device's backend, DeepSpeed's terms."""

import logging
import os
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from hybrid_dist.errors import LaunchError, UserError
from hybrid_dist.runtime.network import name_interface
from hybrid_dist.runtime.ranks import Ranks, backend, check_launch, limit_threads

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def start(
    precision: str = "fp32", max_grad_norm: float = 0.0, hang_minutes: float = 10
) -> tuple["Accelerator", Ranks]:
    """Join the other processes; the strategy is the launcher file's.

    A collective waits twice hang_minutes: what watches ranks may speak before it gives up.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    use_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true"
    zero = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    device_type = "cuda" if torch.cuda.is_available() and not use_cpu else "cpu"
    _check_device(precision, device_type)
    _check_launcher(device_type, gpus_wanted=launched and not (use_cpu or zero))
    if device_type == "cpu":
        limit_threads(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    for old_name in ("broadcast_buffers", "all_gather_into_tensor", "reduce_scatter_tensor"):
        # Accelerate's and DeepSpeed's calls by names that PyTorch 2.13 renames: not ours to mend
        warnings.filterwarnings("ignore", message=f".*{old_name}.*", category=FutureWarning)
    if device_type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed searches, and warns
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    handlers: list[Any] = [ddp]
    if launched:
        name_interface(os.environ.get("MASTER_ADDR", ""))
        limit = timedelta(minutes=2 * hang_minutes, seconds=60)
        handlers.append(InitProcessGroupKwargs(backend=backend(device_type), timeout=limit))
    accelerator = Accelerator(
        cpu=device_type == "cpu" and not zero,  # with it Accelerate would drop DeepSpeed
        mixed_precision=PRECISION[precision],
        fsdp_plugin=fsdp2_plugin(precision) if sharded else None,
        kwargs_handlers=handlers,
    )
    check_launch(os.environ, accelerator.num_processes)
    if launched and strategy(accelerator) == "single":
        raise LaunchError(
            f"{accelerator.num_processes} processes run, but accelerate ties none together; "
            "start with one of the files in launchers/ (launchers/README.md says which)"
        )
    if zero:
        _set_deepspeed_terms(accelerator.state.deepspeed_plugin.deepspeed_config, max_grad_norm)
    ranks = Ranks(accelerator.process_index, accelerator.num_processes, accelerator.device)
    return accelerator, ranks


def strategy(accelerator: "Accelerator") -> str:
    """What keeps the weights of this run: single, ddp, fsdp, zero1, zero2 or zero3."""
    kind = accelerator.distributed_type.value
    if kind == "DEEPSPEED":
        stage = accelerator.state.deepspeed_plugin.zero_stage
        return f"zero{stage}"
    return {"NO": "single", "FSDP": "fsdp"}.get(kind, "ddp")


def fsdp2_plugin(precision: str) -> "FullyShardedDataParallelPlugin":
    """FSDP2 as the launcher file has it, but for what would make its updates wrong."""
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise LaunchError(
            "this launcher file asks for the first version of FSDP, whose weights are not kept by "
            "parameter; write `fsdp_version: 2` in its fsdp_config, or use launchers/fsdp2.yaml"
        )
    if os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "false").lower() == "true":
        raise LaunchError(
            "fsdp_activation_checkpointing in this launcher file: accelerate would recompute "
            "layers with other dropout masks, and gradients would be wrong; remove it and set "
            "train.gradient_checkpointing"
        )
    from accelerate.utils import FullyShardedDataParallelPlugin

    return FullyShardedDataParallelPlugin(
        mixed_precision_policy=fsdp2_precision(precision),
        cpu_ram_efficient_loading=False,  # every rank has built the whole model already
    )


def fsdp2_precision(precision: str) -> "MixedPrecisionPolicy":
    """Low precision for weights and layers only.

    Accelerate's own policy also casts gradients before they are summed over ranks, and the vectors
    and the temperature before they reach the loss.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy

    low = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)


def _check_device(precision: str, device_type: str) -> None:
    if device_type == "cpu" and precision == "fp16":
        raise UserError("train.precision: fp16 needs a GPU; choose bf16 or fp32 on a CPU")
    if device_type == "cpu" and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise LaunchError(
            "accelerate has FSDP on GPUs only, and none is visible here; "
            "use launchers/cpu.yaml, or launchers/zero3.yaml, which shards on CPUs too"
        )


def _check_launcher(device_type: str, gpus_wanted: bool) -> None:
    """Refuse a launcher file for GPUs where there are too few."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device_type == "cuda" and here > torch.cuda.device_count():
        raise LaunchError(
            f"{here} processes were started for the {torch.cuda.device_count()} GPUs visible here; "
            f"add --num_processes {torch.cuda.device_count()} to accelerate launch"
        )
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("-1")  # as in launchers/cpu.yaml
    if device_type == "cpu" and gpus_wanted and by_accelerate and not hidden:
        raise LaunchError(
            "this launcher file is for GPUs and none is visible here; "
            "use launchers/cpu.yaml for processes on the CPU"
        )


def _set_deepspeed_terms(terms: dict[str, Any], max_grad_norm: float) -> None:
    """What DeepSpeed would otherwise decide for itself: its own clipping, optimizer and batch."""
    terms.update(
        train_micro_batch_size_per_gpu=1,  # read by its timers only: the plan deals the batch
        gradient_clipping=max_grad_norm,
        zero_allow_untested_optimizer=True,
        zero_force_ds_cpu_optimizer=False,
        steps_per_print=2**62,
    )
