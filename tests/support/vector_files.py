"""Files of vectors that were made elsewhere, and the task they are of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hybrid_dist.evaluation.names import passage_names, query_names
from hybrid_dist.evaluation.tasks import Task
from tests.support.evaluation_problems import parallel_task


def task_of(languages: int = 2, per_language: int = 4) -> Task:
    task = parallel_task(languages, per_language)
    ids = [f"{number + 1}_0" for number in range(per_language)] * languages
    return replace(task, languages=("de", "en", "fr")[:languages], passage_ids=ids)


def write(folder: Path, task: Task, queries: np.ndarray, passages: np.ndarray) -> Path:
    """Rows in another order than the task's."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for array, ids, vectors, names in (
        ("queries.npy", "query_ids.txt", queries, query_names(task)),
        ("corpus.npy", "corpus_ids.txt", passages, passage_names(task)),
    ):
        rows = rng.permutation(len(names))
        np.save(folder / array, vectors[rows])
        (folder / ids).write_text("\n".join(names[row] for row in rows) + "\n", "utf-8")
    return folder


def array(file: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(file, change(np.load(file)))
