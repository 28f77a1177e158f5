"""Finished runs of other studies: cells that two studies share are trained once."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import atomic_folder
from hybrid_dist.studies.cells import Grid, run_name
from hybrid_dist.studies.run_states import (
    STUDY_FILE,
    identities,
    log_path,
    read_note,
    read_record,
    state_of,
    write_record,
)

WEIGHTS = ".safetensors"
NOT_COPIED = ("checkpoints", "wandb")


def reuse_runs(grid: Grid, folders: Sequence[Path]) -> list[str]:
    """Copy what other studies have trained and this one has not: runs of an equal cell and seed.

    Returns a line for each run that was copied.
    """
    lines = []
    own = identities(grid)
    for folder in folders:
        if not (folder / STUDY_FILE).is_file():
            raise UserError(f"--reuse: {folder}: holds no study")
        theirs = {_key(cell): name for name, cell in read_note(folder)["cells"].items()}
        for run in grid.all_runs():
            name = theirs.get(_key(own[run.cell.name]))
            if name is None or state_of(grid, run).state != "to run":
                continue
            other = run_name(name, run.seed)
            record = read_record(log_path(folder, other, "json"))
            source = folder / "runs" / other
            finished = record.trained or run.cell.is_untrained
            if finished and not record.reason and (source / "model/config.json").is_file():
                _copy(source, run.folder)
                write_record(grid, run, record)
                lines.append(f"{run.name}: copied from {source}")
    return lines


def _key(cell: dict[str, Any]) -> str:
    return json.dumps(cell, sort_keys=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a run folder; weights, which are large and never changed in place, are linked."""
    with atomic_folder(target, replace=False) as draft:
        shutil.copytree(
            source,
            draft,
            ignore=shutil.ignore_patterns(*NOT_COPIED),
            copy_function=_link_or_copy,
            dirs_exist_ok=True,
        )


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(WEIGHTS):
        try:
            os.link(source, target)
        except OSError:  # another disk, or one without links
            pass
        else:
            return
    shutil.copy2(source, target)
