"""`hybrid-dist prefetch CONFIG`: fetch what a run will load, where there is a network."""

import sys
from collections.abc import Sequence
from pathlib import Path

from hybrid_dist.config import flags
from hybrid_dist.config.schema import STORED, Config
from hybrid_dist.config.task_collections import of_each
from hybrid_dist.data.store.reader import check_sources
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.evaluation.task_specs import fetch_task
from hybrid_dist.text import printable

HELP = """usage: hybrid-dist prefetch CONFIG [--section.key value ...]

Fetch the model, its teacher and the evaluation data of a run into the Hugging
Face cache (HF_HOME), and check that the files it names are there. Run it where
there is a network, as on a login node; jobs then run with HF_HUB_OFFLINE=1 and
the same HF_HOME.

Example: hybrid-dist prefetch configs/xlmr-large-hybrid.yaml"""


def main(args: Sequence[str], program: str = "hybrid-dist prefetch") -> None:
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        sys.exit(0 if args else 2)
    with report_errors(program):
        if args[0].startswith("-"):
            raise UserError(f"expected a config file, not {args[0]}\n\n{HELP}")
        prefetch(flags.load(["--config", *args], program))


def prefetch(config: Config) -> None:
    """Load all that the run will, as it will, and say where it is."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from hybrid_dist.model.loading import build, read_config
    from hybrid_dist.model.spec import EncoderSpec
    from hybrid_dist.model.tokenization import TextTokens
    from hybrid_dist.training.teacher_sources import load_model

    check_sources([*config.data.train_paths, *config.data.dev])
    for task in config.eval.tasks:
        of_each([task], fetch_task)
        print(printable(f"{task}: here"))
    name, settings = config.model.name_or_path, EncoderSpec.of(config.model)
    model_config = read_config(config.model)
    tokens = TextTokens.load(name, settings, config.model.trust_remote_code)
    tokens.check(model_config)
    tokens.check_end()
    build(config.model, model_config)
    place = name if Path(name).is_dir() else HF_HUB_CACHE
    what = "model and tokenizer" if config.model.init == "pretrained" else "sizes and tokenizer"
    print(printable(f"{name}: {what} in {place}"))
    if (teacher := config.distill.teacher) not in ("", STORED):
        load_model(config)
        place = teacher if Path(teacher).is_dir() else HF_HUB_CACHE
        print(printable(f"{teacher}: the teacher in {place}"))
    print("jobs need no network now: set HF_HUB_OFFLINE=1 in slurm/site.env")
