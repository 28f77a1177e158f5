"""Small results copied from the device, to be read later without waiting for newer work."""

from typing import Any

import torch
from torch import Tensor


class HostCopy:
    """A copy to CPU memory that is queued on the device now.

    `tensor.tolist()` a step later would wait for everything that was queued in between.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._numbers, self._arrived = tensor, None
        if tensor.is_cuda:
            self._numbers = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._numbers.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> Any:
        """The numbers as `tolist()` returns them; waits for the copy, not for later work."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._numbers.tolist()
