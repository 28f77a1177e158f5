"""MTEB's own evaluation of the tasks of tests/support/mteb_data.py, and what it reads of results.

    PYTHON -m tests.launched.scripts.mteb_scores FOLDER

PYTHON is one that has mteb and need not have hybrid_dist. FOLDER has `subsets` and `single`, and
`results`, files in the format of MTEB's results. Prints a JSON object of what it computes and what
it reads.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import torch
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.model_meta import ModelMeta
from mteb.results import TaskResult

from tests.support.mteb_data import DIMENSION, LANGUAGES, vectors

MEASURES = {
    "ndcg_at_10": "ndcg_cut_10",
    "map_at_10": "map_cut_10",
    "map_at_100": "map_cut_100",
    "recall_at_10": "recall_10",
    "recall_at_100": "recall_100",
    "precision_at_10": "P_10",
    "hit_rate_at_10": "success_10",
}
"""Names in results, and those of trec_eval."""


class Encoder:
    """The vectors of tests/support/mteb_data.py."""

    mteb_model_meta = ModelMeta.create_empty(
        {"name": "tests/by-text", "revision": "1", "embed_dim": DIMENSION}
    )

    def encode(self, inputs: Any, **_: Any) -> np.ndarray:
        return vectors([text for batch in inputs for text in batch["text"]])

    def similarity(self, first: np.ndarray, second: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(first) @ torch.as_tensor(second).T

    def similarity_pairwise(self, first: np.ndarray, second: np.ndarray) -> torch.Tensor:
        return (torch.as_tensor(first) * torch.as_tensor(second)).sum(1)


def task_class(
    name: str, path: Path, languages: Any, ignore: bool = False
) -> type[AbsTaskRetrieval]:
    class Task(AbsTaskRetrieval):  # type: ignore[misc]
        ignore_identical_ids = ignore
        metadata = TaskMetadata(
            name=name,
            dataset={"path": str(path), "revision": "main"},
            description="A task of the tests.",
            reference=None,
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=languages,
            main_score="ndcg_at_10",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def task_specific_scores(self, scores: Any, *_: Any, **__: Any) -> dict[str, float]:
            """Means that are not rounded."""
            return {
                f"whole_{ours}": sum(one[theirs] for one in scores.values()) / len(scores)
                for ours, theirs in MEASURES.items()
            }

    return Task


def main(folder: Path) -> None:
    tasks = [
        task_class("Subsets", folder / "subsets", LANGUAGES)(),
        task_class("Single", folder / "single", ["eng-Latn"])(),
        task_class("Identical", folder / "single", ["eng-Latn"], ignore=True)(),
    ]
    result = mteb.evaluate(Encoder(), tasks, cache=None, show_progress_bar=False)
    found = {
        one.task_name: {row["hf_subset"]: row for row in one.scores["test"]}
        for one in result.task_results
    }
    read = {}
    for file in sorted((folder / "results").rglob("*.json")):
        one = TaskResult.from_disk(file)
        read[one.task_name] = {"whole": one.to_dict(), "score": one.get_score()}
    cached = {
        one.model_name: sorted(result.task_name for result in one.task_results)
        for one in mteb.ResultCache(folder).load_results(require_model_meta=False).model_results
    }
    shown = {"mteb": version("mteb"), "scores": found, "read": read, "cached": cached}
    print("\n" + json.dumps(shown, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
