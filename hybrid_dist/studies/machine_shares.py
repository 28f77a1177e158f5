"""How runs that go on at once share the processors and GPUs of a machine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class MachineShare:
    """What one run may use."""

    processors: tuple[int, ...]
    gpus: tuple[str, ...] | None
    """As CUDA_VISIBLE_DEVICES lists them; None where there are none."""

    def environment(self, processes: int) -> dict[str, str]:
        """Environment variables for a run of so many processes."""
        threads = max(1, len(self.processors) // processes)
        given = {"OMP_NUM_THREADS": str(threads)}
        if self.gpus is not None:
            given["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return given


def share_machine(jobs: int) -> list[MachineShare]:
    """A share for each of some jobs. More jobs than processors or GPUs take turns in using one."""
    processors = sorted(os.sched_getaffinity(0))
    gpus = _visible_gpus()
    return [
        MachineShare(
            tuple(_part(processors, job, jobs)),
            tuple(_part(gpus, job, jobs)) if gpus else None,
        )
        for job in range(jobs)
    ]


def _part(things: Sequence[T], job: int, jobs: int) -> Sequence[T]:
    """The things of one job."""
    if jobs > len(things):
        return [things[job % len(things)]]
    return things[job * len(things) // jobs : (job + 1) * len(things) // jobs]


def _visible_gpus() -> list[str]:
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    import torch  # seconds to import, so only when needed

    return [str(number) for number in range(torch.cuda.device_count())]
