"""Training with one thing going wrong: `faulty.py KIND RANK STEPS -- the flags of training`.

KIND is what happens on that rank at each of STEPS (3 or 3,4,5): `nan` breaks its vectors, `sleep`
never comes back, `memory` finds none left, `freeze` stops the process as a lost node would be.
"""

import os
import signal
import sys
import time
from typing import Any

import torch

from hybrid_dist import train
from hybrid_dist.training import update


def main() -> None:
    kind, rank, steps = sys.argv[1:4]
    here = int(os.environ.get("RANK", "0")) == int(rank)
    wanted = {int(step) for step in steps.split(",")}
    whole_update, whole_loss = update.Updater.update, update.contrastive_loss
    now = {"step": 0}

    def faulty_update(self: Any, work: Any) -> Any:
        now["step"] = work.batch.step + 1
        if here and now["step"] in wanted:
            if kind == "sleep":
                time.sleep(1000)
            if kind == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory")
            if kind == "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
        return whole_update(self, work)

    def faulty_loss(queries: torch.Tensor, *rest: Any) -> Any:
        if here and kind == "nan" and now["step"] in wanted:
            queries = queries * torch.nan
        return whole_loss(queries, *rest)

    update.Updater.update = faulty_update  # type: ignore[method-assign]
    update.contrastive_loss = faulty_loss
    train.main(sys.argv[5:])


if __name__ == "__main__":
    main()
