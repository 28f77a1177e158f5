"""The result of mining: the store with other negatives, their scores, and a report."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.columns import ArrayWriter, save_array
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from hybrid_dist.mining.mined_blocks import BlockFiles
from hybrid_dist.mining.mining_report import Summary, markdown
from hybrid_dist.runtime.files import write_atomically

REPORT = "mining.md"
SCORES = (store_format.NEGATIVE_SCORES, store_format.POSITIVE_SCORES)
WRITTEN = ("negatives", "negative_starts", *SCORES)
"""Arrays that are not those of the store that was mined."""
OF_FILES = (store_format.KIND, "fingerprint", "files", "checksum")
"""Entries of a manifest that describe its files."""


class Findings(NamedTuple):
    """What mining found."""

    figures: dict[str, Any]
    """Settings and figures, as in the manifest under `mining`."""
    examples: list[dict[str, Any]]


def write_mined(store: Store, out: Path, blocks: BlockFiles, settings: dict[str, Any]) -> Findings:
    """Write the store of the mined blocks."""
    size = sum(file["bytes"] for file in store.manifest["files"].values())
    about = {key: value for key, value in store.manifest.items() if key not in OF_FILES}
    with (
        store_format.replaced(out, needed=size, replace=False) as folder,
        store_format.Checksums() as checksums,
    ):
        _copy(store, folder)
        summary = _write_arrays(store, folder, blocks)
        findings = Findings(settings | summary.figures(), summary.examples)
        write_atomically(folder / REPORT, markdown(*findings))
        store_format.write_manifest(folder, about | {"mining": findings.figures}, checksums)
    return findings


def _copy(store: Store, folder: Path) -> None:
    """Copy the files that stay as they are, under the names of the current version."""
    names = {
        f"{old}.npy": f"{store_format.ARRAY_NAMES.get(array, array)}.npy"
        for array, old in store_format.array_names(store.manifest).items()
    }
    left = {REPORT, *(f"{name}.npy" for name in WRITTEN)}
    for name in store.manifest["files"].keys() - left:
        shutil.copyfile(store.folder / name, folder / names.get(name, name))


def _write_arrays(store: Store, folder: Path, blocks: BlockFiles) -> Summary:
    summary, counts = Summary(store), []
    with (
        ArrayWriter(folder / "negatives.npy", np.int32) as negatives,
        ArrayWriter(folder / f"{store_format.NEGATIVE_SCORES}.npy", np.float32) as scores,
        ArrayWriter(folder / f"{store_format.POSITIVE_SCORES}.npy", np.float32) as positives,
    ):
        for number, place in enumerate(blocks.places):
            mined = blocks.read(number)
            if mined is None:
                raise UserError(f"{blocks.folder}: block {number} is damaged; start again")
            negatives.append(mined.negatives)
            scores.append(mined.scores)
            positives.append(mined.positives)
            counts.append(mined.counts)
            summary.add(place, mined)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    save_array(folder / "negative_starts.npy", starts)
    return summary
