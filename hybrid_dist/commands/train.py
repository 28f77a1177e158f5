"""Train one run: `hybrid-dist train`, or under `accelerate launch -m hybrid_dist.train`.

Adds to `hybrid_dist.train` what only a program may do: signals stop the run, the watchdog ends a
process that waits for a hanging rank, warnings name their rank, and the process ends with its run.
SIGUSR2 is caught from the first moment, since schedulers send it at any time, and the imports below
take seconds; SIGINT and SIGTERM end a program that has not started training.
"""

import signal
import sys
from collections.abc import Sequence

from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.loading_line import loading
from hybrid_dist.runtime.signals import Interruption


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.train") -> None:
    interruption = Interruption()
    interruption.listen([signal.SIGUSR2])
    with report_errors(program, signals=()):
        from hybrid_dist.config import flags

        config = flags.load(sys.argv[1:] if args is None else args, program)
        with loading(program):  # torch, which takes seconds: after what is wrong with the config
            from hybrid_dist.reporting.run_evaluation import load_evaluation
            from hybrid_dist.runtime.ranks import exit_process
            from hybrid_dist.tracking.warned import prefix_warnings_with_rank
            from hybrid_dist.training.run import run
        interruption.listen()
        prefix_warnings_with_rank()
        run(config, load_evaluation, interruption, exit_on_hang=True)
        exit_process()
