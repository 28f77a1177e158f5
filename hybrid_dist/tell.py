"""Tell values of a run's config, for scripts.

`python -m hybrid_dist.tell run.folder -- --config FILE [--key value ...]` takes the words that
training takes, and refuses what training refuses. A value is a line, and a list's items are lines.
"""

import sys
from operator import attrgetter

from hybrid_dist import config_file
from hybrid_dist.errors import UserError, reported


def main() -> None:
    program = "hybrid_dist.train"  # the words are meant for it
    with reported(program):
        if "--" not in sys.argv:
            raise UserError("hybrid_dist.tell: give KEY ... -- --config FILE [--key value ...]")
        split = sys.argv.index("--")
        config = config_file.load(sys.argv[split + 1 :], program)
        for key in sys.argv[1:split]:
            value = attrgetter(key)(config)
            for item in value if isinstance(value, tuple) else (value,):
                print(item)


if __name__ == "__main__":
    main()
