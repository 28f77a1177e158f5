"""What low precision costs under a strategy: one process in float64 is the judge.

A step of SGD on the fp32 weights gives the gradient. Prints one line of JSON for each number of
chunks, from the first rank. Under accelerate the strategy is the launcher file's, under torchrun it
is FSDP2.

  low_precision.py TOY PRECISION NAMES...
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.runtime.launch import start, strategy
from hybrid_dist.runtime.ranks import Ranks, exit_process
from hybrid_dist.training.checkpoint.state import TrainingState
from hybrid_dist.training.checkpoint.tensors import WEIGHTS
from hybrid_dist.training.step import Updater
from tests.launched.scripts import updates
from tests.launched.scripts.fully_sharded import start_fsdp2

updates.SIZE = 60
updates.OPTIONS["a row a chunk"] = {"chunks": updates.SIZE}
LARGE = 0.15
"""Standard deviation of weights, so that vectors of texts are far apart."""


class Case(updates.Case):
    def model(self) -> BiEncoder:
        model = super().model()
        torch.manual_seed(1)
        for name, weights in model.named_parameters():
            if name.endswith("weight") and weights.ndim == 2:
                torch.nn.init.normal_(weights, std=LARGE)
        return model


def measure(case: Case, accelerator: Any, ranks: Ranks, kind: str) -> dict[str, Any] | None:
    model = case.model()
    initial = {name: part.detach().clone() for name, part in model.named_parameters()}
    updater = Updater(case.config, accelerator, ranks, model, updates.Sgd(model.parameters(), 0.1))
    dtypes: list[str] = []

    def note(module: Any, args: Any, outputs: tuple[Tensor, ...]) -> None:
        dtypes.extend(str(part.dtype).removeprefix("torch.") for part in outputs)

    updater.model.register_forward_hook(note)
    state = TrainingState(accelerator, ranks, updater.model, updater.optimizer, kind)

    def whole_weights() -> dict[str, Tensor]:
        parameters = {
            n: state._strategy.get(WEIGHTS, part) for n, part in state._parameters.items()
        }
        return {
            n: part.detach().float().cpu().clone()
            for n, part in parameters.items()
            if part is not None
        }

    before = whole_weights()  # DeepSpeed has rounded them
    work = next(case.feed(ranks).steps(0, 1))
    for _ in range(8):  # fp16's first loss scales are too large, and their updates are skipped
        result = updater.update(work)
        if not result.skipped:
            break
    weights = {n: initial[n] + part - before[n] for n, part in whole_weights().items()}
    if not ranks.is_first:
        return None
    *_, wanted = case.judged(ranks.world)
    matrices = {
        name: wanted[0][name]
        for name, part in initial.items()
        if ".layer." in name and part.ndim == 2
    }
    return {
        "options": case.name,
        "chunks": len(work.chunks),
        "gradient_error": updates.apart(weights, wanted[0], initial),
        "matrix_error": updates.apart(weights, matrices, initial),
        "temperature": result.temperature.item(),
        "dtypes": dtypes,
    }


def main() -> None:
    toy, precision, *names = sys.argv[1:]
    accelerator: Any
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        accelerator, ranks = start(precision)
        kind = strategy(accelerator)
    else:
        accelerator, ranks = start_fsdp2(precision)
        kind = "fsdp"
    pairs = ranks.broadcast_from_first(str(updates.pairs_with_shared_passages(Path(toy))))
    updates.STEPS = 1
    for name in names:
        result = measure(Case(Path(toy), name, pairs, ranks.world), accelerator, ranks, kind)
        accelerator.free_memory()
        if result is not None:
            print("RESULT " + json.dumps(result), flush=True)
    exit_process()


if __name__ == "__main__":
    main()
