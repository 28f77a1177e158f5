"""The table over runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hybrid_dist.errors import UserError
from hybrid_dist.studies.compare import COLUMNS, Comparison, compare

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


def shown(found: Comparison) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(found.table())
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
        "report.html",
        "report.json",
        "report.md",
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
