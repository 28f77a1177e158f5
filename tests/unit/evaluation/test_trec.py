"""TREC runs: those made elsewhere, and those that are saved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import metrics
from hybrid_dist.evaluation.evaluator import check_run_is_possible
from hybrid_dist.evaluation.names import passage_names, query_names
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task, backwards
from hybrid_dist.evaluation.trec import read_run, write_run
from hybrid_dist.evaluation.vectors import PrecomputedVectors
from hybrid_dist.reporting.evaluation_report import ReportOptions, evaluate_run, evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import (
    exact_vectors,
    make_task,
    order,
    parallel_task,
    random_task,
    unit_vectors,
)
from tests.support.vector_files import task_of, write


def listed(
    rng: np.random.Generator, task: Task, depth: int, tied: bool
) -> dict[str, dict[str, float]]:
    """A run with some passages for every query, by name."""
    names = passage_names(task)
    run = {}
    for query in query_names(task):
        scores = rng.integers(0, 4, depth) / 2 if tied else rng.random(depth)
        some = rng.choice(len(names), depth, replace=False)
        run[query] = {names[p]: float(score) for p, score in zip(some, scores, strict=True)}
    return run


def write_lines(file: Path, run: dict[str, dict[str, float]]) -> Path:
    rows = [
        f"{query} Q0 {passage} 1 {score!r} tag"
        for query, passages in run.items()
        for passage, score in passages.items()
    ]
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("depth", [3, 40])
def test_a_run_has_the_figures_of_trec_eval(tmp_path: Path, tied: bool, depth: int) -> None:
    rng = np.random.default_rng(depth + tied)
    task = random_task(rng, languages=3, queries=30, passages=60, most_answers=8)
    ids = [f"p{number:02d}" for number in range(len(task.passage_ids))]
    grades = rng.integers(1, 4, len(task.relevant))
    task = backwards(replace(task, passage_ids=ids, grades=grades))
    run = listed(rng, task, depth, tied)
    ranking = read_run(write_lines(tmp_path / "a.run", run), task).ranking(task)
    names = passage_names(task)
    qrels = {
        query: {
            names[p]: int(grade)
            for p, grade in zip(
                task.relevant[task.relevant_starts[q] : task.relevant_starts[q + 1]],
                task.grades[task.relevant_starts[q] : task.relevant_starts[q + 1]],
                strict=True,
            )
        }
        for q, query in enumerate(query_names(task))
    }
    measures = {"map", "ndcg_cut.10", "recall.100", "recall.10", "success.1"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    pairs = {
        "map": "map",
        "ndcg_at_10": "ndcg_cut_10",
        "recall_at_100": "recall_100",
        "recall_at_10": "recall_10",
        "accuracy": "success_1",
    }
    for ours, name in pairs.items():
        values = metrics.score(metrics.METRICS[ours][1], task, ranking).pooled
        expected = [theirs[query][name] for query in query_names(task)]
        assert values == pytest.approx(expected, abs=1e-9), ours


@pytest.mark.parametrize("ties", ["number", "trec_eval"])
def test_a_saved_run_scores_like_its_vectors(tmp_path: Path, ties: str) -> None:
    rng = np.random.default_rng(3)
    task = task_of(3, 20)
    task = backwards(task) if ties == "trec_eval" else task
    queries, passages = exact_vectors(rng, 60, 3), exact_vectors(rng, 60, 3)
    vectors = PrecomputedVectors(write(tmp_path / "v", task, queries, passages), task)
    one = evaluate_vectors(
        task, vectors, Ranks(), tmp_path / "a", report_options=ReportOptions(save_run=60)
    )
    run = read_run(tmp_path / "a" / "run.trec", task)
    two = evaluate_run(task, run, Ranks(), tmp_path / "b")
    for name in ("map", "ndcg_at_10", "map_by_pair", "bias", "consistency", "intervals"):
        assert two[name] == one[name]
    assert two["left_out"] == one["left_out"]
    assert list(two["left_out"]) == ["peer"]
    assert one["settings"]["ties"].startswith("as trec_eval" if ties == "trec_eval" else "by pass")
    first = (tmp_path / "a" / "run.trec").read_text().splitlines()[0].split()
    assert (len(first), first[1], first[3]) == (6, "Q0", "1")


def test_a_truncated_run_has_no_rank_distance(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    task = task_of(2, 20)
    queries, passages = unit_vectors(rng, 40), unit_vectors(rng, 40)
    vectors = PrecomputedVectors(write(tmp_path / "v", task, queries, passages), task)
    evaluate_vectors(
        task, vectors, Ranks(), tmp_path / "a", report_options=ReportOptions(save_run=5)
    )
    run = read_run(tmp_path / "a" / "run.trec", task)
    messages: list[str] = []
    report = evaluate_run(task, run, Ranks(), tmp_path / "b", messages.append)
    assert "relevant passages are not in the run" in report["left_out"]["rank_distance"]
    assert report["bias"]["rank_distance"]["mean"] is None
    assert 0 < report["consistency"]["rbo"]["mean"] < 1
    assert -1 <= report["consistency"]["mrc"]["mean"] <= 1
    assert report["map_at_20"]["multilingual"] < 1
    ranks = [place["rank"] for e in report["examples"]["worst"] for place in e["ranks"]]
    assert None in ranks
    assert "rank distance -" in messages[-2]


def test_infinite_scores_are_ranked_and_written_as_null(tmp_path: Path) -> None:
    task = task_of(1, 2)
    queries, passages = query_names(task), passage_names(task)
    run = {name: {passages[0]: np.inf, passages[1]: -np.inf} for name in queries}
    listed = read_run(write_lines(tmp_path / "run", run), task)
    report = evaluate_run(task, listed, Ranks(), tmp_path / "out")
    assert report["examples"]["best"][0]["found"][0]["score"] is None
    assert '<span class="note">-</span>' in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_scores_that_underflow_are_noted(tmp_path: Path) -> None:
    task = task_of(1)
    names = passage_names(task)
    run = {name: {names[0]: 1.0, names[1]: 1e-50} for name in query_names(task)}
    read = read_run(write_lines(tmp_path / "a.run", run), task)
    assert read.notes == ("4 scores of a.run underflow to 0 in float32",)


def test_a_run_deeper_than_the_pool_lists_all_passages(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    task = task_of(2, 5)
    folder = write(tmp_path / "v", task, unit_vectors(rng, 10), unit_vectors(rng, 10))
    report_options = ReportOptions(save_run=10**12)
    evaluate_vectors(
        task,
        PrecomputedVectors(folder, task),
        Ranks(),
        tmp_path / "a",
        report_options=report_options,
    )
    assert len((tmp_path / "a" / "run.trec").read_text().splitlines()) == 10 * 10


def test_a_run_that_does_not_fit_in_memory_is_refused() -> None:
    task = parallel_task(2, 10_000)
    check_run_is_possible(task, 10_000)
    with pytest.raises(UserError) as refusal:
        check_run_is_possible(task, 10**12)
    assert "20,000 queries of toy:nowhere are 400,000,000 lines" in str(refusal.value)
    assert "give 13,421 or fewer" in str(refusal.value)


def test_separate_pools_have_no_run(tmp_path: Path) -> None:
    task = make_task([0, 0], [1, 1, 1, 2], [[0, 1], [2, 3]], one_pool=False)
    rng = np.random.default_rng(5)
    folder = write(tmp_path / "v", task, unit_vectors(rng, 2), unit_vectors(rng, 4))
    with pytest.raises(UserError, match=r"toy:nowhere has a separate pool for each"):
        evaluate_vectors(
            task,
            PrecomputedVectors(folder, task),
            Ranks(),
            tmp_path / "o",
            report_options=ReportOptions(save_run=5),
        )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"a\.run: is empty, "),
        ([""], "has no line for any query in de, en"),
        (["u0_de Q0 de_1_0 1 0.5 tag"], r"no line for any query in en \(first: u1_de"),
        (["u0_de Q0 de_1_0 1 0.5"], r"a\.run:1: expected six columns"),
        (["u0_de Q0 de_1_0 1 high tag"], r"a\.run:1: 'high' is not a score"),
        (["u0_de Q0 de_1_0 1 1e39 tag"], r"a\.run:1: the score 1e39 is infinite in float32"),
        (["u0_de Q0 de_1_0 1 1e-50 tag"], r"its 1 scores are all 0 in float32 and would tie"),
        (["u0_de Q0 de_1_0 1 nan tag"], r"a\.run:1: 'nan' is not a score"),
        (["u0 Q0 de_1_0 1 0.5 tag"], r"1 queries are not in task toy \(first: u0\).* u0_de"),
        (["u0_de Q0 1_0 1 0.5 tag"], r"1 passages are not in task toy \(first: 1_0\).* de_1_0"),
        (["u0_de Q0 de_1_0 1 0.5 tag"] * 2, r"listed twice .*first: de_1_0 for u0_de"),
    ],
)
def test_bad_runs_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "a.run").write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(UserError, match=message):
        read_run(tmp_path / "a.run", task_of())


def test_queries_without_a_line_are_noted_and_score_0(tmp_path: Path) -> None:
    task = task_of()
    kept = ["u0_de Q0 de_1_0 1 0.5 tag", "u0_en Q0 de_1_0 1 0.5 tag", "u1_en Q0 en_2_0 1 2 tag"]
    (tmp_path / "a.run").write_text("\n".join(kept) + "\n")
    messages: list[str] = []
    run = read_run(tmp_path / "a.run", task)
    report = evaluate_run(task, run, Ranks(), tmp_path / "out", messages.append)
    assert "5 queries without a line in a.run score 0 (first: u1_de, u2_de" in messages[0]
    assert report["accuracy"]["monolingual"] == pytest.approx((1 / 4 + 1 / 4) / 2)


def test_ids_with_white_space_cannot_be_written_to_a_run(tmp_path: Path) -> None:
    task = make_task([0], [0, 0], [[0]], ["a query"])
    vectors = np.ones((1, 1))
    with pytest.raises(UserError, match="1 ids contain white space"):
        write_run(tmp_path / "a.run", task, TopK(np.zeros((1, 1), int), vectors, ""), "x")


def test_ties_go_as_in_trec_eval() -> None:
    """In reverse, ties go to the id that sorts last; nothing else changes."""
    rng = np.random.default_rng(6)
    task = random_task(rng, languages=3, queries=20, passages=30, most_answers=4)
    scores = exact_vectors(rng, 20, 2) @ exact_vectors(rng, 33, 2).T
    other = backwards(task)
    assert list(other.passage_ids) == list(task.passage_ids)[::-1]
    assert other.passage_texts[3:5] == list(task.passage_texts)[::-1][3:5]
    first = other.passage_ids[int(order(scores[:, ::-1])[0, 0])]
    tied = np.flatnonzero(scores[0] == scores[0].max())
    assert first == task.passage_ids[int(tied[-1])]
