"""Joining the processes of a run: Accelerate, the backend of the device, DeepSpeed's options."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from hybrid_dist.errors import LaunchError, UserError
from hybrid_dist.runtime.cores import bind_to_gpu, gpu_addresses, limit_threads
from hybrid_dist.runtime.network import name_interface
from hybrid_dist.runtime.operators import killed_compile, operators_folder
from hybrid_dist.runtime.ranks import Ranks, backend, check_launch

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def start(
    precision: str = "fp32", max_grad_norm: float = 0.0, hang_minutes: float = 10
) -> tuple["Accelerator", Ranks]:
    """Join the other processes, with the strategy of the launcher file.

    Collectives time out after twice hang_minutes, so that the watchdog reports first.
    """
    launched, zero = _is_launched(), _is_set("ACCELERATE_USE_DEEPSPEED")
    sharded = _is_set("ACCELERATE_USE_FSDP")
    device_type = check_machine(precision)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device_type == "cuda" and here > 1:
        bind_to_gpu(int(os.environ["LOCAL_RANK"]), gpu_addresses(here))
    limit_threads(os.environ)
    # NVIDIA's containers set TF32 by a variable; ranks are exact for products in fp32
    torch.set_float32_matmul_precision("highest")

    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    for old_name in ("broadcast_buffers", "all_gather_into_tensor", "reduce_scatter_tensor"):
        # Accelerate and DeepSpeed call functions by names that PyTorch 2.13 deprecates
        warnings.filterwarnings("ignore", message=f".*{old_name}.*", category=FutureWarning)
    if device_type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # otherwise DeepSpeed searches, and warns
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    handlers: list[Any] = [ddp]
    if launched:
        name_interface(os.environ.get("MASTER_ADDR", ""))
        limit = timedelta(minutes=2 * hang_minutes, seconds=60)
        handlers.append(InitProcessGroupKwargs(backend=backend(device_type), timeout=limit))
    accelerator = Accelerator(
        cpu=device_type == "cpu" and not zero,  # cpu=True would make Accelerate drop DeepSpeed
        mixed_precision=PRECISION[precision],
        fsdp_plugin=fsdp2_plugin(precision) if sharded else None,
        kwargs_handlers=handlers,
    )
    check_launch(os.environ, accelerator.num_processes)
    if launched and strategy(accelerator) == "single":
        raise LaunchError(
            f"{accelerator.num_processes} processes run, but accelerate connects none of them; "
            "start with one of the files in launchers/ (launchers/README.md says which)"
        )
    if zero:
        _set_deepspeed_options(accelerator.state.deepspeed_plugin.deepspeed_config, max_grad_norm)
    ranks = Ranks(accelerator.process_index, accelerator.num_processes, accelerator.device)
    return accelerator, ranks


def check_machine(precision: str = "fp32") -> str:
    """The type of this process's device; a LaunchError if the launcher file is for other machines.

    Takes no time, so that it can come before anything is read.
    """
    use_cpu, zero = _is_set("ACCELERATE_USE_CPU"), _is_set("ACCELERATE_USE_DEEPSPEED")
    device_type = "cuda" if torch.cuda.is_available() and not use_cpu else "cpu"
    if zero:
        _check_deepspeed()
    if zero and device_type == "cpu" and (killed := killed_compile(operators_folder())):
        raise LaunchError(killed)
    _check_device(precision, device_type)
    _check_launcher(device_type, gpus_wanted=_is_launched() and not (use_cpu or zero))
    return device_type


def _is_launched() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _is_set(name: str) -> bool:
    """Whether accelerate has set a variable to true."""
    return os.environ.get(name, "false").lower() == "true"


@contextmanager
def joined(
    precision: str, max_grad_norm: float, hang_minutes: float
) -> Iterator[tuple["Accelerator", Ranks]]:
    """`start`, for a part of this process's life: it may start again with other settings.

    Accelerate keeps its settings in a class attribute and rejects different ones; they are cleared
    unless the caller had an Accelerator before. The process group stays.
    """
    from accelerate.state import AcceleratorState

    is_ours = not AcceleratorState._shared_state
    try:
        yield start(precision, max_grad_norm, hang_minutes)
    finally:
        if is_ours:
            AcceleratorState._reset_state()


def strategy(accelerator: "Accelerator") -> str:
    """The strategy that holds the weights: single, ddp, fsdp, zero1, zero2 or zero3."""
    kind = accelerator.distributed_type.value
    if kind == "DEEPSPEED":
        stage = accelerator.state.deepspeed_plugin.zero_stage
        return f"zero{stage}"
    return {"NO": "single", "FSDP": "fsdp"}.get(kind, "ddp")


def fsdp2_plugin(precision: str) -> "FullyShardedDataParallelPlugin":
    """FSDP2 as the launcher file configures it; rejects options that would make updates wrong."""
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise LaunchError(
            "this launcher file selects FSDP version 1, which does not shard by parameter; write "
            "`fsdp_version: 2` in its fsdp_config, or use launchers/fsdp2.yaml"
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
        cpu_ram_efficient_loading=False,  # every rank has already built the whole model
    )


def fsdp2_precision(precision: str) -> "MixedPrecisionPolicy":
    """Low precision for weights and layers only, with gradients reduced in fp32.

    Accelerate's own policy also casts gradients before the reduction over ranks, and vectors and
    the temperature before the loss.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy

    low = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)


def _check_deepspeed() -> None:
    if find_spec("deepspeed") is None:
        raise LaunchError(
            "this launcher file asks for DeepSpeed's ZeRO, and the package deepspeed is not "
            'installed: pip install "hybrid_dist[gpu]" (or [cpu]; torch has to be installed '
            "first), or use launchers/fsdp2.yaml"
        )


def _check_device(precision: str, device_type: str) -> None:
    if device_type == "cpu" and precision == "fp16":
        raise UserError("train.precision: fp16 needs a GPU; choose bf16 or fp32 on a CPU")
    if device_type == "cpu" and _is_set("ACCELERATE_USE_FSDP"):
        raise LaunchError(
            "accelerate has FSDP on GPUs only, and none is visible here; "
            "use launchers/cpu.yaml, or launchers/zero3.yaml, which shards on CPUs too"
        )


def _check_launcher(device_type: str, gpus_wanted: bool) -> None:
    """Reject a launcher file that needs more GPUs than are visible."""
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


def _set_deepspeed_options(options: dict[str, Any], max_grad_norm: float) -> None:
    """Set what DeepSpeed would otherwise choose itself: clipping, optimizer and batch size."""
    options.update(
        train_micro_batch_size_per_gpu=1,  # only its timers read it: the plan defines the batch
        gradient_clipping=max_grad_norm,
        zero_allow_untested_optimizer=True,
        zero_force_ds_cpu_optimizer=False,
        steps_per_print=2**62,
    )
