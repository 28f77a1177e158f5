"""The table over runs."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.page import write_report
from hybrid_dist.evaluation.ranking import exact_ranks
from hybrid_dist.evaluation.report import build_report
from hybrid_dist.evaluation.search import top_k
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Shard
from hybrid_dist.studies.compare import COLUMNS, Comparison
from hybrid_dist.studies.compare import compare as compare_runs
from hybrid_dist.studies.compare_pages import write
from tests.unit.evaluation_problems import parallel_task, unit_vectors

MAPS = ("monolingual", "cross_lingual", "multilingual")


def make_run(
    runs: Path,
    name: str,
    maps: tuple[float | None, ...],
    distance: float | None,
    task: str = "toy",
    questions: int = 20,
) -> Path:
    report: dict[str, Any] = {
        "task": task,
        "model": f"model of {name}",
        "counts": {
            "questions": questions,
            "passages": 30,
            "by_language": {
                language: {"questions": questions // 2, "passages": 15} for language in ("de", "en")
            },
        },
        "map": dict(zip(MAPS, maps, strict=True)),
        "map_by_language": {"de": 0.5, "en": maps[2]},
        "bias": {"rank_distance": {"mean": distance}},
    }
    folder = runs / name / "eval" / task
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report), "utf-8")
    return runs / name


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [
        make_run(tmp_path, "mono", (0.9, 0.6, 0.2), 1685.25),
        make_run(tmp_path, "cross", (0.85, 0.8, 0.7004), 10.5),
        make_run(tmp_path, "hybrid", (0.9, 0.79, 0.7001), 15.0),
    ]


def compare(runs: list[Path], out: Path | None = None, task: str | None = None) -> Comparison:
    found = compare_runs(runs, task)
    if out is not None:
        write(found, out)
    return found


def shown(found: Comparison) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(*found.tables())
    return capture.get()


def test_the_table_and_its_best_cells(three: list[Path]) -> None:
    found = compare(three)
    assert found.runs == ("mono", "cross", "hybrid")
    assert found.rows()[0] == ["mono", "0.900", "0.600", "0.200", "1,685.2"]
    assert found.best() == [
        [False, True, False, False, False],
        [False, False, True, True, True],
        [False, True, False, True, False],
    ]
    assert re.search(r"cross .*0\.850 .*0\.800 .*0\.700 .*10\.5", shown(found))


def test_the_files(three: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "compared"
    compare(three, out)
    assert sorted(file.name for file in out.iterdir()) == [
        "map.png",
        "map_by_language.png",
        "rank_distance.png",
        "report.csv",
        "report.html",
        "report.json",
        "report.md",
        "report.tex",
    ]
    record = json.loads((out / "report.json").read_text("utf-8"))
    assert record["runs"]["cross"]["map.multilingual"] == 0.7004
    assert record["runs"]["mono"]["bias.rank_distance.mean"] == 1685.25
    told = (out / "report.md").read_text("utf-8")
    assert "| cross | 0.850 | **0.800** | **0.700** | **10.5** |" in told
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert '<td class="best">10.5</td>' in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_one_run_has_nothing_to_be_better_than(three: list[Path], tmp_path: Path) -> None:
    found = compare(three[:1], tmp_path / "out")
    assert not any(any(row) for row in found.best())


def test_a_task_of_one_language_has_dashes(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name, (0.5, None, 0.5), None) for name in ("a", "b")]
    found = compare(runs, tmp_path / "out")
    assert found.rows()[0] == ["a", "0.500", "-", "0.500", "-"]
    assert found.best()[0] == [False, True, False, True, False]
    assert not (tmp_path / "out" / "rank_distance.png").exists()


def test_many_runs_with_odd_names(tmp_path: Path) -> None:
    names = [f"_run $x$ <{number}> [bold]" for number in range(12)]
    runs = [make_run(tmp_path, name, (0.1, 0.2, 0.3), 2.0) for name in names]
    found = compare(runs, tmp_path / "out")
    assert "[bold]" in shown(found)
    assert "&lt;3&gt;" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / place, "run", (0.1, 0.2, 0.3), 2.0) for place in ("x", "y")]
    assert compare(runs).runs == ("x/run", "y/run")
    with pytest.raises(UserError, match="was given twice"):
        compare([runs[0], runs[0]])


def evaluated(tmp_path: Path, name: str, noise: float, task: Task | None = None) -> Path:
    """A report of vectors that lie so far from the right ones."""
    task = task or parallel_task(languages=3, per_language=40)
    rng = np.random.default_rng(1)
    meant = np.tile(unit_vectors(rng, 40), (3, 1))[: len(task.passage_ids)]
    asked, told = (meant + noise * unit_vectors(rng, len(meant)) for _ in range(2))
    scores = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (asked, told)]
    ranks = Ranks()
    shard = Shard.of(0, scores[1].astype(np.float32), ranks.device)
    questions = scores[0].astype(np.float32)
    ranking, top = (
        exact_ranks(task, questions, [shard], ranks),
        top_k(questions, [shard], 10, ranks),
    )
    report = build_report(task, f"model of {name}", ranking, top, {}, {}, {})
    write_report(tmp_path / name / "toy", report)
    return tmp_path / name


def test_runs_on_the_same_questions_are_paired(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, name, noise) for name, noise in (("a", 1.6), ("b", 0.8))]
    found = compare(runs, tmp_path / "out")
    assert found.paired.refused == {} and set(found.paired.differences) == {"b"}
    told = found.paired.differences["b"]["map.multilingual"]
    apart = [report["map"]["multilingual"] for report in found.reports]
    assert told.value == pytest.approx(apart[1] - apart[0], abs=1e-6)
    assert 0 < told.low < told.value < told.high and told.p < 0.002
    assert found.paired.differences["b"]["bias.rank_distance.mean"].value < 0
    assert found.sure() == [[False, True, True, True, True]]
    assert found.rows()[0][1].count(" to ") == 1
    terminal = shown(found)
    assert "Differences from a" in terminal and "p < 0.001" in terminal
    lines = (tmp_path / "out" / "report.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(COLUMNS)
    assert float(lines[7].split(",")[5]) == pytest.approx(told.value)
    assert "## Differences from a" in (tmp_path / "out" / "report.md").read_text()
    assert "Differences from a" in (tmp_path / "out" / "report.html").read_text()
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert record["runs"]["b"]["differences"]["map.multilingual"]["p"] == told.p


def test_a_run_differs_from_itself_by_nothing(tmp_path: Path) -> None:
    one = evaluated(tmp_path, "a", 1.0)
    shutil.copytree(one, tmp_path / "b")
    found = compare([one, tmp_path / "b"])
    assert {(d.value, d.p) for d in found.paired.differences["b"].values()} == {(0.0, 1.0)}
    assert not any(found.sure()[0])


def test_runs_that_cannot_be_paired_say_why(tmp_path: Path, three: list[Path]) -> None:
    found = compare(three, tmp_path / "out")
    assert found.paired.differences == {}
    assert found.paired.refused["mono"] == "its report has no scores.npz; evaluate it again"
    assert "mono is not paired: its report" in (tmp_path / "out" / "report.html").read_text()
    task = parallel_task(languages=3, per_language=40)
    ids = [f"v{name}" for name in task.question_ids]
    runs = [
        evaluated(tmp_path, "a", 1.0),
        evaluated(tmp_path, "b", 1.0, replace(task, question_ids=ids)),
        evaluated(tmp_path, "c", 1.0),
    ]
    (runs[2] / "toy" / "scores.npz").write_bytes(b"")
    refused = compare(runs).paired.refused
    assert refused["b"].startswith("240 questions are in one of them only (first: u0 in l00")
    assert "not the scores of an evaluation" in refused["c"]


def test_a_table_for_a_paper(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, name, noise) for name, noise in (("a_1", 1.6), ("50%", 0.8))]
    compare(runs, tmp_path / "out")
    table = (tmp_path / "out" / "report.tex").read_text()
    assert r"a\_1 & " in table and r"50\% & \textbf{" in table
    body = table[table.index(r"\midrule") : table.index(r"\bottomrule")].splitlines()[1:]
    assert all(line.endswith(r"\\") and line.count(" & ") == 4 for line in body)
    assert table.splitlines()[0].startswith("% toy: ")


def test_no_run_is_refused() -> None:
    with pytest.raises(UserError, match="no run was given"):
        compare([])


def test_a_run_without_a_report_is_named(three: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no report at .*empty/NAME/report.json"):
        compare([*three, tmp_path / "empty"])
    with pytest.raises(UserError, match=r"mono: no report at .*evaluate the run on xquad_r first"):
        compare(three, task="xquad_r")


def test_other_data_under_one_name_is_refused(three: list[Path], tmp_path: Path) -> None:
    other = make_run(tmp_path, "other", (0.1, 0.2, 0.3), 2.0, questions=40)
    with pytest.raises(UserError, match=r"other: its task toy is not that of .*40 questions"):
        compare([*three, other])


def test_runs_of_different_tasks_are_refused(three: list[Path], tmp_path: Path) -> None:
    other = make_run(tmp_path, "other", (0.1, 0.2, 0.3), 2.0, task="pairs")
    with pytest.raises(UserError, match="no tasks in common"):
        compare([three[0], other])


def test_of_several_tasks_one_is_named(three: list[Path], tmp_path: Path) -> None:
    for run in three:
        report = json.loads((run / "eval/toy/report.json").read_text())
        (run / "eval/pairs").mkdir()
        (run / "eval/pairs/report.json").write_text(json.dumps({**report, "task": "pairs"}))
    with pytest.raises(UserError, match=r"2 tasks in common .*--task"):
        compare(three)
    assert compare(three, task="pairs").task == "pairs"


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_report_is_named(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path, "a", (0.1, 0.2, 0.3), 2.0)
    (run / "eval/toy/report.json").write_text(text)
    with pytest.raises(UserError, match=r"report\.json: not a report"):
        compare([run])


def test_lower_is_better_for_rank_distance_alone() -> None:
    assert [column.name for column in COLUMNS if column.lower_is_better] == ["Rank distance"]
