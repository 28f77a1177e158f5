"""The places that a run reads and writes, for batch files that make them visible in a container."""

import os
from collections.abc import Iterator

from hybrid_dist.config.schema import Config
from hybrid_dist.config.task_names import split_label


def run_paths(config: Config) -> tuple[str, ...]:
    """The paths that a config names; some may be names on the hub, globs, or not there yet."""
    return tuple(dict.fromkeys(path for path in _named(config) if path and "://" not in path))


def _named(config: Config) -> Iterator[str]:
    yield config.run.dir
    yield from (*config.data.train_paths, *config.data.dev, config.data.cache_dir)
    yield os.path.expandvars(config.data.stage)
    yield from (config.model.name_or_path, config.distill.teacher, config.checkpoint.resume)
    for task in config.eval.tasks:
        _, _, path = split_label(task)[1].partition(":")
        yield path.partition("?")[0]
