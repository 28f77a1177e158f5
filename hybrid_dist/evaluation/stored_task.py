"""A task in files that are mapped and not read: prepared once, opened by every process at once.

manifest.json        languages, notes, and every file's size and SHA-256
queries.arrow, query_ids.arrow, passages.arrow, passage_ids.arrow    texts in the order of the task
*.npy                the arrays of `Task`: language codes, and judgements
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import hybrid_dist
from hybrid_dist.data.reading import Reading, Subset
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.store import space, verification
from hybrid_dist.data.store.columns import ROWS, TextColumn, TextWriter, load_mapped, save_array
from hybrid_dist.data.store.format import (
    COLLECTION,
    PASSAGES,
    QUERIES,
    REMEDY,
    Checksums,
    read_manifest,
    replaced,
    write_manifest,
)
from hybrid_dist.data.store.reader import Check
from hybrid_dist.data.store.staging import open_staged
from hybrid_dist.data.store.text_views import StoredTexts
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.tasks import Task, from_collection
from hybrid_dist.runtime import progress_bar

COLUMNS = {
    "query_ids": "query_ids.arrow",
    "query_texts": QUERIES,
    "passage_ids": "passage_ids.arrow",
    "passage_texts": PASSAGES,
}
"""Texts of a task, and their files."""
ARRAYS = ("query_language", "passage_language", "relevant_starts", "relevant", "grades")
EXCLUDED = "excluded"
"""An array that few tasks have, and the manifest's entry that says whether this one has it."""


def prepare_collection(source: Source, paths: Sequence[str], out: Path, reading: Reading) -> Task:
    """Write what a source has to evaluate on into a folder; returns the task there."""
    if source.collection is None:
        raise UserError(f"{source.name}: is for training only; leave --collection out")
    task = from_collection(source.name, ", ".join(paths), source.collection(paths, reading))
    task = replace(task, notes=(*reading.notes, *reading.bad), missing=tuple(reading.missing))
    about = {"source": source.name, "paths": list(paths), "options": dict(reading.options)}
    write_task(task, out, about, space.estimate_bytes(paths))
    return open_task(out, source.name, str(out))


def write_task(
    task: Task,
    out: Path,
    about: Mapping[str, Any],
    needed: int | None = None,
    durable: bool = True,
) -> None:
    """Write a task into a folder, new or a prepared collection.

    `about`: more entries of its manifest. `needed`: the bytes that this takes, if estimated.
    `durable`: wait until the disk has the files.
    """
    counts = {name: {"queries": 0, "passages": 0} for name in task.languages}
    for kind, codes in (("queries", task.query_language), ("passages", task.passage_language)):
        for code, count in enumerate(np.bincount(codes, minlength=len(counts)).tolist()):
            counts[task.languages[code]][kind] = count
    entries = {
        "languages": counts,
        "hybrid_dist": hybrid_dist.__version__,
        "one_pool": task.one_pool,
        "notes": list(task.notes),
        "missing": list(task.missing),
        "subsets": [asdict(subset) for subset in task.subsets],
        EXCLUDED: task.excluded is not None,
        **about,
    }
    with replaced(out, needed, kind=COLLECTION) as folder, Checksums(durable) as checksums:
        for name, file in COLUMNS.items():
            _write_texts(getattr(task, name), folder / file, name.replace("_", " "))
            checksums.take(folder / file)
        for name in _arrays(entries):
            save_array(folder / f"{name}.npy", np.asarray(getattr(task, name), np.int64))
        write_manifest(folder, entries, checksums, COLLECTION)


def _arrays(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    return (*ARRAYS, EXCLUDED) if manifest[EXCLUDED] else ARRAYS


def _write_texts(texts: Sequence[str], file: Path, what: str) -> None:
    with TextWriter(file) as out, progress_bar.part(f"writing {what}", len(texts)) as advance:
        for first in range(0, len(texts), ROWS):
            block = texts[first : first + ROWS]
            out.append(pa.array(block, pa.large_string()))
            advance(len(block))


def open_task(folder: Path, name: str, path: str, check: Check = "once", stage: str = "") -> Task:
    """The task in a prepared collection.

    `check`: verify the files unless this machine already has, in any case, or never. `stage`: a
    folder on this machine's own disk that it is copied to; see `open_staged`.
    """
    return open_staged(folder, stage, lambda copy: _open(copy, name, path, check), COLLECTION)


def _open(folder: Path, name: str, path: str, check: Check) -> Task:
    manifest = read_manifest(folder, COLLECTION)
    verified = verification.verify_once(folder, manifest, again=check == "now")
    with nullcontext(False) if check == "never" else verified as is_first:
        try:
            columns = {key: TextColumn(folder / file) for key, file in COLUMNS.items()}
            arrays = {key: load_mapped(folder / f"{key}.npy") for key in _arrays(manifest)}
            subsets = tuple(Subset(**subset) for subset in manifest["subsets"])
            if is_first:
                _check(columns, arrays, len(manifest["languages"]))
        except (ValueError, KeyError, TypeError, IndexError, OSError, pa.ArrowException) as bad:
            raise UserError(f"{folder}: is damaged: {bad}; {REMEDY}") from None
    return Task(
        name=name,
        path=path,
        languages=tuple(manifest["languages"]),
        one_pool=manifest["one_pool"],
        notes=tuple(manifest["notes"]),
        missing=tuple(manifest["missing"]),
        query_ids=StoredTexts(columns["query_ids"]),
        query_texts=StoredTexts(columns["query_texts"]),
        query_language=arrays["query_language"],
        passage_ids=StoredTexts(columns["passage_ids"]),
        passage_texts=StoredTexts(columns["passage_texts"]),
        passage_language=arrays["passage_language"],
        relevant_starts=arrays["relevant_starts"],
        relevant=arrays["relevant"],
        grades=arrays["grades"],
        subsets=subsets,
        excluded=arrays.get(EXCLUDED),
    )


def _check(
    columns: Mapping[str, TextColumn], arrays: Mapping[str, np.ndarray], languages: int
) -> None:
    """Raise a ValueError if numbers do not fit together."""
    for column in columns.values():
        column.check()
    for side in ("query", "passage"):
        codes = arrays[f"{side}_language"]
        lengths = {len(columns[f"{side}_ids"]), len(columns[f"{side}_texts"]), len(codes)}
        if len(lengths) > 1:
            raise ValueError(f"ids, texts and languages of each {side} differ in number")
        if len(codes) and not 0 <= codes.min() <= codes.max() < languages:
            raise ValueError(f"{side}_language: names a language that is not there")
    starts, relevant = arrays["relevant_starts"], arrays["relevant"]
    whole = len(starts) == len(columns["query_ids"]) + 1 and starts[0] == 0
    if not whole or starts[-1] != len(relevant) or len(arrays["grades"]) != len(relevant):
        raise ValueError("relevant_starts: does not fit relevant and grades")
    excluded = arrays.get(EXCLUDED)
    if excluded is not None and len(excluded) != len(columns["query_ids"]):
        raise ValueError("excluded: does not fit the queries")
    if (np.diff(starts) < 0).any():
        raise ValueError("relevant_starts: does not ascend")
