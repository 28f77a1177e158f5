"""Mine hard negatives: `accelerate launch -m hybrid_dist.mine STORE --model M --out STORE2`.

`hybrid-dist mine` takes the same options and runs one process.
"""

from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.loading_line import loading


def main() -> None:
    with report_errors("hybrid_dist.mine"), loading("hybrid_dist.mine"):
        from hybrid_dist.commands import mine as command
    command.main()


if __name__ == "__main__":
    main()
