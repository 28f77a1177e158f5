"""Files of vectors that were made elsewhere, and the task they are of."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hybrid_dist.evaluation.names import passage_names, query_names
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task
from tests.support.evaluation_problems import parallel_task, unit_vectors


def task_of(languages: int = 2, per_language: int = 4) -> Task:
    task = parallel_task(languages, per_language)
    ids = [f"{number + 1}_0" for number in range(per_language)] * languages
    return replace(task, languages=("de", "en", "fr")[:languages], passage_ids=ids)


def write_pairs(folder: Path, count: int) -> str:
    """A task of so many uids in two languages."""
    rows = []
    for lang in ("de", "en"):
        for n in range(count):
            texts = {"query": f"{lang} asks {n}", "passage": f"{lang} says {n}"}
            rows.append({"uid": f"{n:02d}", "lang": lang, **texts})
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return f"pairs:{folder / 'pairs.jsonl'}"


def write_biased(folder: Path, spec: str) -> Path:
    """Vectors of a task of two languages, which lie on either side of an axis: nothing else."""
    task, rng = load_task(spec), np.random.default_rng(1)
    names = sorted(set(task.query_ids))
    meaning = dict(zip(names, unit_vectors(rng, len(names)), strict=True))
    sides = []
    for ids, codes in (
        (task.query_ids, task.query_language),
        (task.passage_ids, task.passage_language),
    ):
        vectors = np.array([meaning[name] for name in ids]) * 0.1
        vectors[:, 0] += np.where(codes, 0.9, -0.9)
        sides.append(vectors)
    return write(folder, task, *sides)


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
