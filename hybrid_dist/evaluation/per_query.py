"""The value of every query, of which every headline figure is a mean; kept beside the report.

Runs are compared by them: query by query, not by their means alone.
"""

import hashlib
import io
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
NUMBERS = ("language", "cell_query", "cell_pool")
NAMES_BEFORE_2 = {"cell_question": "cell_query"}
"""Arrays that hybrid_dist 0.1 wrote under another name, and their name now."""
REPORT_ID, CHECKSUM = "report_id", "checksum"


@dataclass(frozen=True)
class PerQuery:
    """What an evaluation found of every query."""

    languages: tuple[str, ...]
    ids: np.ndarray
    """Of each query: its id; parallel queries share one."""
    language: np.ndarray
    """Of each query: its language, as a position in `languages`."""
    cell_query: np.ndarray
    """Of each cell, a query and a pool of one language with a right answer: the query."""
    cell_pool: np.ndarray
    """Of each cell: the pool's language."""
    by_pool: Mapping[str, np.ndarray]
    """Of each metric: its value in every cell."""
    pooled: Mapping[str, np.ndarray]
    """Of each metric, in the pool of all languages, and of the bias: its value, or NaN."""
    report: str = ""
    """The id of the report that the values belong to."""

    @classmethod
    def of(cls, task: Task, scores: Mapping[str, Scores], bias: Bias) -> "PerQuery":
        known = ~np.isnan(next(iter(scores.values())).by_pool)
        query, pool = np.nonzero(known)
        return cls(
            languages=task.languages,
            ids=np.array(list(task.query_ids)),
            language=task.query_language,
            cell_query=query,
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
            REPORT_ID: np.array(self.report),
            "languages": np.array(self.languages),
            "ids": self.ids,
            **{name: getattr(self, name).astype(np.int32) for name in NUMBERS},
            **{f"by_pool/{name}": v.astype(np.float32) for name, v in self.by_pool.items()},
            **{f"pooled/{name}": v.astype(np.float32) for name, v in self.pooled.items()},
        }
        stored[CHECKSUM] = np.array(_checksum(stored))
        np.savez_compressed(file, **stored)

    @classmethod
    def load(cls, file: Path) -> "PerQuery":
        """Refuses a file that is damaged: it has a checksum."""
        try:
            stored = _arrays(file)
            if str(stored.pop(CHECKSUM)) != _checksum(stored):
                raise ValueError("its content is not what was written")
            stored = {NAMES_BEFORE_2.get(name, name): array for name, array in stored.items()}
            return cls(
                languages=tuple(stored["languages"].tolist()),
                ids=stored["ids"],
                **{name: stored[name] for name in NUMBERS},
                by_pool=_under(stored, "by_pool/"),
                pooled=_under(stored, "pooled/"),
                report=str(stored[REPORT_ID]),
            )
        except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged bytes
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"{file}: not the scores of an evaluation ({why or type(error).__name__}); "
                "evaluate the run again"
            ) from None


def _checksum(stored: Mapping[str, np.ndarray]) -> str:
    """Of all arrays and their names: an archive has checksums of its members alone."""
    digest = hashlib.sha256()
    for name in sorted(stored):
        array = stored[name]
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz."""
    with zipfile.ZipFile(file) as members:
        return {
            name.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(members.read(name)), allow_pickle=False
            )
            for name in members.namelist()
        }


def _under(stored: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): values.astype(np.float64)
        for name, values in stored.items()
        if name.startswith(prefix)
    }
