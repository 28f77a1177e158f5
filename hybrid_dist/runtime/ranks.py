"""The processes of a run: who we are among them, and the little they say to each other."""

import atexit
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist

from hybrid_dist.errors import LaunchError, UserError
from hybrid_dist.runtime.host_copy import HostCopy

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """One process of `world`; the collectives below are called by all of them or by none."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()

    def gather(self, thing: Any) -> list[Any]:
        """Every rank's thing, in order of rank, on every rank. For small Python objects."""
        if self.world == 1:
            return [thing]
        things: list[Any] = [None] * self.world
        dist.all_gather_object(things, thing)
        return things

    def agree(self, told: Mapping[str, Any]) -> None:
        """Refuse where ranks are about to do different things, which would end in a hang."""
        first, *others = self.gather(dict(told))
        for rank, other in enumerate(others, 1):
            for name in sorted(first.keys() | other.keys()):
                if first.get(name) != other.get(name):
                    raise LaunchError(
                        f"ranks 0 and {rank} are about to do different things: {name} is "
                        f"{first.get(name)!r} on rank 0 and {other.get(name)!r} on rank {rank}; "
                        "give all processes the same command, files and versions"
                    )

    def broadcast_from_first(self, thing: Any) -> Any:
        """The first rank's thing, on every rank."""
        if self.world == 1:
            return thing
        box = [thing]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def decide_on_first(self, action: Callable[[], T]) -> T:
        """Run something on the first rank: its result, or its refusal, is that of every rank."""
        found: T | None = None
        refusal = None
        if self.is_first:
            try:
                found = action()
            except UserError as error:
                refusal = str(error)
        found, refusal = self.broadcast_from_first((found, refusal))
        if refusal is not None:
            raise UserError(refusal)
        return cast(T, found)

    def raise_together(self, problem: str | None) -> None:
        """Refuse on every rank if any has a problem, so that none goes on and waits for it."""
        problems = {rank: told for rank, told in enumerate(self.gather(problem)) if told}
        for rank, told in problems.items():
            raise UserError(told if len(problems) == self.world else f"rank {rank}: {told}")

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The elementwise sum over ranks of arrays of one shape, on every rank."""
        if self.world == 1:
            return array
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()

    def largest(self, numbers: Sequence[int]) -> HostCopy:
        """The largest of each number over ranks, on every rank, when it is read."""
        tensor = torch.tensor(numbers)
        if self.world > 1:
            if self.device.type == "cuda":
                tensor = tensor.pin_memory().to(self.device, non_blocking=True)
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return HostCopy(tensor)

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        """Every rank's rows stacked in order of rank, on every rank; ranks may differ in rows."""
        if self.world == 1:
            return array
        counts = self.gather(len(array))
        padded = torch.zeros(max(counts), *array.shape[1:], dtype=torch.from_numpy(array[:0]).dtype)
        padded[: len(array)] = torch.from_numpy(array)
        padded = padded.to(self.device)
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return np.concatenate(
            [part[:n].cpu().numpy() for part, n in zip(parts, counts, strict=True)]
        )


def backend(device_type: str) -> str:
    """The collective library for a device: NCCL on GPUs, gloo on CPUs."""
    return "nccl" if device_type == "cuda" else "gloo"


def check_launch(environment: Mapping[str, str], world: int) -> None:
    """Refuse when fewer processes run, or know of each other, than were asked for."""
    asked = environment.get("HYBRID_DIST_WORLD_SIZE", environment.get("WORLD_SIZE"))
    if asked is not None and int(asked) != world:
        raise LaunchError(
            f"{asked} processes were asked for, but this one knows of {world}; "
            "start with one of the files in launchers/ (launchers/README.md says which)"
        )
    started_by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment
    if started_by_accelerate and "MASTER_PORT" in environment and "WORLD_SIZE" not in environment:
        raise LaunchError(
            "accelerate was asked for several processes and started one (it does so for --cpu and "
            "distributed_type MULTI_CPU); use launchers/cpu.yaml, which starts them all"
        )


def limit_threads(local_world: int) -> None:
    """Give each process of this machine its part of the cores; launchers give each only one."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_world))


def exit_process() -> None:
    """End a program whose work is done, as a success.

    gloo's threads may take the interpreter's lock while Python shuts down, which aborts a process
    that did all it should: so Python's own shutdown is left out, but not what waits for the exit.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
