"""`hybrid-dist config get`: print values of a run's config, for scripts."""

import sys
from collections.abc import Sequence
from operator import attrgetter

from hybrid_dist.config import flags
from hybrid_dist.config.run_paths import run_paths
from hybrid_dist.config.sources import Source
from hybrid_dist.errors import UserError, report_errors

TRAIN = "hybrid_dist.train"
"""What the options of the config are written for: messages about them name this program."""
PATHS = "paths"
USAGE = """usage: hybrid-dist config get KEY ... -- --config FILE [--section.key value ...]

Print the values of keys, such as run.folder, one a line; each item of a list
has its own line. The key `paths` stands for all places that the run reads and
writes. What follows -- are the options that training takes, and what training
refuses is refused.

Example: hybrid-dist config get run.folder -- --config configs/demo.yaml
"""


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.commands.config") -> None:
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help") or list(args[:2]) == ["get", "--help"]:
        print(USAGE, end="")
        return
    with report_errors(TRAIN):
        if args[0] != "get" or "--" not in args:
            raise UserError(
                f"{program}: give get KEY ... -- --config FILE [--section.key value ...], not "
                f"{' '.join(args)}"
            )
        split = list(args).index("--")
        config = flags.load(args[split + 1 :], TRAIN)
        for key in args[1:split]:
            value = run_paths(config) if key == PATHS else attrgetter(key)(config)
            for item in value if isinstance(value, tuple) else (value,):
                print(item.path if isinstance(item, Source) else item)


if __name__ == "__main__":
    main()
