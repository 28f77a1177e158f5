"""Evaluate a model: `accelerate launch -m hybrid_dist.evaluate --model M --task NAME:PATH`.

`hybrid-dist evaluate` takes the same options and runs one process.
"""

from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.loading_line import loading


def main() -> None:
    with report_errors("hybrid_dist.evaluate"), loading("hybrid_dist.evaluate"):
        from hybrid_dist.commands import evaluate as command
    command.main()


if __name__ == "__main__":
    main()
