"""This process among the processes of a run, and the small messages they exchange."""

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
    """One process of `world`; either all of them call a collective or none does."""

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
        """The objects of all ranks, in order of rank, on every rank. For small Python objects."""
        if self.world == 1:
            return [thing]
        things: list[Any] = [None] * self.world
        dist.all_gather_object(things, thing)
        return things

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Raise a LaunchError if a fact differs between ranks, which would end in a hang."""
        first, *others = self.gather(dict(facts))
        for rank, other in enumerate(others, 1):
            for name in sorted(first.keys() | other.keys()):
                if first.get(name) != other.get(name):
                    raise LaunchError(
                        f"ranks 0 and {rank} are about to do different things: {name} is "
                        f"{first.get(name)!r} on rank 0 and {other.get(name)!r} on rank {rank}; "
                        "give all processes the same command, files and versions"
                    )

    def broadcast_from_first(self, thing: Any) -> Any:
        """The first rank's object, on every rank."""
        if self.world == 1:
            return thing
        box = [thing]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def decide_on_first(self, action: Callable[[], T]) -> T:
        """Run an action on the first rank; every rank gets its result or its UserError."""
        result: T | None = None
        refusal = None
        if self.is_first:
            try:
                result = action()
            except UserError as error:
                refusal = str(error)
        result, refusal = self.broadcast_from_first((result, refusal))
        if refusal is not None:
            raise UserError(refusal)
        return cast(T, result)

    def raise_together(self, problem: str | None) -> None:
        """Raise a UserError on every rank if any has a problem, so that none waits for it."""
        problems = {rank: text for rank, text in enumerate(self.gather(problem)) if text}
        for rank, text in problems.items():
            raise UserError(text if len(problems) == self.world else f"rank {rank}: {text}")

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The elementwise sum over ranks of arrays of one shape, on every rank."""
        if self.world == 1:
            return array
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()

    def largest(self, numbers: Sequence[int]) -> HostCopy:
        """The elementwise maximum over ranks, on every rank; available once it is read."""
        tensor = torch.tensor(numbers)
        if self.world > 1:
            if self.device.type == "cuda":
                tensor = tensor.pin_memory().to(self.device, non_blocking=True)
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return HostCopy(tensor)

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        """All ranks' rows, stacked in order of rank; the number of rows may differ."""
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
    """Raise a LaunchError if fewer processes run, or are connected, than were requested."""
    requested = environment.get("HYBRID_DIST_WORLD_SIZE", environment.get("WORLD_SIZE"))
    if requested is not None and int(requested) != world:
        raise LaunchError(
            f"{requested} processes were requested, but this one knows of {world}; "
            "start with one of the files in launchers/ (launchers/README.md says which)"
        )
    started_by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment
    if started_by_accelerate and "MASTER_PORT" in environment and "WORLD_SIZE" not in environment:
        raise LaunchError(
            "several processes were requested and accelerate started one (it does so for --cpu and "
            "distributed_type MULTI_CPU); use launchers/cpu.yaml, which starts them all"
        )


def exit_process(code: int = 0) -> None:
    """End a finished program.

    gloo's threads may take the interpreter's lock while Python shuts down, which aborts the
    process, and may wait for it while their group is destroyed, which waits for them. So after
    running exit functions and flushing streams, skip Python's own shutdown and leave gloo's group
    to the system; NCCL's is destroyed.
    """
    if dist.is_available() and dist.is_initialized():
        if "nccl" in dist.get_backend():
            dist.destroy_process_group()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)
