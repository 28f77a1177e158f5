"""Small numbers from the device, read later: the host need not wait for what it asked for since."""

from typing import Any

import torch
from torch import Tensor


class HostCopy:
    """A copy to main memory that begins now, in the device's queue.

    `tensor.tolist()` a step later would not do: it waits for all that was queued in between.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._numbers, self._arrived = tensor, None
        if tensor.is_cuda:
            self._numbers = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._numbers.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> Any:
        """The numbers as `tolist()` gives them; waits for the copy, and for nothing after it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._numbers.tolist()
