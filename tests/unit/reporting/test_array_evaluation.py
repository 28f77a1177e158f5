"""`evaluate` on arrays: against ir_measures, and which arrays are refused."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
import torch

from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.array_evaluation import evaluate
from hybrid_dist.tracking.report_json import read_report
from tests.support.evaluation_problems import unit_vectors

MEASURES = {
    "map": ir_measures.AP,
    "ndcg_at_10": ir_measures.nDCG @ 10,
    "recall_at_10": ir_measures.R @ 10,
    "accuracy": ir_measures.Success @ 1,
}


@dataclass
class Problem:
    """A random task as a user holds it: mappings in no order, and vectors in theirs."""

    languages: dict[str, str]
    qrels: dict[str, dict[str, int]]
    task: Task
    queries: np.ndarray
    passages: np.ndarray

    def scores(self) -> dict[str, dict[str, float]]:
        """Query id -> passage id -> score."""
        ids = [id_ for id_ in self.languages if id_.startswith("d")]
        rows = self.queries @ self.passages.T
        query_ids = [id_ for id_ in self.languages if id_.startswith("q")]
        return {
            query: dict(zip(ids, row.tolist(), strict=True))
            for query, row in zip(query_ids, rows, strict=True)
        }

    def by_query(self, measure: Any, language: str | None = None) -> dict[str, float]:
        """ir_measures per query, in the pool of one language or of all."""

        def pool(passages: dict[str, Any]) -> dict[str, Any]:
            return {p: v for p, v in passages.items() if language in (None, self.languages[p])}

        qrels = {query: pool(grades) for query, grades in self.qrels.items()}
        qrels = {query: grades for query, grades in qrels.items() if any(grades.values())}
        run = {query: pool(passages) for query, passages in self.scores().items() if query in qrels}
        return {m.query_id: m.value for m in ir_measures.iter_calc([measure], qrels, run)}


@pytest.fixture(scope="module")
def problem() -> Problem:
    rng = np.random.default_rng(3)
    names = ("de", "en", "sw")
    query_ids = [f"q{n}" for n in rng.permutation(60)]
    passage_ids = [f"d{n}" for n in rng.permutation(300)]
    languages = {id_: str(rng.choice(names)) for id_ in (*query_ids, *passage_ids)}
    qrels = {
        query: {str(p): int(rng.integers(0, 4)) for p in rng.choice(passage_ids, 12, False)}
        for query in query_ids[:50]
    }
    task = Task.from_qrels(
        {id_: f"text of {id_}" for id_ in query_ids},
        {id_: f"text of {id_}" for id_ in passage_ids},
        qrels,
        languages=languages,
    )
    return Problem(languages, qrels, task, unit_vectors(rng, 60, 8), unit_vectors(rng, 300, 8))


@pytest.mark.parametrize("name", MEASURES)
def test_figures_equal_ir_measures(problem: Problem, name: str) -> None:
    """Means over queries within language pairs, then over pairs, of ir_measures' values."""
    report = evaluate(problem.task, problem.queries, problem.passages)
    cells: dict[tuple[str, str], list[float]] = {}
    pooled: dict[str, list[float]] = {}
    for language in problem.task.languages:
        for query, value in problem.by_query(MEASURES[name], language).items():
            cells.setdefault((problem.languages[query], language), []).append(value)
    for query, value in problem.by_query(MEASURES[name]).items():
        pooled.setdefault(problem.languages[query], []).append(value)
    pairs = {pair: np.mean(values) for pair, values in cells.items()}
    assert report.metric_by_pair(name) == pytest.approx(pairs, abs=1e-9)
    means = report.metric(name)
    own = [value for (query, passage), value in pairs.items() if query == passage]
    cross = [value for (query, passage), value in pairs.items() if query != passage]
    assert means.monolingual == pytest.approx(np.mean(own), abs=1e-9)
    assert means.cross_lingual == pytest.approx(np.mean(cross), abs=1e-9)
    multilingual = np.mean([np.mean(values) for values in pooled.values()])
    assert means.multilingual == pytest.approx(multilingual, abs=1e-9)


def test_the_typed_report_shows_what_its_file_holds(problem: Problem, tmp_path: Path) -> None:
    report = evaluate(problem.task, problem.queries, problem.passages, model="mine")
    assert not list(tmp_path.iterdir())
    report.write(tmp_path / "out")
    content = read_report(tmp_path / "out" / "report.json")
    assert content == report.to_dict() and content["model"] == "mine"
    assert report.map == report.metric("map")
    assert report.by_pair["en", "de"] == content["map_by_pair"]["en"]["de"]
    assert report.bias.rank_distance == content["bias"]["rank_distance"]["mean"]
    assert report.bias.language_kl == content["bias"]["language_kl"]["mean"]
    low, high = report.intervals["map.multilingual"]
    assert report.map.multilingual is not None and low < report.map.multilingual < high
    assert {"scores.npz", "report.html", "map_by_pair.png"} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }
    report.to_dict()["map"]["multilingual"] = 0.0
    assert report.map.multilingual > 0
    with pytest.raises(ValueError, match="'mapp' is not a metric; known: map, "):
        report.metric("mapp")


def test_tensors_and_other_float_types_give_the_same_ranks(problem: Problem) -> None:
    expected = evaluate(problem.task, problem.queries, problem.passages).to_dict()
    for convert in (torch.from_numpy, lambda array: array.astype(np.float64)):
        report = evaluate(problem.task, convert(problem.queries), convert(problem.passages))
        assert report.to_dict()["map_by_pair"] == expected["map_by_pair"]
    half = evaluate(
        problem.task, problem.queries.astype(np.float16), problem.passages.astype(np.float16)
    )
    assert half.map.multilingual == pytest.approx(expected["map"]["multilingual"], abs=0.02)


def test_a_task_of_one_language_has_no_cross_lingual_figure() -> None:
    task = Task.from_qrels({"q": "a"}, {"d": "b", "e": "c"}, {"q": {"e": 1}}, languages="en")
    report = evaluate(task, np.eye(2, 3)[1:], np.eye(2, 3))
    assert report.map.monolingual == 1 and report.map.cross_lingual is None
    assert report.bias.rank_distance is None


def changed(array: np.ndarray, row: int, value: float) -> np.ndarray:
    array = array.copy()
    array[row] *= value
    return array


@pytest.mark.parametrize(
    ("side", "change", "message"),
    [
        ("query", lambda a: a[:-1], "query_vectors: has 59 rows for 60 texts"),
        (
            "passage",
            lambda a: a[0],
            "passage_vectors: expected an array [rows, dimension], not [8]",
        ),
        ("passage", lambda a: a[:, :5], "dimension 8, passage_vectors of dimension 5"),
        ("query", lambda a: a.astype(int), "query_vectors: expected floats, not int64"),
        (
            "query",
            lambda a: changed(a, 7, np.nan),
            "1 of 60 rows have NaN or infinite values (first",
        ),
        ("passage", lambda a: changed(a, 7, np.inf), "1 of 300 rows have NaN or infinite values"),
        ("passage", lambda a: changed(a, 7, 3), "1 of 300 rows are not of norm 1 (first: row 7 of"),
        ("query", lambda a: a * 1.01, "60 of 60 rows are not of norm 1 (first: row 0 of norm 1.01"),
        ("query", lambda a: changed(a, 2, 0), "row 2 of norm 0); divide each row by its norm"),
    ],
)
def test_wrong_arrays_are_refused(problem: Problem, side: str, change: Any, message: str) -> None:
    arrays = {"query": problem.queries, "passage": problem.passages}
    if message.startswith("dimension"):
        cut = change(arrays[side])
        arrays[side] = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    else:
        arrays[side] = change(arrays[side])
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate(problem.task, arrays["query"], arrays["passage"])
