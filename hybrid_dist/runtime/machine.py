"""What this machine has for training: cores, memory, GPUs, and arithmetic in bf16."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from hybrid_dist.runtime.host_memory import free_memory

BF16_CARD = (8, 0)
"""Compute capability from which a card computes in bf16: Ampere."""
BF16_FLAGS = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""Names in /proc/cpuinfo, the last one of ARM's."""


@dataclass(frozen=True)
class Machine:
    cores: int
    memory: int
    """Bytes of main memory that are free."""
    gpus: int
    card: str = ""
    """The name of the first GPU, if it was looked at."""
    has_bf16: bool = True

    @classmethod
    def here(cls, gpus: int | None = None) -> "Machine":
        """This machine. `gpus`: as if it had so many GPUs of a kind that computes in bf16."""
        cores, memory = len(os.sched_getaffinity(0)), free_memory()
        if gpus:
            return cls(cores, memory, gpus)
        count = torch.cuda.device_count() if gpus is None else 0
        if not count:
            return cls(cores, memory, 0, has_bf16=_processor_has_bf16())
        cards = [torch.cuda.get_device_capability(number) for number in range(count)]
        name = torch.cuda.get_device_name(0)
        return cls(cores, memory, count, name, has_bf16=min(cards) >= BF16_CARD)

    def __str__(self) -> str:
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        gpus = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else "no GPU"
        card = f" ({self.card})" if self.card else ""
        return f"{cores}, {self.memory / 2**30:.1f} GiB of free memory, {gpus}{card}"


def _processor_has_bf16() -> bool:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return bool(found and BF16_FLAGS & set(found[1].split()))
