"""Updates whose gradient is not finite on one rank: what they change, and what the host waits for.

Weights, their moving average and AdamW's states are compared as checkpoints hold them, before and
after a skipped update. On a CPU nothing is waited for, so what would make the host of a GPU wait is
found by the operations that hand a device's number to the host; on a GPU PyTorch looks for it too.
Prints one line of JSON, from the first rank.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from hybrid_dist.runtime.launch import start, strategy
from hybrid_dist.runtime.ranks import Ranks, exit_process
from hybrid_dist.runtime.signals import Interruption
from hybrid_dist.training import step as training_step
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.checkpoint.state import TrainingState
from hybrid_dist.training.checkpoint.tensors import AVERAGE, MOMENTS, STEP, WEIGHTS
from hybrid_dist.training.health import Health
from hybrid_dist.training.meters import Meters
from hybrid_dist.training.optimizer import adamw
from hybrid_dist.training.requests import Requests
from tests.launched.scripts.fully_sharded import start_fsdp2
from tests.launched.scripts.updates import Case, pairs_with_shared_passages

STEPS, SKIPPED = 6, (0, 3)
WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "_unique2", "equal")
"""What hands a number to the host, or makes a tensor whose size the host must know."""


class Waits(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITING:
            self.calls[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """On a GPU PyTorch itself fails where the host would wait."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    yield
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")


def main(toy: Path) -> None:
    accelerator: Any
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        accelerator, ranks = start("fp32")
        kept = strategy(accelerator)
    else:  # torchrun: FSDP2, which Accelerate does not offer on CPUs
        accelerator, ranks = start_fsdp2()
        kept = "fsdp"
    pairs = ranks.broadcast_from_first(str(pairs_with_shared_passages(toy)))
    case = Case(toy, "no masks", pairs, ranks.world)
    optim = replace(case.config.optim, lr=1e-3, max_grad_norm=1.0)
    config = replace(case.config, optim=optim, train=replace(case.config.train, ema=0.9))
    model = case.model()
    updater = training_step.Updater(config, accelerator, ranks, model, adamw(model, config.optim))
    parts = (updater.model, updater.optimizer, kept, updater.average)
    state = TrainingState(accelerator, ranks, *parts)
    folder = Path(ranks.broadcast_from_first(tempfile.mkdtemp()))
    meters = Meters(ranks, case.plan, None, first=0)
    health = Health(folder / "not_finite.json", [case.store], ranks, STEPS)
    requests = Requests(folder, ranks, Interruption())
    progress, waits = Progress(), Waits()
    whole_loss, broken = vars(training_step)["info_nce"], {"now": False}

    def loss(queries: torch.Tensor, *rest: Any) -> Any:
        return whole_loss(queries * torch.nan if broken["now"] else queries, *rest)

    vars(training_step)["info_nce"] = loss
    summary: dict[str, Any] = {"changed": [], "counted": []}
    before = parts_of(state, folder, ranks)
    for work in case.feed(ranks).steps(0, STEPS):
        step = work.batch.step
        broken["now"] = step in SKIPPED and ranks.rank == ranks.world - 1
        with waits, no_waiting(ranks.device if step > 1 else torch.device("cpu")):
            result = updater.update(work)
            meters.note(work, result)
            health.note(step + 1, work, result)
            requests.at_edge(now=False)
        progress = health.counted(progress, now=False)
        after = parts_of(state, folder, ranks)
        summary["changed"].append([name for name in after if differ(before[name], after[name])])
        summary["counted"].append(progress.skipped)
        before = after
    summary["all"] = health.counted(progress, now=True).skipped
    summary["waits"] = dict(waits.calls)
    summary["strategy"] = kept
    if ranks.is_first:
        print("RESULT " + json.dumps(summary), flush=True)
    exit_process()


def parts_of(state: TrainingState, folder: Path, ranks: Ranks) -> dict[str, Any]:
    state.save(folder, lambda action: action() if ranks.is_first else None)
    ranks.barrier()
    names = (WEIGHTS, *MOMENTS, STEP, AVERAGE)
    tensors = {name: load_file(folder / f"{name}.safetensors") for name in names}
    ranks.barrier()
    return tensors


def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """No state is as good as one of zeros: AdamW makes them in its first step."""
    for name in one.keys() | other.keys():
        part, same = one.get(name), other.get(name)
        if part is None or same is None:
            part = same = part if part is not None else same
            same = torch.zeros_like(same) if same is not None else None
        if part is None or same is None or not torch.equal(part, same):
            return True
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
