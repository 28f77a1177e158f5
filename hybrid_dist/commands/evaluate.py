"""Evaluate a model: `accelerate launch -m hybrid_dist.evaluate --model M --task NAME:PATH`.

`hybrid-dist evaluate` takes the same options and runs one process. SIGUSR2, which SLURM sends
before a time limit, ends it on all processes at once; with --cache the same command then goes on.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict

from hybrid_dist.config.command_options import is_first_rank, parse
from hybrid_dist.config.schema import HangMinutes
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.reporting.evaluation_job import EvaluationJob, EvaluationOptions
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.ended import EndRecord
from hybrid_dist.runtime.launch import check_machine, start
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.runtime.signals import Interruption
from hybrid_dist.runtime.stopping import Stopped, stoppable
from hybrid_dist.runtime.watchdog import Watch
from hybrid_dist.text import printable


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.evaluate") -> None:
    args = sys.argv[1:] if args is None else args
    interruption, code = Interruption(), 0
    interruption.listen([signal.SIGUSR2])
    with report_errors(program), EndRecord(asked=lambda: interruption.signal) as ending:
        if sum(arg.split("=")[0] == "--task" for arg in args) > 1:
            raise UserError("--task: given twice; name all tasks after one, as in --task A:x B:y")
        options = parse(EvaluationOptions, args, program)
        try:
            run(options, interruption, ending)
        except Stopped as stopped:
            code = 128 + stopped.by
            ending.stopped_by = signal.Signals(stopped.by).name
            if is_first_rank():
                print(f"{program}: stopped by {ending.stopped_by}", file=sys.stderr)
    exit_process(code)


def run(options: EvaluationOptions, interruption: Interruption, ending: EndRecord) -> None:
    """Raises Stopped, in all processes, after a signal to one of them."""
    check_machine()
    job = EvaluationJob.load(options)
    limit = options.timeout_minutes
    _, ranks = start(hang_minutes=limit)
    ending.begin(ranks)
    limits = HangMinutes(**dict.fromkeys(asdict(HangMinutes()), limit))

    def log(message: str) -> None:
        if ranks.is_first:
            print(printable(message, lines=True), file=sys.stderr, flush=True)

    with (
        Watch(
            *(ranks, limits, options.out), before_exit=[ending.hang], setting="--timeout-minutes"
        ) as watch,
        progress_bar.shown(ranks.is_first),
        stoppable(ranks, lambda: interruption.signal) as own,
    ):
        watch.begin("evaluation")
        job.execute(own, log)


if __name__ == "__main__":
    main()
