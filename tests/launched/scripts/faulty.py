"""Training with one thing going wrong: `faulty.py KIND RANK STEPS -- the flags of training`.

KIND is what happens on that rank (or on `all`) at each of STEPS (3 or 3,4,5): `nan` breaks its
vectors, `sleep` never comes back, `memory` finds none left, `freeze` stops the process as a lost
node would be, `lock` never gives back the interpreter's lock. `call` is one C call of 12 seconds;
`work` as much waiting at many lines of code, `parts` at one line in the parts of a progress bar.
`disk` never ends the writing of the checkpoint of a step, `slow` takes 0.5 seconds more to encode.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from hybrid_dist.commands import train
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.runtime.progress_bar import part
from hybrid_dist.training import step as training_step
from hybrid_dist.training.checkpoint import manifest

LONG = 12.0


def work_for(seconds: float) -> None:
    """The main thread is now here, now there, as in an evaluation of its own."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.13)
        time.sleep(0.08)


def parts_for(seconds: float) -> None:
    end = time.monotonic() + seconds
    with part("reading", None) as advance:
        while time.monotonic() < end:
            time.sleep(0.1)
            advance(1)


def main() -> None:
    kind, rank, steps = sys.argv[1:4]
    here = rank in ("all", os.environ.get("RANK", "0"))
    wanted = {int(step) for step in steps.split(",")}
    whole_update, whole_loss = training_step.Updater.update, vars(training_step)["info_nce"]
    whole_manifest, whole_encoding = manifest.write, BiEncoder.forward
    now = {"step": 0}

    def faulty_update(self: Any, work: Any) -> Any:
        now["step"] = work.batch.step + 1
        if here and now["step"] in wanted:
            if kind == "sleep":
                time.sleep(1000)
            if kind == "call":
                time.sleep(LONG)
            if kind == "work":
                work_for(LONG)
            if kind == "parts":
                parts_for(LONG)
            if kind == "lock":
                sum(range(10**14))
            if kind == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory")
            if kind == "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
        return whole_update(self, work)

    def faulty_encoding(self: Any, *args: Any) -> Any:
        if here and kind == "slow" and now["step"] in wanted:
            time.sleep(0.5)
        return whole_encoding(self, *args)

    def faulty_manifest(folder: Path, content: manifest.Manifest) -> None:
        if here and kind == "disk" and content.progress.step in wanted:
            time.sleep(1000)
        whole_manifest(folder, content)

    def faulty_loss(queries: torch.Tensor, *rest: Any) -> Any:
        if here and kind == "nan" and now["step"] in wanted:
            queries = queries * torch.nan
        return whole_loss(queries, *rest)

    training_step.Updater.update = faulty_update  # type: ignore[method-assign]
    vars(training_step)["info_nce"] = faulty_loss
    vars(manifest)["write"] = faulty_manifest
    BiEncoder.forward = faulty_encoding  # type: ignore[method-assign,assignment]
    train.main(sys.argv[5:])


if __name__ == "__main__":
    main()
