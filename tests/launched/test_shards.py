"""Vectors made elsewhere are scored alike, bit for bit, on any number of processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.launch import launch
from tests.support.runs import succeed

LANGUAGES, UIDS, DIMENSION = ("de", "en", "fr"), 3000, 24
"""9,000 passages: nine tiles, so that eight processes have shards of unequal size."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of pairs, and vectors of which many are equal across shards and languages."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(5)
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as lines:
        for language in LANGUAGES:
            for uid in range(UIDS):
                query, passage = f"q {language} {uid}", f"p {language} {uid}"
                row = {"uid": str(uid), "lang": language, "query": query, "passage": passage}
                lines.write(json.dumps(row) + "\n")
    facts = np.tile(rng.standard_normal((UIDS, DIMENSION)), (len(LANGUAGES), 1))
    vectors = (facts + rng.standard_normal((2, *facts.shape))).astype(np.float32)
    rows = rng.integers(0, len(facts), (2, 4000))
    vectors[1, rows[0]] = vectors[1, rows[1]]
    names = [(language, uid) for language in LANGUAGES for uid in range(UIDS)]
    for array, ids, names_in_order in (
        ("queries", "query_ids", [f"{uid}_{language}" for language, uid in names]),
        ("corpus", "corpus_ids", [f"{language}_{uid}" for language, uid in names]),
    ):
        np.save(folder / f"{array}.npy", vectors[int(array == "corpus")])
        (folder / f"{ids}.txt").write_text("\n".join(names_in_order) + "\n", "utf-8")
    return folder


def scored(given: Path, out: Path, processes: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The report without its timing, and the bytes of what else was written."""
    words = ["--embeddings", str(given), "--task", f"pairs:{given}/pairs.jsonl"]
    words += ["--save-run", "50", "--dims", "6,12"]
    module = ["-m", "hybrid_dist.evaluate", *words, "--out", str(out)]
    succeed(launch("cpu", processes, module))
    report: dict[str, Any] = json.loads((out / "pairs" / "report.json").read_text())
    assert report.pop("timing")["processes"] == processes
    files = [file for file in (out / "pairs").iterdir() if file.suffix in (".trec", ".md", ".png")]
    return report, {file.name: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def alone(
    given: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, bytes]]:
    return scored(given, tmp_path_factory.mktemp("alone"), 1)


@pytest.mark.parametrize(
    "processes",
    [3, pytest.param(2, marks=pytest.mark.long), pytest.param(8, marks=pytest.mark.long)],
)
def test_any_number_of_processes_finds_the_same_bits(
    processes: int,
    given: Path,
    alone: tuple[dict[str, Any], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    report, files = scored(given, tmp_path, processes)
    assert json.dumps(report) == json.dumps(alone[0])
    assert report["dims"].keys() == {"6", "12"}
    assert files == alone[1]
    assert {"run.trec", "report.md", "map_by_pair.png"} <= files.keys()
