"""Train one run: `accelerate launch -m hybrid_dist.train --config FILE`.

What trains is in training/run.py, which takes seconds to import. SIGUSR2 is heard from the first
moment, since schedulers send it when they like; SIGINT and SIGTERM end what has not begun.
"""

import signal
import sys
from collections.abc import Sequence

from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.signals import Interruption


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.train") -> None:
    interruption = Interruption()
    interruption.listen([signal.SIGUSR2])
    from hybrid_dist.config import flags
    from hybrid_dist.reporting.run_evaluation import load_evaluation
    from hybrid_dist.training.run import run

    with report_errors(program, signals=()):
        config = flags.load(sys.argv[1:] if args is None else args, program)
        run(config, interruption, load_evaluation)


if __name__ == "__main__":
    main()
