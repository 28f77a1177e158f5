"""`accelerate launch`, saying how its processes ended where they cannot.

`python -m hybrid_dist.runtime.launcher`, with the arguments of `accelerate launch`. A process that
is killed leaves no ended.json, so the launcher of its node writes it, at the place that the batch
file names. Exit codes: 128 + the signal's number after a signal, 2 if a process refused.
"""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_dist.runtime.ended import JOB_FILE, Ending, this_node

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

BY_OTHERS = (signal.SIGABRT, signal.SIGTERM)
"""Signals that end a process for what another does: NCCL's watchdog aborts after losing a rank."""


def main() -> None:
    from accelerate.commands.launch import main as launch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch()
    except SignalException as stopped:
        raise SystemExit(128 + stopped.sigval) from None
    except ChildFailedError as failed:
        note_killed(failed)
        print(failed, file=sys.stderr, flush=True)
        refused = any(failure.exitcode == 2 for failure in failed.failures.values())
        raise SystemExit(2 if refused else 1) from None


def note_killed(failed: "ChildFailedError") -> None:
    """Write the ending of processes that a signal has killed."""
    for rank, failure in failed.failures.items():
        if failure.exitcode < 0 and JOB_FILE in os.environ:
            number = signal.Signals(-failure.exitcode)
            known = None if number in BY_OTHERS else rank
            message = f"rank {rank} on {this_node()} was killed by {number.name}"
            Ending.now("crash", known, this_node(), None, message).write(Path(os.environ[JOB_FILE]))


if __name__ == "__main__":
    main()
