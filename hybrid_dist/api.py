"""Functions of the Python API that join parts which do not import each other."""

from hybrid_dist.config.resolve import check_consistency
from hybrid_dist.config.schema import Config
from hybrid_dist.reporting.run_evaluation import load_evaluation
from hybrid_dist.training.result import TrainingResult
from hybrid_dist.training.run import run


def train(config: Config) -> TrainingResult:
    """Train one run, evaluate it, and return where it left its files.

    Works in a script, a notebook and under a launcher, where every process calls it. If the run
    folder holds checkpoints, training resumes from the last one, unless the config is that of
    another run. A file STOP in the run folder stops the run. Nothing listens to signals and the
    process goes on afterwards; `hybrid-dist train` adds both. Raises a UserError for what
    cannot be trained.

    Global state that changes: the seeds of torch, and under a launcher the process group, which
    stays, and the number of threads.
    """
    check_consistency(config)
    return run(config, load_evaluation)
