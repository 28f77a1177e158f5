"""`hybrid-dist overlap`: whether evaluated texts occur in training data.

Evaluated texts are queries and the passages relevant to them; other candidates reveal no answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.config.task_collections import of_each
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.contamination import find_overlap
from hybrid_dist.evaluation.decontamination import FILE_SUFFIXES, write_without
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.reporting.overlap_report import show, summarize
from hybrid_dist.text import json_text, printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check whether evaluated texts occur in training data: equal texts, or most of their n-grams.

    Exits with 1 if any does, and with 0 if none does or --drop removed them.

    Example: hybrid-dist overlap 'data/*.jsonl.gz' --task xquad_r:data/xquad-r
    """

    store: Annotated[str, tyro.conf.Positional]
    """Training pairs: a store, a pair file or a glob."""
    task: tuple[str, ...]
    """Tasks, each NAME:PATH."""
    threshold: float = 0.8
    """Share of an evaluated text's character n-grams at which a training text contains it."""
    examples: int = 5
    """Contained texts to show."""
    json: Flag = False
    """Print one JSON object instead of tables."""
    drop: Path | None = None
    """Write the pairs here without those that contain an evaluated text and their translations,
    which give it away too. A store, or a pair file if the name ends in .jsonl or .jsonl.gz."""


RESTORE = (
    "to have them again, --drop into a .jsonl.gz file, prepare that with --tokenize and --teacher "
    "as before"
)
MINE = ", then mine it"
IMPORTED = (
    "scores that came with the data can only be had from that data: leave the same pairs out of "
    "it, and prepare it again"
)


def main(args: Sequence[str], program: str = "hybrid-dist overlap") -> None:
    options = parse(Options, args, program)
    if not 0.5 <= options.threshold <= 1:
        raise UserError(f"--threshold {options.threshold} is out of range: give 0.5 to 1")
    store = Store.open(options.store)
    tasks = of_each(options.task, load_task)
    overlap = find_overlap(store, tasks, options.threshold)
    if options.json:
        print(json_text(summarize(overlap, options.examples), indent=2))
    else:
        show(overlap, options.examples)
    if options.drop is not None:
        kept = write_without(store, overlap.uids, options.drop, options.store, options.task)
        if not options.json:
            print(printable(f"{options.drop}: {kept:,} of {store.index.num_rows:,} pairs are left"))
            if (lost := _lost(store)) and not options.drop.name.endswith(FILE_SUFFIXES):
                print(printable(f"{options.drop}: is without {lost}"))
    elif overlap.best:
        raise SystemExit(1)


def _lost(store: Store) -> str:
    """What a store of some of its pairs does not take over, and how to have it again."""
    mined = "mining" in store.manifest
    again = {
        "token ids": store.tokens is not None,
        "teacher's vectors": store.teacher is not None,
        "scores of mined negatives": bool(store.scores) and mined,
    }
    lost = [name for name, there in again.items() if there]
    cures = [RESTORE + MINE * mined] if lost else []
    if store.scores and not mined:
        lost.append("scores of negatives")
        cures.append(IMPORTED)
    return "; ".join([", ".join(lost), *cures]) if lost else ""
