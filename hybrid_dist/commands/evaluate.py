"""Evaluate a model: `accelerate launch -m hybrid_dist.evaluate --model M --task NAME:PATH`.

`hybrid-dist evaluate` takes the same options and runs one process.
"""

import sys
from collections.abc import Sequence

from hybrid_dist.config.command_options import parse
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.reporting.evaluation_job import EvaluationJob, EvaluationOptions
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.launch import check_machine, start
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.text import printable


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.evaluate") -> None:
    args = sys.argv[1:] if args is None else args
    with report_errors(program):
        if sum(arg.split("=")[0] == "--task" for arg in args) > 1:
            raise UserError("--task: given twice; name all tasks after one, as in --task A:x B:y")
        run(parse(EvaluationOptions, args, program))


def run(options: EvaluationOptions) -> None:
    check_machine()
    job = EvaluationJob.load(options)
    _, ranks = start()

    def log(message: str) -> None:
        if ranks.is_first:
            print(printable(message, lines=True), file=sys.stderr, flush=True)

    with progress_bar.shown(ranks.is_first):
        job.execute(ranks, log)
    exit_process()


if __name__ == "__main__":
    main()
