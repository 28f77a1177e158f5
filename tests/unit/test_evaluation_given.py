"""What was made elsewhere: folders of vectors, and TREC runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import metrics
from hybrid_dist.evaluation.evaluate import Wanted, evaluate_run, evaluate_vectors
from hybrid_dist.evaluation.given import GivenVectors
from hybrid_dist.evaluation.names import passage_names, question_names
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task, backwards
from hybrid_dist.evaluation.trec import read_run, write_run
from tests.unit.evaluation_problems import (
    exact_vectors,
    make_task,
    order,
    parallel_task,
    random_task,
    sorted_ranks,
    unit_vectors,
)


def task_of(languages: int = 2, per_language: int = 4) -> Task:
    task = parallel_task(languages, per_language)
    ids = [f"{number + 1}_0" for number in range(per_language)] * languages
    return replace(task, languages=("de", "en", "fr")[:languages], passage_ids=ids)


def write(folder: Path, task: Task, questions: np.ndarray, passages: np.ndarray) -> Path:
    """Rows in another order than the task's."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for array, ids, vectors, names in (
        ("queries.npy", "query_ids.txt", questions, question_names(task)),
        ("corpus.npy", "corpus_ids.txt", passages, passage_names(task)),
    ):
        rows = rng.permutation(len(names))
        np.save(folder / array, vectors[rows])
        (folder / ids).write_text("\n".join(names[row] for row in rows) + "\n", "utf-8")
    return folder


def test_names_are_lareqa_s_where_there_are_several_languages() -> None:
    task = task_of()
    assert question_names(task)[:2] == ["u0_de", "u1_de"]
    assert passage_names(task)[4:6] == ["en_1_0", "en_2_0"]
    alone = make_task([0], [0, 0], [[0]])
    assert (question_names(alone), passage_names(alone)) == (["q0"], ["p0", "p1"])


@pytest.mark.parametrize("scale", [1.0, 2.0**-9, 4096.0])
def test_vectors_are_scored_as_they_are(tmp_path: Path, scale: float) -> None:
    """By inner products, of whatever lengths: as from a full sort, ties included."""
    rng = np.random.default_rng(1)
    task = task_of(3, 40)
    asked, told = exact_vectors(rng, 120, 4), exact_vectors(rng, 120, 4)
    vectors = GivenVectors(write(tmp_path / "v", task, asked * scale, told * scale), task)
    report = evaluate_vectors(
        task, vectors, Ranks(), tmp_path / "out", wanted=Wanted(vectors.settings)
    )
    ranks = metrics.Hits(
        task.pair_question, sorted_ranks(task, asked @ told.T)[1], task.grades, 120
    )
    expected = metrics.by_language(task, metrics.average_precision(ranks)).mean()
    assert report["map"]["multilingual"] == pytest.approx(expected, abs=1e-9)
    assert "lengths" in report["settings"]["vectors"]


Change = Callable[[Path], object]


def lines(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")


def array(file: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(file, change(np.load(file)))


def with_nan(vectors: np.ndarray) -> np.ndarray:
    vectors[[1, 3, 5, 6], 0] = np.nan
    return vectors


BAD: dict[str, tuple[Change, str]] = {
    "a file is missing": (lambda f: (f / "query_ids.txt").unlink(), r"no query_ids\.txt in it"),
    "an array is missing": (lambda f: (f / "corpus.npy").unlink(), r"no corpus\.npy in it"),
    "a language is missing": (
        lambda f: (
            lines(f / "corpus_ids.txt", lambda x: [i for i in x if i.startswith("de")]),
            array(f / "corpus.npy", lambda v: v[:4]),
        ),
        r"corpus_ids\.txt: 4 of the 8 ids of task toy .*first: en_1_0, en_2_0, en_3_0; all of en",
    ),
    "ids that are not the task's": (
        lambda f: lines(f / "query_ids.txt", lambda x: [f"x{i}" for i in x]),
        r"8 of the 8 ids .*it begins with xu",
    ),
    "an id too many": (
        lambda f: (
            lines(f / "query_ids.txt", lambda x: [*x, "u9_de", "u9_en"]),
            array(f / "queries.npy", lambda v: np.concatenate([v, v[:2]])),
        ),
        r"2 of its 10 ids are not in task toy \(first: u9_de, u9_en\); .* as in u0_de",
    ),
    "an id twice": (
        lambda f: (
            lines(f / "query_ids.txt", lambda x: [*x, x[0]]),
            array(f / "queries.npy", lambda v: np.concatenate([v, v[:1]])),
        ),
        r"query_ids\.txt: 1 ids come again \(first: u\d_",
    ),
    "rows without ids": (
        lambda f: array(f / "queries.npy", lambda v: v[:5]),
        r"queries\.npy has 5 rows, query_ids\.txt 8 lines",
    ),
    "vectors of two sizes": (
        lambda f: array(f / "corpus.npy", lambda v: v[:, :7]),
        r"queries\.npy has vectors of 48 numbers, corpus\.npy of 7",
    ),
    "no table": (lambda f: array(f / "corpus.npy", lambda v: v[0]), r"expected an array \[rows"),
    "whole numbers": (
        lambda f: array(f / "corpus.npy", lambda v: v.astype(int)),
        r"floats, found int64",
    ),
    "NaN": (
        lambda f: array(f / "corpus.npy", with_nan),
        r"corpus\.npy: 4 vectors have NaN .*\(first: \w+, \w+, \w+\)",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_vectors_are_named(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(2)
    task = task_of()
    folder = write(tmp_path / "v", task, unit_vectors(rng, 8), unit_vectors(rng, 8))
    GivenVectors(folder, task)
    change, told = BAD[kind]
    change(folder)
    with pytest.raises(UserError, match=told):
        GivenVectors(folder, task)


def listed(
    rng: np.random.Generator, task: Task, depth: int, tied: bool
) -> dict[str, dict[str, float]]:
    """Some passages of every question, by their names."""
    names = passage_names(task)
    run = {}
    for question in question_names(task):
        scores = rng.integers(0, 4, depth) / 2 if tied else rng.random(depth)
        some = rng.choice(len(names), depth, replace=False)
        run[question] = {names[p]: float(score) for p, score in zip(some, scores, strict=True)}
    return run


def write_lines(file: Path, run: dict[str, dict[str, float]]) -> Path:
    rows = [
        f"{question} Q0 {passage} 1 {score!r} tag"
        for question, found in run.items()
        for passage, score in found.items()
    ]
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("depth", [3, 40])
def test_a_run_has_trec_eval_s_figures(tmp_path: Path, tied: bool, depth: int) -> None:
    rng = np.random.default_rng(depth + tied)
    task = random_task(rng, languages=3, questions=30, passages=60, most_answers=8)
    ids = [f"p{number:02d}" for number in range(len(task.passage_ids))]
    grades = rng.integers(1, 4, len(task.relevant))
    task = backwards(replace(task, passage_ids=ids, grades=grades))
    run = listed(rng, task, depth, tied)
    ranking = read_run(write_lines(tmp_path / "a.run", run), task).ranking(task)
    names = passage_names(task)
    qrels = {
        question: {
            names[p]: int(grade)
            for p, grade in zip(
                task.relevant[task.relevant_starts[q] : task.relevant_starts[q + 1]],
                task.grades[task.relevant_starts[q] : task.relevant_starts[q + 1]],
                strict=True,
            )
        }
        for q, question in enumerate(question_names(task))
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
        found = metrics.score(metrics.METRICS[ours][1], task, ranking).pooled
        expected = [theirs[question][name] for question in question_names(task)]
        assert found == pytest.approx(expected, abs=1e-9), ours


@pytest.mark.parametrize("ties", ["number", "trec_eval"])
def test_a_saved_run_scores_as_its_vectors_did(tmp_path: Path, ties: str) -> None:
    rng = np.random.default_rng(3)
    task = task_of(3, 20)
    task = backwards(task) if ties == "trec_eval" else task
    asked, told = exact_vectors(rng, 60, 3), exact_vectors(rng, 60, 3)
    vectors = GivenVectors(write(tmp_path / "v", task, asked, told), task)
    one = evaluate_vectors(task, vectors, Ranks(), tmp_path / "a", wanted=Wanted(save_run=60))
    run = read_run(tmp_path / "a" / "run.trec", task)
    two = evaluate_run(task, run, Ranks(), tmp_path / "b")
    for name in ("map", "ndcg_at_10", "map_by_pair", "bias", "intervals"):
        assert two[name] == one[name]
    assert two["left_out"] == {}
    assert one["settings"]["ties"].startswith("as trec_eval" if ties == "trec_eval" else "by pass")
    first = (tmp_path / "a" / "run.trec").read_text().splitlines()[0].split()
    assert (len(first), first[1], first[3]) == (6, "Q0", "1")


def test_a_run_of_the_first_passages_has_no_rank_distance(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    task = task_of(2, 20)
    asked, told = unit_vectors(rng, 40), unit_vectors(rng, 40)
    vectors = GivenVectors(write(tmp_path / "v", task, asked, told), task)
    evaluate_vectors(task, vectors, Ranks(), tmp_path / "a", wanted=Wanted(save_run=5))
    run = read_run(tmp_path / "a" / "run.trec", task)
    said: list[str] = []
    report = evaluate_run(task, run, Ranks(), tmp_path / "b", said.append)
    assert "right answers are not in the run" in report["left_out"]["rank_distance"]
    assert report["bias"]["rank_distance"]["mean"] is None
    assert report["map_at_20"]["multilingual"] < 1
    ranks = [place["rank"] for e in report["examples"]["worst"] for place in e["ranks"]]
    assert None in ranks
    assert "rank distance -" in said[-2]


def test_a_pool_that_is_kept_apart_gives_no_run(tmp_path: Path) -> None:
    task = make_task([0, 0], [1, 1, 1, 2], [[0, 1], [2, 3]], one_pool=False)
    rng = np.random.default_rng(5)
    folder = write(tmp_path / "v", task, unit_vectors(rng, 2), unit_vectors(rng, 4))
    with pytest.raises(UserError, match=r"--save-run: .* keeps the passages .* apart"):
        evaluate_vectors(
            task, GivenVectors(folder, task), Ranks(), tmp_path / "o", wanted=Wanted(save_run=5)
        )


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([""], "lists nothing for any question in de, en"),
        (["u0_de Q0 de_1_0 1 0.5 tag"], r"nothing for any question in en \(first: u1_de"),
        (["u0_de Q0 de_1_0 1 0.5"], r"a\.run:1: expected six columns"),
        (["u0_de Q0 de_1_0 1 high tag"], r"a\.run:1: 'high' is no score"),
        (["u0_de Q0 de_1_0 1 nan tag"], r"a\.run:1: 'nan' is no score"),
        (["u0 Q0 de_1_0 1 0.5 tag"], r"1 questions are not in task toy \(first: u0\).* u0_de"),
        (["u0_de Q0 1_0 1 0.5 tag"], r"1 passages are not in task toy \(first: 1_0\).* de_1_0"),
        (["u0_de Q0 de_1_0 1 0.5 tag"] * 2, r"listed twice .*first: de_1_0 for u0_de"),
    ],
)
def test_bad_runs_are_named(tmp_path: Path, lines: list[str], told: str) -> None:
    (tmp_path / "a.run").write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(UserError, match=told):
        read_run(tmp_path / "a.run", task_of())


def test_questions_without_a_line_are_told_and_score_0(tmp_path: Path) -> None:
    task = task_of()
    kept = ["u0_de Q0 de_1_0 1 0.5 tag", "u0_en Q0 de_1_0 1 0.5 tag", "u1_en Q0 en_2_0 1 2 tag"]
    (tmp_path / "a.run").write_text("\n".join(kept) + "\n")
    said: list[str] = []
    run = read_run(tmp_path / "a.run", task)
    report = evaluate_run(task, run, Ranks(), tmp_path / "out", said.append)
    assert "5 questions of which a.run lists nothing score 0 (first: u1_de, u2_de" in said[0]
    assert report["accuracy"]["monolingual"] == pytest.approx((1 / 4 + 1 / 4) / 2)


def test_ids_with_blanks_make_no_run(tmp_path: Path) -> None:
    task = make_task([0], [0, 0], [[0]], ["a question"])
    vectors = np.ones((1, 1))
    with pytest.raises(UserError, match="1 ids have blanks"):
        write_run(tmp_path / "a.run", task, TopK(np.zeros((1, 1), int), vectors, ""), "x")


def test_ties_go_as_in_trec_eval() -> None:
    """Backwards, a task's ties go to the id that sorts last; all else stays."""
    rng = np.random.default_rng(6)
    task = random_task(rng, languages=3, questions=20, passages=30, most_answers=4)
    scores = exact_vectors(rng, 20, 2) @ exact_vectors(rng, 33, 2).T
    other = backwards(task)
    assert list(other.passage_ids) == list(task.passage_ids)[::-1]
    assert other.passage_texts[3:5] == list(task.passage_texts)[::-1][3:5]
    first = other.passage_ids[int(order(scores[:, ::-1])[0, 0])]
    tied = np.flatnonzero(scores[0] == scores[0].max())
    assert first == task.passage_ids[int(tied[-1])]
