"""The gradient of the word embeddings, exchanged by DDP's ranks for the rows that a step has used.

The table of XLM-R large has 250,002 rows of 1,024. Its gradient takes 1.02 GB, most of it zeros,
and DDP reduces all of it. Here DDP leaves the table out. Ranks first agree on the rows in which any
of them has a gradient, one byte for each row, and then reduce those.

Shapes: V rows of the table, D its width, U rows that any rank has used.
"""

import os

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from hybrid_dist.model.encoder import BiEncoder


def is_sparse(option: str, strategy: str) -> bool:
    """Whether only used rows are exchanged: under DDP; for `auto`, with several machines."""
    if strategy != "ddp" or option == "never":
        return False
    return option == "always" or int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1


class VocabularyExchange:
    """Averages the gradient of a model's word embeddings over ranks, in place of DDP."""

    rows = 0
    """U of the last step."""

    def __init__(self, model: BiEncoder, world: int) -> None:
        """Takes the table out of DDP's hands; to be called before DDP wraps the model."""
        self._table: Tensor = model.encoder.backbone.get_input_embeddings().weight
        self._world = world
        every_name = model.named_parameters(remove_duplicate=False)  # tied weights have several
        names = [name for name, part in every_name if part is self._table]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, names)

    def average(self) -> None:
        """Replace the table's gradient [V, D] by its mean over ranks, the same bits on each.

        Which rows are used is read from the gradient, so it is exact however they came to be used;
        a number that is not finite is no zero. The host waits once, for the number of rows.
        """
        gradient = self._table.grad
        if gradient is None:
            gradient = self._table.grad = torch.zeros_like(self._table)
        used = (gradient != 0).any(1).to(torch.uint8)
        dist.all_reduce(used, dist.ReduceOp.MAX)
        rows = used.nonzero().flatten()
        values = gradient.index_select(0, rows).div_(self._world)
        dist.all_reduce(values)
        gradient.index_copy_(0, rows, values)
        self.rows = len(rows)
