"""`hybrid-dist submit CONFIG`: check a run, snapshot what it runs from, and submit it to SLURM."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.batching import check_world
from hybrid_dist.config import flags
from hybrid_dist.config.command_options import Flag, parse_known
from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.config.schema import Config
from hybrid_dist.config.task_collections import of_each
from hybrid_dist.data.store.reader import check_sources
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.evaluation.task_specs import check_task
from hybrid_dist.runtime.slurm_jobs import (
    BATCH_FILES,
    LOGS,
    check_batch_files,
    check_launcher,
    log_option,
    next_folder,
    submit_job,
    write_snapshot,
)
from hybrid_dist.text import printable
from hybrid_dist.training.inputs import check_uses, read_model
from hybrid_dist.training.run_folder import RunFolder

TRAIN, SNAPSHOT_CONFIG = "train.sbatch", "config.yaml"
FEWEST_CORES = 4
"""Cores of a rank on a GPU, below which its launches, copies and tokenization wait for them."""
CORE_OPTIONS = {"-c", "--cpus-per-task", "--cpus-per-gpu"}
MEMORY_OPTIONS = {"--mem", "--mem-per-cpu", "--mem-per-gpu"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check a run, snapshot its code and config, and submit it as a SLURM job.

    Keys of the run's config are flags here too, as in --train.steps 500. Options after -- go to
    sbatch. Start it where slurm/ is, after `source slurm/site.env`.

    Example: hybrid-dist submit configs/xlmr-large-hybrid.yaml --nodes 4 -- --partition=gpu
    """

    config: Annotated[Path, tyro.conf.Positional]
    """The config of the run."""
    nodes: str = "1"
    """How many nodes; 2-4: as many of these as are available at each start."""
    gpus_per_node: int = 8
    """GPUs of each node, with a process for each."""
    processes_per_node: int | None = None
    """Processes on nodes without GPUs; --launcher cpu goes with it."""
    cores: int = 8
    """Cores for each process."""
    memory: int = 32
    """Main memory for each process, in GB."""
    time: str | None = None
    """Time limit of each start; the job is requeued until the run is finished."""
    launcher: str | None = None
    """A file in launchers/; by default that of LAUNCHER, or else ddp."""
    mail: str | None = None
    """Where SLURM sends mail."""
    mail_type: str = "END,FAIL"
    """On what: also BEGIN, REQUEUE, TIME_LIMIT_80 and others of sbatch."""
    dry_run: Flag = False
    """Check everything and print the command; submit nothing and write nothing."""

    def __post_init__(self) -> None:
        low, _, high = self.nodes.partition("-")
        if not (low.isdecimal() and (high or low).isdecimal() and 0 < int(low) <= int(high or low)):
            raise UserError(f"--nodes: {self.nodes!r} is no number of nodes; give 4, or 2-4")
        for name in ("gpus_per_node", "processes_per_node", "cores", "memory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')}: {value} is too few; give 1 or more")

    @property
    def most_ranks(self) -> int:
        """Processes on all nodes, if all are available."""
        per_node = self.processes_per_node or self.gpus_per_node
        return int(self.nodes.rpartition("-")[2]) * per_node


def main(args: Sequence[str], program: str = "hybrid-dist submit") -> None:
    own, more = _split(args)
    with report_errors(program):
        options, rest = parse_known(Options, own, program)
        config = flags.load(["--config", str(options.config), *rest], program)
        check_batch_files(TRAIN)
        check_launcher(options.launcher or os.environ.get("LAUNCHER", "ddp"))
        check_run(config, options.most_ranks)
        folder = next_folder(RunFolder(config).submitted)
        command = sbatch_line(options, config, folder, more)
        if options.processes_per_node is None and options.cores < FEWEST_CORES:
            print(f"--cores {options.cores}: few for a GPU; give {FEWEST_CORES} or more")
        if options.dry_run:
            print(printable(shlex.join(command)))
            return
        logs = RunFolder(config).logs.absolute()
        write_snapshot(folder, {SNAPSHOT_CONFIG: to_yaml(config)}, _variables(options, logs))
        job = submit_job(command, logs)
        print(printable(f"job {job}: {shlex.join(command)}"))
        print(printable(f"logs: {logs}; snapshot: {folder}"))


def _split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before and after --."""
    at = list(args).index("--") if "--" in args else len(args)
    return list(args[:at]), list(args[at + 1 :])


def check_run(config: Config, world: int) -> None:
    """Refuse what the run would refuse at its start, as far as a login node can know it."""
    RunFolder(config).check()
    check_sources([*config.data.train_paths, *config.data.dev])
    of_each(config.eval.tasks, check_task)
    check_world(config.batching.size, world)
    model_config, tokens = read_model(config.model)
    check_uses(config, model_config)
    tokens.check_end()


def sbatch_line(
    options: Options, config: Config, folder: Path, more: Sequence[str] = ()
) -> list[str]:
    """The command that submits a run from a snapshot; `more`: options of sbatch.

    It names cores in one way only, and memory too: sbatch rejects two.
    """
    given = {word[:2] if word[1:2] != "-" else word.partition("=")[0] for word in more}
    per_node = options.processes_per_node
    if per_node is None:
        ranks = [f"--gpus-per-node={options.gpus_per_node}"]
        cores, memory = f"--cpus-per-gpu={options.cores}", f"--mem-per-gpu={options.memory}G"
    else:
        ranks = []
        cores = f"--cpus-per-task={options.cores * per_node}"
        memory = f"--mem={options.memory * per_node}G"
    words = ["sbatch", "--parsable", f"--nodes={options.nodes}", *ranks]
    words += [] if given & CORE_OPTIONS else [cores]
    words += [] if given & MEMORY_OPTIONS else [memory]
    words += [f"--time={options.time}"] if options.time else []
    if options.mail:
        words += [f"--mail-user={options.mail}", f"--mail-type={options.mail_type}"]
    words += [log_option(RunFolder(config).logs, "job-%j"), *more]
    return [*words, str(folder / BATCH_FILES / TRAIN), str(folder / SNAPSHOT_CONFIG)]


def _variables(options: Options, logs: Path) -> dict[str, str]:
    """What the batch file reads from its environment."""
    variables = {LOGS: str(logs)}
    if options.launcher:
        variables["LAUNCHER"] = options.launcher
    if options.processes_per_node:
        variables["PROCESSES_PER_NODE"] = str(options.processes_per_node)
    return variables
