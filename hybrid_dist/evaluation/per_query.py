"""scores.npz: the per-query values that a report's figures average, stored beside the report.

`hybrid-dist compare` reads them to compare runs query by query.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bias import Bias
from hybrid_dist.evaluation.consistency import Consistency
from hybrid_dist.evaluation.metrics import Scores
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.text import json_text

FILE = "scores.npz"
FORMAT, VERSION = "format", 2
"""The array that holds the file's format version, and the version that is written."""
NUMBERS = ("language", "cell_query", "cell_pool")
NAMES_BEFORE_2 = {"cell_question": "cell_query"}
"""Arrays of version 1 and their new names. hybrid_dist 0.1 wrote it, without a version number."""
REPORT_ID, CHECKSUM = "report_id", "checksum"
TEXTS, TEXT_LENGTH = "query_texts", 200


@dataclass(frozen=True)
class PerQuery:
    """The metrics and the measures of bias and consistency of every query.

    A *cell* is a query and a pool of one language that holds a relevant passage. C cells.
    """

    languages: tuple[str, ...]
    ids: np.ndarray
    """[queries]: ids; parallel queries share one."""
    language: np.ndarray
    """[queries]: language, as a position in `languages`."""
    cell_query: np.ndarray
    """[C]: the query of each cell."""
    cell_pool: np.ndarray
    """[C]: the language of each cell's pool."""
    by_pool: Mapping[str, np.ndarray]
    """Metric -> its values [C]."""
    pooled: Mapping[str, np.ndarray]
    """Metric in the pool of all languages, or measure of bias or consistency -> its values
    [queries], or NaN."""
    report: str = ""
    """The id of the report that the values belong to."""
    texts: Sequence[str] = ()
    """The text of each query, clipped; none in reports of 0.1."""

    @classmethod
    def of(
        cls,
        task: Task,
        scores: Mapping[str, Scores],
        bias: Bias,
        consistency: Consistency | None = None,
    ) -> "PerQuery":
        known = ~np.isnan(next(iter(scores.values())).by_pool)
        query, pool = np.nonzero(known)
        consistent = {} if consistency is None else consistency.values()
        return cls(
            languages=task.languages,
            ids=np.array(list(task.query_ids)),
            language=task.query_language,
            texts=task.query_texts,
            cell_query=query,
            cell_pool=pool,
            by_pool={
                name: metric.by_pool.ravel() if known.all() else metric.by_pool[known]
                for name, metric in scores.items()  # no copies: 122 languages have many cells
            },
            pooled={
                **{f"{name}.multilingual": metric.pooled for name, metric in scores.items()},
                **{f"bias.{name}": values for name, values in bias.values().items()},
                **{f"consistency.{name}": values for name, values in consistent.items()},
            },
        )

    def save(self, file: Path) -> None:
        """Write scores.npz, with values in float32: half the size, and precise enough.

        Like np.savez_compressed, whose level takes four times as long for a fifth less.
        """
        stored: dict[str, Any] = {
            FORMAT: np.array(VERSION),
            REPORT_ID: np.array(self.report),
            "languages": np.array(self.languages),
            "ids": self.ids,
            TEXTS: _packed(self.texts),
            **{name: getattr(self, name).astype(np.int32) for name in NUMBERS},
            **{f"by_pool/{name}": v.astype(np.float32) for name, v in self.by_pool.items()},
            **{f"pooled/{name}": v.astype(np.float32) for name, v in self.pooled.items()},
        }
        stored[CHECKSUM] = np.array(_checksum(stored))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=2) as archive:
            for name, array in stored.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    write_array(entry, array)

    @classmethod
    def load(cls, file: Path) -> "PerQuery":
        """Read scores.npz of any known version; a UserError if it is damaged or of another."""
        try:
            stored = _arrays(file)
            if str(stored.pop(CHECKSUM)) != _checksum(stored):
                raise ValueError("its content does not match its checksum")
            version = int(stored.pop(FORMAT, 1))
            if version not in (1, VERSION):
                raise ValueError(f"its format is {version}, and this version reads 1 and {VERSION}")
            if version == 1:
                stored = {NAMES_BEFORE_2.get(name, name): array for name, array in stored.items()}
            return cls(
                languages=tuple(stored["languages"].tolist()),
                ids=stored["ids"],
                **{name: stored[name] for name in NUMBERS},
                by_pool=_under(stored, "by_pool/"),
                pooled=_under(stored, "pooled/"),
                texts=json.loads(stored[TEXTS].tobytes()) if TEXTS in stored else (),
                report=str(stored[REPORT_ID]),
            )
        except Exception as error:  # zipfile, zlib and numpy raise many types on damaged bytes
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"{file}: cannot be read as the scores of an evaluation "
                f"({reason or type(error).__name__}); evaluate the run again"
            ) from None


def _packed(texts: Sequence[str]) -> np.ndarray:
    """The texts, clipped, as the bytes of a JSON list: an array of text would pad all alike."""
    clipped = [text[:TEXT_LENGTH] for text in texts]
    return np.frombuffer(json_text(clipped).encode(), np.uint8)


def _checksum(stored: Mapping[str, np.ndarray]) -> str:
    """A checksum over all arrays and their names; zip checksums cover single members only."""
    digest = hashlib.sha256()
    for name in sorted(stored):
        array = stored[name]
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz archive."""
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
