"""`hybrid-dist study`: train and evaluate a grid of runs, and report what they show."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.runtime.files import bytes_of
from hybrid_dist.studies.cells import Grid
from hybrid_dist.studies.grids import grid
from hybrid_dist.studies.reuse import reuse_runs
from hybrid_dist.studies.run_states import (
    RunState,
    check_folder,
    claim_folder,
    seconds_of,
    state_of,
)
from hybrid_dist.studies.runner import StudyRunner
from hybrid_dist.studies.study_checks import check_everything, check_figures, problems_of_files
from hybrid_dist.studies.study_file import read_study
from hybrid_dist.studies.study_report import write_study_report
from hybrid_dist.studies.study_results import TaskResults, read_results
from hybrid_dist.studies.submission import (
    sbatch_lines,
    submission_folder,
    submit,
    write_sweep,
)
from hybrid_dist.text import cell, printable
from hybrid_dist.tracking.wandb_run import WandbRun


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run a study: train and evaluate its cells, and write a report.

    Finished runs are skipped and interrupted ones resume, so the same command goes on after
    anything; runs that fail are reported and do not stop the others.

    Example: hybrid-dist study configs/studies/ratio-small.yaml --jobs 2
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The study file; docs/studies.md says how to write one."""
    jobs: int | None = None
    """Runs at once (1 by default). They share the processors and GPUs; with --slurm, how many of
    the array run at once (all by default)."""
    out: Path | None = None
    """Folder of the study's runs and report; by default runs/studies/NAME."""
    dry_run: Flag = False
    """List the cells, how they stand, and the time and memory where known; start nothing."""
    report_only: Flag = False
    """Train nothing: evaluate what is trained and not evaluated yet, and write the report."""
    slurm: Flag = False
    """Submit the runs as a job array, and a job that writes the report after it."""
    reuse: tuple[Path, ...] = ()
    """Folders of other studies: runs that they have finished are copied where their config, recipe
    and seed are those of a run of this study."""
    wandb_sweep: Path | None = None
    """Write the runs as a W&B sweep into this file; start nothing."""

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise UserError(f"--jobs: {self.jobs} is too few; give 1 or more")
        if self.report_only and (self.slurm or self.wandb_sweep):
            raise UserError("--report-only: starts no run; leave --slurm and --wandb-sweep out")


def main(args: Sequence[str], program: str = "hybrid-dist study") -> None:
    with report_errors(program):
        options = parse(Options, args, program)
        study = read_study(options.file)
        made = grid(study, options.file, options.out)
        check_figures(made)
        check_folder(made)
        if options.dry_run:
            _show(made, options)
            return
        check_everything(made)
        claim_folder(made)
        for line in reuse_runs(made, options.reuse):
            print(printable(line))
        runs = made.all_runs()
        if options.wandb_sweep is not None:
            write_sweep(made, runs, options.wandb_sweep)
            print(printable(f"wandb sweep {options.wandb_sweep}"))
        elif options.slurm:
            left = [state.run for state in _states(made) if _is_left(state)]
            for line in submit(made, left, options.jobs):
                print(printable(line))
        else:
            _run(made, options)


def _run(made: Grid, options: Options) -> None:
    """Run what is left and write the report; exit code 1 if any run failed."""
    runner = StudyRunner(made, options.jobs or 1, _line_writer())
    try:
        runner.run(made.all_runs(), trains=not options.report_only)
    finally:
        states = _states(made)
        results = read_results(made)
        parts = write_study_report(made, results, states)
    console = Console()
    for part in parts:
        console.print(part.tables[0].terminal())
        console.print(Text(printable(" ".join(part.sentences))))
    _send_table(made, results)
    for state in states:
        if state.state == "failed":
            print(printable(f"{state.run.name} failed: {state.reason}"), file=sys.stderr)
    print(printable(f"The report: {made.out / 'report.html'}"))
    if any(state.state == "failed" for state in states):
        raise SystemExit(1)


def _states(made: Grid) -> list[RunState]:
    return [state_of(made, run) for run in made.all_runs()]


def _is_left(state: RunState) -> bool:
    """Whether an array has to train a run."""
    return not state.run.cell.is_untrained and state.state not in ("finished", "to evaluate")


def _line_writer() -> Callable[[str], None]:
    """Shows progress: one line that changes on a terminal, else one for each run that ends."""
    last = ""
    terminal = sys.stdout.isatty()

    def say(text: str) -> None:
        nonlocal last
        shown = printable(text)
        if terminal:
            width = Console().width
            print(f"\r{shown[: width - 1]:<{width - 1}}", end="", flush=True)
        elif shown.partition(";")[0] != last:
            last = shown.partition(";")[0]
            print(shown, flush=True)

    return say


def _show(made: Grid, options: Options) -> None:
    """What would be run."""
    states = _states(made)
    console = Console()
    title = f"{made.study.name}: {len(made.cells)} cells, {len(states)} runs in {made.out}"
    table = Table(title=cell(title), title_justify="left")
    for name in ("Cell", "Values", "Runs", "Time a run", "Memory"):
        table.add_column(name)
    for one in made.cells:
        own = [state for state in states if state.run.cell is one]
        counts = {state.state: 0 for state in own}
        for state in own:
            counts[state.state] += 1
        each = seconds_of(own, one) or seconds_of(states)
        memory = max(state.record.memory for state in own)
        values = ", ".join(f"{key} {value}" for key, value in one.values.items())
        table.add_row(
            cell(one.name),
            cell(values),
            ", ".join(f"{count} {state}" for state, count in counts.items()),
            "-" if each is None or one.is_untrained else f"{timedelta(seconds=round(each))}",
            bytes_of(memory) if memory else "-",
        )
    console.print(table)
    left = [state for state in states if state.state != "finished"]
    each = seconds_of(states)
    if each is not None and left:
        total = timedelta(seconds=round(each * len(left) / (options.jobs or 1)))
        print(f"about {total} for the {len(left)} runs that are left")
    for problem in problems_of_files(made):
        print(printable(f"missing: {problem}", lines=True))
    if options.slurm:
        runs = [state.run for state in states if _is_left(state)]
        for line in sbatch_lines(made, runs, options.jobs, submission_folder(made)):
            print(printable(shlex.join(line)))


def _send_table(made: Grid, results: Sequence[TaskResults]) -> None:
    """The table of cells, in the study's group in W&B."""
    log = replace(made.base.log, group=made.study.name, job_type="study", tags=("report",))
    if log.wandb == "disabled" or not results:
        return
    with WandbRun(log, made.out, {"study": asdict(log)}, print, True) as wandb:
        for one in results:
            rows = [
                [name, figure, summary.seeds, summary.mean, summary.deviation]
                for figure in one.values
                for name, summary in one.summaries(figure).items()
            ]
            head = ("cell", "figure", "seeds", "mean", "seed deviation")
            wandb.table(f"study/{one.label}", head, rows)
