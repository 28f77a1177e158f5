"""Comparisons of runs."""

import csv
import errno
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from rich.console import Console

from hybrid_dist.commands import compare as command
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bootstrap import MIN_IDS
from hybrid_dist.evaluation.per_query import PerQuery, _checksum
from hybrid_dist.evaluation.ranking import exact_ranks
from hybrid_dist.evaluation.search import top_k
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Shard
from hybrid_dist.reporting.comparison import COLUMNS, Comparison
from hybrid_dist.reporting.comparison import compare as compare_runs
from hybrid_dist.reporting.comparison_pages import write
from hybrid_dist.reporting.matrix import BETTER, OPEN, WORSE
from hybrid_dist.reporting.page import write_report
from hybrid_dist.reporting.report import build_report, figures
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.tracking.report_json import read_report
from tests.support import stored_reports
from tests.support.evaluation_problems import parallel_task, unit_vectors


def make_run(
    runs: Path,
    name: str,
    maps: tuple[float | None, ...],
    distance: float | None,
    task: str = "toy",
    queries: int = 20,
) -> Path:
    content = stored_reports.report(maps, distance, f"model of {name}", task, queries)
    stored_reports.write(runs / name / "eval" / task / "report.json", content)
    return runs / name


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [
        make_run(tmp_path, "mono", (0.9, 0.6, 0.2), 1685.25),
        make_run(tmp_path, "cross", (0.85, 0.8, 0.7004), 10.5),
        make_run(tmp_path, "hybrid", (0.9, 0.79, 0.7001), 15.0),
    ]


def compare(runs: list[Path], out: Path | None = None, task: str | None = None) -> Comparison:
    comparison = compare_runs(runs, task)
    if out is not None:
        write(comparison, out)
    return comparison


def shown(comparison: Comparison) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(*comparison.tables())
    return capture.get()


def test_folders_of_single_reports_are_compared_too(three: list[Path], tmp_path: Path) -> None:
    reports = [run / "eval" / "toy" for run in three]
    assert compare(reports).runs == ("mono/eval/toy", "cross/eval/toy", "hybrid/eval/toy")
    assert [row[1:] for row in compare(reports).rows()] == [
        row[1:] for row in compare(three).rows()
    ]
    assert compare([three[0], reports[1]]).task == "toy"
    other = make_run(tmp_path, "other", (0.5, 0.5, 0.5), 1.0, "pairs") / "eval" / "pairs"
    with pytest.raises(UserError, match=r"other/eval/pairs: is the report on pairs, not on toy"):
        compare([three[0], other], task="toy")


def test_the_table_and_its_best_cells(three: list[Path]) -> None:
    comparison = compare(three)
    assert comparison.runs == ("mono", "cross", "hybrid")
    assert comparison.rows()[0] == ["mono", "0.900", "0.600", "0.200", "1,685.2"]
    assert comparison.best() == [
        [False, True, False, False, False],
        [False, False, True, True, True],
        [False, True, False, True, False],
    ]
    assert re.search(r"cross .*0\.850 .*0\.800 .*0\.700 .*10\.5", shown(comparison))


def test_the_command_ends_with_the_result_and_the_report(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([*map(str, three), "--out", str(tmp_path / "out")])
    *_, result, last = capsys.readouterr().out.splitlines()
    assert result.startswith("Best run by mAP monolingual: mono and hybrid (0.900); by mAP cross")
    assert last == f"The report: {tmp_path / 'out' / 'report.html'}"


def test_long_names_are_shown_whole(tmp_path: Path) -> None:
    names = [f"{'long' * 12}-{end}" for end in ("first", "second")]
    runs = [make_run(tmp_path, name, (0.9, 0.6, 0.2), 1685.25) for name in names]
    rows = [line.split("│")[1].strip() for line in shown(compare(runs)).splitlines() if "│" in line]
    assert names[0] in "".join(rows) and names[1] in "".join(rows)


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
    text = (out / "report.md").read_text("utf-8")
    assert "| cross | 0.850 | **0.800** | **0.700** | **10.5** |" in text
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert '<td class="best">10.5</td>' in page
    assert not re.search(r'(src|href)="(?!data:)', page), "these reports have no page to link"
    assert (
        "Best run by mAP monolingual: mono and hybrid (0.900); by mAP cross-lingual: cross ("
        in page
    )


def test_a_single_run_has_no_best_cells(three: list[Path], tmp_path: Path) -> None:
    comparison = compare(three[:1], tmp_path / "out")
    assert not any(any(row) for row in comparison.best())


def test_a_task_of_one_language_has_dashes(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name, (0.5, None, 0.5), None) for name in ("a", "b")]
    comparison = compare(runs, tmp_path / "out")
    assert comparison.rows()[0] == ["a", "0.500", "-", "0.500", "-"]
    assert comparison.best()[0] == [False, True, False, True, False]
    assert not (tmp_path / "out" / "rank_distance.png").exists()


def test_many_runs_with_odd_names(tmp_path: Path) -> None:
    names = [f"_run $x$ <{number}> [bold]" for number in range(12)]
    runs = [make_run(tmp_path, name, (0.1, 0.2, 0.3), 2.0) for name in names]
    comparison = compare(runs, tmp_path / "out")
    assert "[bold]" in shown(comparison)
    assert "&lt;3&gt;" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_equal_names_are_made_distinct(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / place, "run", (0.1, 0.2, 0.3), 2.0) for place in ("x", "y")]
    assert compare(runs).runs == ("x/run", "y/run")
    with pytest.raises(UserError, match="was given twice"):
        compare([runs[0], runs[0]])


def evaluated(tmp_path: Path, name: str, noise: float, task: Task | None = None) -> Path:
    """A report of queries and passages that are noisy copies of the same vectors."""
    task = task or parallel_task(languages=3, per_language=40)
    rng = np.random.default_rng(1)
    meant = np.tile(unit_vectors(rng, 40), (3, 1))[: len(task.passage_ids)]
    noisy = [meant + noise * unit_vectors(rng, len(meant)) for _ in range(2)]
    queries, passages = (
        (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in noisy
    )
    ranks = Ranks()
    shards = [Shard.of(0, passages, ranks.device)]
    ranking, top = exact_ranks(task, queries, shards, ranks), top_k(queries, shards, 10, ranks)
    report = build_report(task, f"model of {name}", ranking, top, {}, {}, {})
    write_report(tmp_path / name / "toy", report)
    return tmp_path / name


def test_runs_on_the_same_queries_are_paired(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, name, noise) for name, noise in (("a", 1.6), ("b", 0.8))]
    comparison = compare(runs, tmp_path / "out")
    assert comparison.paired.refused == {} and set(comparison.paired.differences) == {"b"}
    difference = comparison.paired.differences["b"]["map.multilingual"]
    apart = [report["map"]["multilingual"] for report in comparison.reports]
    assert difference.value == pytest.approx(apart[1] - apart[0], abs=1e-6)
    assert 0 < difference.low < difference.value < difference.high and difference.p < 0.002
    assert comparison.paired.differences["b"]["bias.rank_distance.mean"].value < 0
    assert comparison.significant() == [[False, True, True, True, True]]
    assert comparison.verdicts() == [["", "better", "better", "better", "better"]]
    assert compare(runs[::-1]).verdicts() == [["", "worse", "worse", "worse", "worse"]]
    assert "▲ -" in comparison.difference_rows()[0][4], "a smaller rank distance is better"
    assert comparison.rows()[0][1].count(" to ") == 1
    terminal = shown(comparison)
    assert "Differences from a" in terminal and "p < 0.001" in terminal
    lines = (tmp_path / "out" / "report.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(COLUMNS)
    assert float(lines[7].split(",")[5]) == pytest.approx(difference.value)
    assert "## Differences from a" in (tmp_path / "out" / "report.md").read_text()
    assert "Differences from a" in (tmp_path / "out" / "report.html").read_text()
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert record["runs"]["b"]["differences"]["map.multilingual"]["p"] == difference.p


def test_every_two_runs_are_tested_and_the_page_says_what_changed(tmp_path: Path) -> None:
    named = [("a", 1.6), ("b", 0.8), ("c", 1.6001)]
    runs = [evaluated(tmp_path / "some runs", name, noise) for name, noise in named]
    (runs[1] / "config.yaml").write_text("optim:\n  lr: 0.5\n")
    (runs[1] / "toy").rename(tmp_path / "toy")
    (runs[1] / "eval").mkdir()
    (tmp_path / "toy").rename(runs[1] / "eval" / "toy")
    comparison = compare(runs, tmp_path / "out")
    found = comparison.paired.pairwise
    assert list(found) == [("b", "a"), ("c", "a"), ("c", "b")]
    assert found["c", "b"]["map.multilingual"].value == pytest.approx(
        -found["b", "a"]["map.multilingual"].value, abs=0.01
    )
    record = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    last = record["every_two_runs"][2]
    assert (last["run"], last["minus"]) == ("c", "b")
    assert last["map.multilingual"]["value"] == found["c", "b"]["map.multilingual"].value
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "b against a: better in mAP monolingual (+" in page
    assert "c against a: not significantly different in mAP monolingual (" in page
    assert '<td class="better">▲ +' in page and '<td class="open">○ ' in page
    assert '<td class="worse">▼ -' in page, "of c - b"
    assert '<th scope="row">optim.lr</th><td class="text">-</td><td class="text">0.5</td>' in page
    links = re.findall(r'href="([^"]*)"', page)
    assert links[1] == "../some%20runs/b/eval/toy/report.html"
    assert all((tmp_path / "out" / unquote(link)).is_file() for link in links)


def test_settings_of_the_runs_of_a_study_are_compared(tmp_path: Path) -> None:
    """Their reports on a further task are in eval-LABEL."""
    places = []
    for lr in ("0.5", "0.25"):
        place = evaluated(tmp_path / lr, "eval-all", 1.0)
        (place.parent / "config.yaml").write_text(f"optim:\n  lr: {lr}\n")
        places.append(place)
    compare(places, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    row = "".join(f'<td class="text">{lr}</td>' for lr in ("0.5", "0.25"))
    assert f'<th scope="row">optim.lr</th>{row}' in page


def test_differences_by_language_by_pair_and_by_query(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, name, noise) for name, noise in (("a", 1.6), ("b", 0.8))]
    comparison = compare(runs, tmp_path / "out")
    found = comparison.paired.by_language["b"]
    by_language, by_pair = (
        [report[f"map_by_{key}"] for report in comparison.reports] for key in ("language", "pair")
    )
    for number, name in enumerate(found.languages):
        apart = by_language[1][name] - by_language[0][name]
        assert found.pooled.values[number] == pytest.approx(apart, abs=1e-6)
        apart = by_pair[1]["l00"][name] - by_pair[0]["l00"][name]
        assert found.pairs.values[0, number] == pytest.approx(apart, abs=1e-6)
    assert set(found.pooled.marks) == {BETTER} and set(found.distance.marks) == {BETTER}
    changes = [q.after - q.before for q in found.queries if q.language == "l01"]
    scores = [PerQuery.load(run / "toy/scores.npz") for run in runs]
    all_changes = scores[1].pooled["map.multilingual"] - scores[0].pooled["map.multilingual"]
    ordered = np.sort(all_changes[scores[0].language == 1])
    better = [value for value in ordered[::-1][:3] if value > 0]
    assert changes == pytest.approx([*better, *(v for v in ordered[:3] if v < 0)])
    assert {q.text for q in found.queries} <= set(parallel_task(3, 40).query_texts)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert '"name":"mAP of b"' in page and '"name":"b - a"' in page
    spans = re.findall(r'"name":"mAP of .","digits":3,"span":(\[[^]]*\])', page)
    assert len(spans) == 2 and len(set(spans)) == 1, "one colour scale"
    backwards = compare(runs[::-1]).paired.by_language["a"]
    assert set(backwards.pooled.marks) == {WORSE}


def test_figures_of_few_query_ids_are_not_tested(tmp_path: Path) -> None:
    task = parallel_task(languages=2, per_language=MIN_IDS - 1)
    runs = [evaluated(tmp_path, name, noise, task) for name, noise in (("a", 3.0), ("b", 0.1))]
    comparison = compare(runs, tmp_path / "out")
    found = comparison.paired.by_language["b"]
    assert set(found.pairs.marks.ravel()) | set(found.pooled.marks) == {OPEN}
    assert comparison.verdicts() == [["", "open", "open", "open", "open"]]
    assert comparison.difference_rows()[0][1].endswith("; no test")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "b against a: not tested in mAP monolingual (" in page
    record = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert record["runs"]["b"]["differences"]["map.monolingual"]["p"] is None
    assert "nan" not in (tmp_path / "out" / "report.csv").read_text("utf-8")


def test_equal_runs_are_marked_open(tmp_path: Path) -> None:
    one = evaluated(tmp_path, "a", 1.0)
    shutil.copytree(one, tmp_path / "b")
    comparison = compare([one, tmp_path / "b"])
    found = comparison.paired.by_language["b"]
    assert set(found.pairs.marks.ravel()) == {OPEN} and found.queries == []
    assert comparison.verdicts() == [["", "open", "open", "open", "open"]]


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    one = evaluated(tmp_path, "a", 1.0)
    shutil.copytree(one, tmp_path / "b")
    comparison = compare([one, tmp_path / "b"])
    assert {(d.value, d.p) for d in comparison.paired.differences["b"].values()} == {(0.0, 1.0)}
    assert not any(comparison.significant()[0])


def test_runs_that_cannot_be_paired_have_a_reason(tmp_path: Path, three: list[Path]) -> None:
    comparison = compare(three, tmp_path / "out")
    assert comparison.paired.differences == {}
    assert comparison.paired.refused["mono"] == "its report has no scores.npz; evaluate it again"
    assert "mono is not paired: its report" in (tmp_path / "out" / "report.html").read_text()
    task = parallel_task(languages=3, per_language=40)
    ids = [f"v{name}" for name in task.query_ids]
    runs = [
        evaluated(tmp_path, "a", 1.0),
        evaluated(tmp_path, "b", 1.0, replace(task, query_ids=ids)),
        evaluated(tmp_path, "c", 1.0),
    ]
    (runs[2] / "toy" / "scores.npz").write_bytes(b"")
    refused = compare(runs).paired.refused
    assert refused["b"].startswith("240 queries are in one of them only (first: u0 in l00")
    assert "cannot be read as the scores of an evaluation" in refused["c"]


def test_a_table_for_a_paper(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, name, noise) for name, noise in (("a_1", 1.6), ("50%", 0.8))]
    compare(runs, tmp_path / "out")
    table = (tmp_path / "out" / "report.tex").read_text()
    assert r"a\_1 & " in table and r"50\% & \textbf{" in table
    body = table[table.index(r"\midrule") : table.index(r"\bottomrule")].splitlines()[1:]
    assert body and all(line.endswith(r"\\") and line.count(" & ") == 4 for line in body)
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
    other = make_run(tmp_path, "other", (0.1, 0.2, 0.3), 2.0, queries=40)
    with pytest.raises(UserError, match=r"other: its task toy is not that of .*40 queries"):
        compare([*three, other])


def test_runs_of_different_tasks_are_refused(three: list[Path], tmp_path: Path) -> None:
    other = make_run(tmp_path, "other", (0.1, 0.2, 0.3), 2.0, task="pairs")
    with pytest.raises(UserError, match="no tasks in common"):
        compare([three[0], other])


def test_one_of_several_tasks_must_be_named(three: list[Path], tmp_path: Path) -> None:
    for run in three:
        report = json.loads((run / "eval/toy/report.json").read_text())
        stored_reports.write(run / "eval/pairs/report.json", {**report, "task": "pairs"})
    with pytest.raises(UserError, match=r"2 tasks in common \(pairs, toy\); name one"):
        compare(three)
    assert compare(three, task="pairs").task == "pairs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"is not a report \(expecting property name"),
        ("[]", r"is not a report \(a list"),
        ("{}", "has no counts"),
        ('{"id":' * 5000 + "0" + "}" * 5000, r"is not a report \(nested too deeply"),
        ('{"id": ' + "9" * 5000 + "}", r"is not a report \(Exceeds the limit"),
        ('{"id": "\xff"}', r"is not a report \(not UTF-8, byte 8"),
    ],
)
def test_a_broken_report_is_named(tmp_path: Path, text: str, message: str) -> None:
    run = make_run(tmp_path, "a", (0.1, 0.2, 0.3), 2.0)
    (run / "eval/toy/report.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=rf"report\.json: {message}"):
        compare([run])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("counts", None, "counts is null, not an object"),
        ("counts.by_language", 3, "counts.by_language is 3, not an object"),
        ("counts.by_language.de.queries", -1, "is -1, not a whole number"),
        ("counts.passages", True, "counts.passages is true, not a whole number"),
        ("map", {}, "has no map.monolingual"),
        ("map.multilingual", 1.5, "map.multilingual is 1.5, not a number from 0 to 1, or null"),
        ("map.multilingual", float("nan"), "map.multilingual is NaN"),
        ("map_by_language.de", "x", 'map_by_language.de is "x"'),
        ("map_by_pair.en", [], "map_by_pair.en is a list, not an object"),
        ("bias.rank_distance.mean", 10**400, "not a number of 0 or more"),
        ("intervals", {"map.multilingual": [0.1]}, r"is a list, not \[low, high\]"),
        ("model", {}, "model is an object, not a text"),
        ("model", "another", "was changed after it was written"),
        ("task", ..., "has no task"),
    ],
)
def test_a_report_with_a_wrong_key_is_refused(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    run = make_run(tmp_path, "a", (0.1, 0.2, 0.3), 2.0)
    file = run / "eval/toy/report.json"
    report = json.loads(file.read_text())
    *above, last = key.split(".")
    thing = report
    for name in above:
        thing = thing[name]
    if value is ...:
        del thing[last]
    else:
        thing[last] = value
    file.write_text(json.dumps(report))
    with pytest.raises(UserError, match=rf"report\.json: .*{message}.*evaluate the run again"):
        compare([run])


def test_a_report_of_format_1_is_read_under_current_keys(tmp_path: Path) -> None:
    now = stored_reports.report(examples={"best": [{"query": {"id": "a"}}]})
    text = json.dumps({key: value for key, value in now.items() if key != "format"})
    then = json.loads(text.replace('"queries"', '"questions"').replace('"query"', '"question"'))
    assert "questions" in then["counts"]["by_language"]["de"]
    file = stored_reports.write(tmp_path / "a" / "toy" / "report.json", then)
    report = read_report(file)
    assert report["counts"] == now["counts"]
    assert report["examples"] == now["examples"]
    assert compare([tmp_path / "a"]).tables()
    stored_reports.write(file, now | {"format": 3})
    with pytest.raises(UserError, match="is a report of format 3, this program reads 1 and 2"):
        read_report(file)


REPORTS_0_1 = Path(__file__).parent / "reports_0_1"
"""Reports that hybrid_dist 0.1 wrote: `evaluated` with noise 1.6 and 0.8 on TASK_0_1."""
TASK_0_1 = parallel_task(languages=2, per_language=6)


def test_reports_of_0_1_are_compared_query_by_query() -> None:
    assert "cell_question" in np.load(REPORTS_0_1 / "a/toy/scores.npz")
    comparison = compare([REPORTS_0_1 / "a", REPORTS_0_1 / "b"])
    assert comparison.paired.refused == {}
    difference = comparison.paired.differences["b"]["map.multilingual"]
    values = [report["map"]["multilingual"] for report in comparison.reports]
    assert difference.value == pytest.approx(values[1] - values[0], abs=1e-6)


@pytest.mark.parametrize(("name", "noise"), [("a", 1.6), ("b", 0.8)])
def test_figures_are_those_of_0_1(tmp_path: Path, name: str, noise: float) -> None:
    now = evaluated(tmp_path, name, noise, TASK_0_1)
    before, after = (read_report(run / "toy/report.json") for run in (REPORTS_0_1 / name, now))
    assert after.pop("format") == 2 and "format" not in before
    known = figures(before)
    shared = {figure: value for figure, value in figures(after).items() if figure in known}
    assert shared == pytest.approx(known, rel=1e-12)


def test_a_report_of_0_1_is_paired_with_a_report_of_today(tmp_path: Path) -> None:
    now = evaluated(tmp_path, "now", 0.8, TASK_0_1)
    comparison = compare([REPORTS_0_1 / "b", now])
    assert comparison.paired.refused == {}
    differences = comparison.paired.differences["now"].values()
    assert {round(difference.value, 6) for difference in differences} == {0.0}


def test_scores_of_a_later_format_are_refused(tmp_path: Path) -> None:
    file = evaluated(tmp_path, "a", 1.0) / "toy/scores.npz"
    stored = dict(np.load(file))
    assert stored.pop("checksum") and int(stored["format"]) == 2
    stored["format"] = np.array(3)
    np.savez(file, **stored, checksum=np.array(_checksum(stored)))
    with pytest.raises(UserError, match="its format is 3, and this version reads 1 and 2"):
        PerQuery.load(file)


def test_a_report_whose_files_are_of_two_evaluations_is_refused(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, name, noise) for name, noise in (("a", 1.6), ("b", 0.8))]
    shutil.copy(runs[0] / "toy/scores.npz", runs[1] / "toy/scores.npz")
    for given in (runs, runs[1:]):
        with pytest.raises(UserError, match=r"b/toy: its report\.json and scores\.npz are of two"):
            compare(given)


def damaged_scores(file: Path) -> Iterator[tuple[str, bytes]]:
    """Damaged variants of a scores.npz, with a description of each."""
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(whole), 150).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        yield f"a bit of byte {place}", bytes(flipped)
    for place in rng.integers(0, len(whole), 30).tolist():
        yield f"cut at {place}", whole[:place]
    arrays = dict(np.load(io.BytesIO(whole)))
    arrays["language"] = arrays["language"] + 7
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    yield "other values in a whole archive", out.getvalue()
    del arrays["pooled/bias.worst_rank.mean"]
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    yield "a member less", out.getvalue()


def test_damaged_scores_are_never_read(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, name, noise) for name, noise in (("a", 1.6), ("b", 0.8))]
    file = runs[1] / "toy/scores.npz"
    whole = PerQuery.load(file)
    refused = 0
    for name, content in damaged_scores(file):
        file.write_bytes(content)
        try:
            scores = PerQuery.load(file)
        except UserError as error:
            assert "cannot be read as the scores of an evaluation" in str(error), name
            refused += 1
        else:  # a bit that says nothing, such as a date in the archive
            assert_equal(scores, whole)
    assert refused > 100
    assert "cannot be read as the scores of an evaluation" in compare(runs).paired.refused["b"]


def assert_equal(scores: PerQuery, whole: PerQuery) -> None:
    assert (scores.report, scores.languages) == (whole.report, whole.languages)
    for name in ("ids", "language", "cell_query", "cell_pool"):
        np.testing.assert_array_equal(getattr(scores, name), getattr(whole, name))
    for name in ("by_pool", "pooled"):
        np.testing.assert_equal(dict(getattr(scores, name)), dict(getattr(whole, name)))


ODD = ["\\[/b]", "[/]", "[bold]x", "=1+1", "a|b", "<script>x", "_$x_", "\x1b[31mred\x07", "a\nb"]


@pytest.mark.parametrize("name", ODD)
def test_names_are_shown_verbatim_everywhere(tmp_path: Path, name: str) -> None:
    """Names are not interpreted as markup, formulas, HTML or terminal codes."""
    first = f"first/{name.rpartition('/')[2]}" if "/" in name else "first"
    runs = [evaluated(tmp_path, one, noise) for one, noise in ((first, 1.6), (name, 0.8))]
    comparison = compare(runs, tmp_path / "out")
    plain = name.replace("\x1b", r"\x1b").replace("\x07", r"\x07").replace("\n", r"\n")
    assert comparison.rows()[1][0] == plain
    cells = [line.split("│")[1].strip() for line in shown(comparison).splitlines() if "│" in line]
    assert cells.count(plain) == 2
    texts = {
        suffix: (tmp_path / "out" / f"report.{suffix}").read_text("utf-8")
        for suffix in ("html", "md", "tex", "csv", "json")
    }
    for text in texts.values():
        assert not re.search("[\x00-\x08\x0b-\x1f]", text)
    assert "<script>x" not in texts["html"] + texts["md"]
    assert json.loads(texts["json"])["runs"][name]["model"] == f"model of {name}"
    rows = list(csv.reader(io.StringIO(texts["csv"])))
    assert not any(cell.startswith(("=", "+", "@", "\t")) for row in rows for cell in row)
    assert rows[5][0].removeprefix("'") == plain
    table = texts["md"][texts["md"].index("\n| ---") :].split("\n")
    row = table[3]  # below the rule and the first run
    assert len(re.split(r"(?<!\\)\|", row)) == len(COLUMNS) + 3


def test_latex_escapes_every_name(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, name, 1.0) for name in ("[x]", "*y", "a<b>|c~^")]
    compare(runs, tmp_path / "out")
    table = (tmp_path / "out" / "report.tex").read_text()
    assert "{[}x{]} & " in table and "{*}y & " in table
    assert r"a\textless{}b\textgreater{}\textbar{}c\textasciitilde{}\textasciicircum{} & " in table


def test_a_failed_write_leaves_the_old_comparison(
    tmp_path: Path, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    compare(three, out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def full(file: Path) -> None:
        if ".report.tex" in file.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hybrid_dist.runtime.files.sync_file", full)
    with pytest.raises(UserError, match=r"out: cannot write the report \(No space left"):
        compare(three[:2], out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_comparison_does_not_replace_the_report_of_an_evaluation(tmp_path: Path) -> None:
    run = evaluated(tmp_path, "a", 1.0)
    with pytest.raises(UserError, match=r"--out .*a/toy: holds the report of an evaluation"):
        compare([run], run / "toy")
    compare([run], run)
    compare([run], run)  # its own it does replace


def test_plots_of_an_old_comparison_are_removed(tmp_path: Path, three: list[Path]) -> None:
    compare(three, tmp_path / "out")
    assert (tmp_path / "out" / "rank_distance.png").exists()
    compare([make_run(tmp_path, "one", (0.5, None, 0.5), None)], tmp_path / "out")
    assert not (tmp_path / "out" / "rank_distance.png").exists()


def test_drafts_of_an_interrupted_write_are_no_tasks(tmp_path: Path, three: list[Path]) -> None:
    for run in three:
        shutil.copytree(run / "eval/toy", run / "eval/.toy.before")
        shutil.copytree(run / "eval/toy", run / "eval/.toy.1234.part")
    assert compare(three).task == "toy"


def test_lower_is_better_for_rank_distance_alone() -> None:
    assert [column.name for column in COLUMNS if column.lower_is_better] == ["Rank distance"]
