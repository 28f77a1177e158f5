"""Bitext retrieval: accuracy in each direction of each pair, and pages that list many pairs."""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.evaluation_report import evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import unit_vectors
from tests.support.published_files import write

CODES = ["afr", "bul", "ces", "dan", "deu", "ell", "eng", "est", "fin", "fra", "hun", "ita"]
CODES += ["lit", "nld", "pol", "ron"]
SENTENCES = 12


class Vectors:
    """Those of a sentence's translations are near each other, in both roles."""

    name = "near"

    def __init__(self, task: Task) -> None:
        rng = np.random.default_rng(5)
        meanings = unit_vectors(rng, SENTENCES)
        number = np.array([int(name) - 1 for name in task.passage_ids])
        noisy = meanings[number] + 0.16 * rng.standard_normal((len(number), meanings.shape[1]))
        self.all = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)

    def queries(self, rows: slice) -> np.ndarray:
        return self.all[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self.all[rows]


def evaluated(codes: list[str], out: Path, options: str = "") -> tuple[dict[str, Any], Vectors]:
    data = out / "ntrex"
    for code in codes:
        side = "src" if code == "eng" else "ref"
        lines = "".join(f"{code} {number}.\n" for number in range(SENTENCES))
        write(data / f"newstest2019-{side}.{code}.txt", lines)
    task = load_task(f"ntrex:{data}{options}")
    assert list(task.query_ids) == list(task.passage_ids)
    vectors = Vectors(task)
    return evaluate_vectors(task, vectors, Ranks(), out), vectors


def test_accuracy_of_each_direction_is_that_of_the_nearest_sentence(tmp_path: Path) -> None:
    report, vectors = evaluated(["eng", "deu", "fra"], tmp_path)
    by_language = dict(zip(("de", "en", "fr"), np.split(vectors.all, 3), strict=True))
    expected = {
        (one, other): float(
            np.mean((by_language[one] @ by_language[other].T).argmax(1) == np.arange(SENTENCES))
        )
        for one, other in permutations(by_language, 2)
    }
    found = report["accuracy_by_pair"]
    assert {(one, other): v for one, row in found.items() for other, v in row.items()} == expected
    assert min(expected.values()) > 0.3 and len(set(expected.values())) > 2
    assert report["accuracy"]["cross_lingual"] == pytest.approx(np.mean(list(expected.values())))
    assert report["accuracy"]["monolingual"] is report["accuracy"]["multilingual"] is None
    page = (tmp_path / "report.md").read_text("utf-8")
    means = [np.mean([v for key, v in expected.items() if key[at] == "de"]) for at in (0, 1)]
    assert f"| de | {means[0]:.3f} | {means[1]:.3f} |" in page
    assert f"| de | en | {report['map_by_pair']['de']['en']:.3f} | " in page
    assert "pairs with the lowest" not in page


def test_pairs_with_a_pivot_are_searched_in_both_directions(tmp_path: Path) -> None:
    report, _ = evaluated(["eng", "deu", "fra"], tmp_path, "?pivot=eng")
    pools = {query: set(row) for query, row in report["accuracy_by_pair"].items()}
    assert pools == {"de": {"en"}, "fr": {"en"}, "en": {"de", "fr"}}


def test_pages_list_the_lowest_of_many_pairs(tmp_path: Path) -> None:
    report, _ = evaluated(CODES, tmp_path)
    recall = {
        f"| {one} | {other} |": value
        for one, row in report["recall_at_1_by_pair"].items()
        for other, value in row.items()
    }
    assert len(recall) == 240
    page = (tmp_path / "report.md").read_text("utf-8")
    listed = [pair for pair in recall if pair in page]
    assert len(listed) == 200
    assert max(recall[pair] for pair in listed) <= min(
        value for pair, value in recall.items() if pair not in listed
    )
    assert "The 200 pairs with the lowest Recall@1 of 240; report.json has all" in page
