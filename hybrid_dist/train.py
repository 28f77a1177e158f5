"""Train one run: `accelerate launch -m hybrid_dist.train --config FILE`.

A signal is heard from the first moment: what trains is in run.py, and takes seconds to import.
"""

import sys
from collections.abc import Sequence

from hybrid_dist.cluster.signals import Interruption
from hybrid_dist.errors import reported


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.train") -> None:
    interruption = Interruption()
    interruption.listen()
    from hybrid_dist import config_file
    from hybrid_dist.run import run

    with reported(program):
        run(config_file.load(sys.argv[1:] if args is None else args, program), interruption)


if __name__ == "__main__":
    main()
