"""How often the host would wait for a GPU in each update, by the operations that it runs on a CPU.

`host_waits.py TOY CASE...`: cases of updates.py. Prints one line of JSON, from the first rank: the
places in which the host read a tensor, of every step.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from hybrid_dist.runtime.host_copy import HostCopy
from hybrid_dist.runtime.launch import start
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.runtime.signals import Interruption
from hybrid_dist.training.health import Health
from hybrid_dist.training.meters import Meters
from hybrid_dist.training.optimizer import adamw
from hybrid_dist.training.requests import Requests
from hybrid_dist.training.step import Updater
from tests.launched.scripts.updates import STEPS, Case, pairs_with_shared_passages
from tests.support.host_reads import counted_reads


def read(copy: HostCopy) -> Any:
    """As `HostCopy.read`, uncounted: it reads a step later what the step before has copied."""
    return copy._numbers.numpy().tolist()


def main(toy: Path, names: list[str]) -> None:
    HostCopy.read = read  # type: ignore[assignment, method-assign]
    accelerator, ranks = start("bf16")
    pairs = ranks.broadcast_from_first(str(pairs_with_shared_passages(toy)))
    folder = Path(ranks.broadcast_from_first(tempfile.mkdtemp()))
    summary: dict[str, Any] = {}
    for name in names:
        case = Case(toy, name, pairs, ranks.world)
        model = case.model()
        optimizer, teacher = adamw(model, case.config.optim), case.teacher()
        updater = Updater(case.config, accelerator, ranks, model, optimizer, teacher)
        meters = Meters(ranks, case.plan, None, first=0)
        health = Health(folder / "not_finite.json", [case.store], ranks, STEPS)
        requests = Requests(folder, ranks, Interruption())
        summary[name] = []
        for work in case.feed(ranks, teacher).steps(0, STEPS):
            with counted_reads() as reads:
                result = updater.update(work)
                meters.note(work, result)
                health.note(work.batch.step + 1, work, result)
                requests.at_edge(now=False)
            summary[name].append(reads)
    if ranks.is_first:
        print("WAITS " + json.dumps(summary), flush=True)
    exit_process()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
