"""Copies of tensors in main memory, which a thread writes while training goes on."""

from collections.abc import Callable

import torch
from torch import Tensor


class HostBuffers:
    """Memory for the copies, kept from one checkpoint to the next: allocating it takes longer than
    copying.

    Memory for copies from a GPU is pinned, and they are queued on the device: the host does not
    wait, and what changes the tensors is queued behind. `wait_for_copies` waits.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, str], Tensor] = {}

    def copy(self, part: str, name: str, value: Tensor) -> Tensor:
        """An fp32 copy on the CPU; it holds until this part of this name is copied again."""
        value = value.detach().float()
        buffer = self._buffers.get((part, name))
        if buffer is None:
            buffer = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
            self._buffers[part, name] = buffer
        return buffer.copy_(value, non_blocking=True)


def wait_for_copies(device: torch.device) -> Callable[[], None]:
    """What waits for the copies that are queued so far, in any thread."""
    if device.type != "cuda":
        return lambda: None
    queued = torch.cuda.Event()
    queued.record(torch.cuda.current_stream(device))
    return queued.synchronize
