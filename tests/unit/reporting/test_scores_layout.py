"""docs/evaluation.md describes scores.npz as it is, and its example reads it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.evaluation_report import evaluate_task
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.tracking.report_json import read_report
from tests.support.evaluation_problems import parallel_task, unit_vectors
from tests.support.launch import ROOT

PAGE = (ROOT / "docs/evaluation.md").read_text("utf-8")
SECTION = PAGE.partition("## The values of every query")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| (`.+?`) \| ?(.*?) \| (\w+) \|", re.MULTILINE)
KINDS = {"text": "U", "int32": "i4", "int64": "i8", "float32": "f4", "uint8": "u1"}


class Random:
    """An embedder of random vectors."""

    name = "random"

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return unit_vectors(np.random.default_rng(len(texts)), len(texts))

    encode_passages = encode_queries


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    task: Task = replace(parallel_task(languages=2, per_language=12), languages=("de", "en"))
    out = tmp_path / "runs/hybrid/eval/heldout"
    evaluate_task(task, Random(), Ranks(), out)
    monkeypatch.chdir(tmp_path)
    return read_report(out / "report.json")


def test_the_example_gives_the_figures_of_the_report(report: dict[str, Any]) -> None:
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)[0], names)
    assert names["means"] == pytest.approx(report["map_by_language"])
    assert names["from_german_to_english"] == pytest.approx(report["map_by_pair"]["de"]["en"])


def test_every_array_is_described_with_its_shape_and_type(report: dict[str, Any]) -> None:
    with np.load("runs/hybrid/eval/heldout/scores.npz") as archive:
        arrays = dict(archive)
    counts = {"L": 2, "Q": 24, "C": 48}
    described = set()
    for cell, shape, kind in ROW.findall(SECTION):
        for name in re.findall(r"`(.+?)`", cell):
            pattern = re.escape(name).replace("METRIC", r"\w+").replace("MEASURE", r"[\w.]+")
            found = {key for key in arrays if re.fullmatch(pattern, key)}
            assert found, name
            described |= found
            for key in found:
                assert arrays[key].dtype.str[1:].startswith(KINDS[kind]), key
                if shape in counts:
                    assert arrays[key].shape == (counts[shape],), key
    assert described == arrays.keys()
