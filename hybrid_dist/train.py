"""Train one run: `accelerate launch -m hybrid_dist.train --config FILE`.

What trains is in run.py, and takes seconds to import. SIGUSR2 is heard from the first moment, since
schedulers send it when they like; SIGINT and SIGTERM end what has not begun.
"""

import signal
import sys
from collections.abc import Sequence

from hybrid_dist.cluster.signals import Interruption
from hybrid_dist.errors import reported


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.train") -> None:
    interruption = Interruption()
    interruption.listen([signal.SIGUSR2])
    from hybrid_dist import config_file
    from hybrid_dist.run import run

    with reported(program, signals=()):
        run(config_file.load(sys.argv[1:] if args is None else args, program), interruption)


if __name__ == "__main__":
    main()
