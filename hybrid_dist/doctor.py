"""Check a machine or an allocation under a launcher: `accelerate launch -m hybrid_dist.doctor`."""

from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.loading_line import loading


def main() -> None:
    with report_errors("hybrid_dist.doctor"), loading("hybrid_dist.doctor"):
        from hybrid_dist.commands import doctor as command
    command.main()


if __name__ == "__main__":
    main()
