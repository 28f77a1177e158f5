"""The value of every question, of which every headline figure is a mean; kept beside the report.

Runs are compared by them: question by question, not by their means alone.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bias import Bias
from hybrid_dist.evaluation.metrics import Scores
from hybrid_dist.evaluation.tasks import Task

FILE = "scores.npz"
NUMBERS = ("language", "cell_question", "cell_pool")


@dataclass(frozen=True)
class PerQuestion:
    """What an evaluation found of every question."""

    languages: tuple[str, ...]
    ids: np.ndarray
    """Of each question: its id; parallel questions share one."""
    language: np.ndarray
    """Of each question: its language, as a position in `languages`."""
    cell_question: np.ndarray
    """Of each cell, a question and a pool of one language with a right answer: the question."""
    cell_pool: np.ndarray
    """Of each cell: the pool's language."""
    by_pool: Mapping[str, np.ndarray]
    """Of each metric: its value in every cell."""
    pooled: Mapping[str, np.ndarray]
    """Of each metric, in the pool of all languages, and of the bias: its value, or NaN."""

    @classmethod
    def of(cls, task: Task, scores: Mapping[str, Scores], bias: Bias) -> "PerQuestion":
        known = ~np.isnan(next(iter(scores.values())).by_pool)
        question, pool = np.nonzero(known)
        return cls(
            languages=task.languages,
            ids=np.array(list(task.question_ids)),
            language=task.question_language,
            cell_question=question,
            cell_pool=pool,
            by_pool={name: found.by_pool[known] for name, found in scores.items()},
            pooled={
                **{f"{name}.multilingual": found.pooled for name, found in scores.items()},
                **{f"bias.{name}": values for name, values in bias.values().items()},
            },
        )

    def save(self, file: Path) -> None:
        """Values as float32: half the size, and more than enough to tell runs apart."""
        stored: dict[str, Any] = {
            "languages": np.array(self.languages),
            "ids": self.ids,
            **{name: getattr(self, name).astype(np.int32) for name in NUMBERS},
            **{f"by_pool/{name}": v.astype(np.float32) for name, v in self.by_pool.items()},
            **{f"pooled/{name}": v.astype(np.float32) for name, v in self.pooled.items()},
        }
        np.savez_compressed(file, **stored)

    @classmethod
    def load(cls, file: Path) -> "PerQuestion":
        try:
            with np.load(file, allow_pickle=False) as found:
                stored = {name: found[name] for name in found.files}
            return cls(
                languages=tuple(stored["languages"].tolist()),
                ids=stored["ids"],
                **{name: stored[name] for name in NUMBERS},
                by_pool=_under(stored, "by_pool/"),
                pooled=_under(stored, "pooled/"),
            )
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{file}: not the scores of an evaluation ({type(error).__name__}); "
                "evaluate the run again"
            ) from None


def _under(stored: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): values.astype(np.float64)
        for name, values in stored.items()
        if name.startswith(prefix)
    }
