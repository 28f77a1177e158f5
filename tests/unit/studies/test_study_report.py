"""The report of a study, from runs whose reports were made without training."""

import csv
import io
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hybrid_dist.commands.study import main
from hybrid_dist.studies import study_plots
from hybrid_dist.studies.cells import Grid
from hybrid_dist.studies.run_states import RunRecord, RunState, state_of, write_record
from hybrid_dist.studies.study_report import write_study_report
from hybrid_dist.studies.study_results import read_results
from tests.support.studies import HYBRID, MONOLINGUAL, finish, make_grid

MIXES = {
    f"m{m}-c{c}": {
        "batching.mix.monolingual": m / 4,
        "batching.mix.cross_lingual": c / 4,
        "batching.mix.multilingual": (4 - m - c) / 4,
    }
    for m, c in ((4, 0), (2, 2), (0, 4), (0, 0), (1, 1))
}


def states(made: Grid) -> list[RunState]:
    return [state_of(made, run) for run in made.all_runs()]


def report(made: Grid) -> str:
    write_study_report(made, read_results(made), states(made))
    return (made.out / "report.md").read_text()


def five_seeds(toy: Path, folder: Path) -> Grid:
    """Hybrid is better, a third cell is no different, and a fourth one failed in all its runs."""
    return make_grid(
        folder,
        toy,
        cells={"same": {"optim.lr": 2e-3}, "broken": {"batching.size": 4000}},
        untrained=True,
        seeds=[1, 2, 3, 4, 5],
        figures=["map.monolingual", "map.multilingual", "map.multilingual@worst"],
    )


@pytest.fixture(scope="module")
def five(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Grid:
    made = five_seeds(toy, tmp_path_factory.mktemp("five"))
    noise = {"monolingual": 1.6, "hybrid": 0.9, "untrained": 2.5, "same": 1.6}
    for run in made.all_runs():
        if run.cell.name in noise:
            finish(made, run, noise[run.cell.name] + (run.cell.name == "same") * 1e-3)
        else:
            write_record(made, run, RunRecord(reason="batching.size: 4000 is more | than any"))
    report(made)
    return made


def test_the_paragraph_says_what_holds_and_what_does_not(five: Grid) -> None:
    text = (five.out / "report.md").read_text()
    assert "differences from monolingual hold at 5% after correction for 9 tests" in text
    better = text.partition("Supported, better than monolingual: ")[2].partition("Supported")[0]
    assert "hybrid mAP monolingual +0." in better and "same" not in better.partition("Not")[0]
    assert "Supported, worse than monolingual: untrained" in text
    assert "Not supported in either direction: same" in text
    assert "Of 21 runs 5 failed and 0 are not finished" in text


def test_cells_that_failed_are_in_the_tables_with_the_reason(five: Grid) -> None:
    text = (five.out / "report.md").read_text()
    assert "| broken | 0 of 5 (5 failed) | - | - | - |" in text
    assert r"| broken/seed-3 | failed | batching.size: 4000 is more \| than any |" in text
    rows = list(csv.DictReader(io.StringIO((five.out / "report.csv").read_text())))
    broken = [row for row in rows if row["cell"] == "broken"]
    assert len(broken) == 1
    assert broken[0]["failed_runs"] == "5" and "4000" in broken[0]["reason"]


def test_every_format_has_the_figures(five: Grid) -> None:
    content = json.loads((five.out / "report.json").read_text())
    hybrid = content["tasks"]["toy"]["cells"]["hybrid"]["map.multilingual"]
    assert hybrid["seeds"] == 5 and list(hybrid["by_seed"]) == ["1", "2", "3", "4", "5"]
    assert sum(hybrid["by_seed"].values()) / 5 == pytest.approx(hybrid["mean"])
    low, high = hybrid["query_interval"]
    assert low < hybrid["mean"] < high
    own = json.loads((five.out / "runs/hybrid/seed-1/eval/toy/report.json").read_text())
    assert hybrid["by_seed"]["1"] == pytest.approx(own["map"]["multilingual"], abs=1e-6)
    worst = content["tasks"]["toy"]["cells"]["hybrid"]["map.multilingual@worst"]
    assert worst["by_seed"]["1"] == pytest.approx(min(own["map_by_language"].values()), abs=1e-6)
    shown = f"{hybrid['mean']:.3f} ± {hybrid['deviation']:.3f}"
    for name in ("report.md", "report.html", "report.tex"):
        assert shown in (five.out / name).read_text(), name
    page = (five.out / "report.html").read_text()
    assert '<td class="better">▲ +' in page and '<td class="worse">▼ -' in page
    assert 'alt="toy: By cell. ' in page and "Supported, worse than monolingual" in page
    difference = next(
        one
        for one in content["tasks"]["toy"]["differences"]
        if (one["cell"], one["figure"]) == ("hybrid", "map.multilingual")
    )
    assert difference["level"] == "seeds and queries" and difference["p_holm"] < 0.05
    assert difference["agreeing"] == 5
    assert (five.out / "toy-1-bars.png").read_bytes()[:4] == b"\x89PNG"
    assert (five.out / "toy-1-bars.pdf").read_bytes()[:4] == b"%PDF"
    assert (five.out / "report.tex").read_text().count(r"\begin{tabular}") == 2


def test_with_few_seeds_no_claim_is_made_about_others(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy)
    for run in made.all_runs():
        finish(made, run, 1.6 if run.cell.name == "monolingual" else 0.9)
    text = report(made)
    assert "With 2 seeds, fewer than 5, the figures do not support a claim about other" in text
    assert "Better than monolingual in every seed: hybrid" in text
    assert "q)" in text and "g " not in text.partition("differences from")[2].partition("Each")[0]


def test_a_study_that_has_just_begun_has_a_report(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy, seeds=[1])
    assert "| hybrid/seed-1 | to run | - |" in report(made)
    finish(made, made.runs(made.cells[0])[0], 1.0)
    text = report(made)
    assert "No cell can be compared with the baseline yet." in text
    assert "| hybrid | 0 of 1 | - |" in text


@pytest.mark.parametrize("length", [5, 20, 40])
def test_a_legend_fits_into_its_plot(length: int) -> None:
    drawing = Figure(figsize=(6.8, 3), layout="constrained")
    axes = drawing.subplots()
    for number in range(5):
        label = ("language_alpha=1,monolingual " * 2)[:length]
        axes.plot([0, 1], [number, 0], label=label)
    study_plots._legend(drawing, axes)
    drawing.canvas.draw()
    (legend,) = drawing.legends
    extent = legend.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= drawing.bbox.width


def test_curves_and_ternary_plots_are_drawn_with_optimum_and_slope(
    toy: Path, tmp_path: Path
) -> None:
    only = {"batching.mix.multilingual": 0.0}
    made = make_grid(
        tmp_path,
        toy,
        axes=None,
        cells=MIXES,
        baseline="m2-c2",
        untrained=True,
        plots=[
            {"kind": "line", "x": "batching.mix.monolingual", "only": only},
            {"kind": "ternary"},
        ],
        trends=[{"x": "batching.mix.monolingual", "only": only}],
    )
    for run in made.all_runs():
        middle = run.config.batching.mix.monolingual == 0.5
        finish(made, run, 0.7 if middle else 1.5)
    text = report(made)
    assert "Over batching.mix.monolingual, mAP multilingual is best at 0.5; not" in text
    assert "| mAP multilingual | all | 0.5 (0.5 to 0.5) | 0.5 |" in text
    for name in ("toy-1-line", "toy-2-ternary"):
        assert (made.out / f"{name}.pdf").stat().st_size > 5000


def test_published_figures_are_printed_beside_the_studys(toy: Path, tmp_path: Path) -> None:
    cells = {"hybrid": {"toy": {"map.monolingual": 0.5}}}
    made = make_grid(tmp_path, toy, published={"source": "a paper", "cells": cells}, seeds=[1])
    finish(made, made.runs(made.cell("hybrid"))[0], 1.0)
    text = report(made)
    row = next(line for line in text.splitlines() if line.startswith("| hybrid | mAP mono"))
    here, published, difference = (float(part) for part in row.strip("| ").split(" | ")[2:])
    assert published == 0.5
    assert difference == pytest.approx(here - 0.5, abs=0.001)
    assert "Published: a paper." in text


def test_reports_on_other_queries_are_left_out(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy, seeds=[1])
    first, second = made.all_runs()
    finish(made, first, 1.0)
    finish(made, second, 1.0, queries=20)
    text = report(made)
    assert "hybrid/seed-1 is left out: its report is on other queries" in text


def test_a_dry_run_shows_time_and_memory_where_known(
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    made = make_grid(tmp_path, toy)
    finish(made, made.all_runs()[0], 1.0)
    file, out = str(tmp_path / "study.yaml"), str(tmp_path / "out")
    (tmp_path / "out" / "study.json").write_text('{"name": "tiny", "cells": {}}')
    main([file, "--out", out, "--dry-run", "--slurm", "--jobs", "2"])
    printed = capsys.readouterr().out
    assert "2 cells, 4 runs" in printed
    assert "1 finished, 1 to run" in printed and "2 to run" in printed
    assert "0:01:00" in printed and "1.0 GB" in printed
    assert "about 0:01:30 for the 3 runs that are left" in printed
    assert f"sbatch --parsable --array=1-3%2 --output={out}/slurm/1/logs/" in printed
    assert f"{out}/slurm/1/slurm/sweep.sbatch" in printed
    assert "--dependency=afterany:JOB" in printed.replace("\n", "")


def test_axes_have_a_baseline_of_their_own(toy: Path, tmp_path: Path) -> None:
    axes = {
        "batches": {"monolingual": MONOLINGUAL, "hybrid": HYBRID},
        "batching.language_alpha": [0, 1],
    }
    made = make_grid(tmp_path, toy, axes=axes, baseline={"batches": "monolingual"}, seeds=[1])
    for number, run in enumerate(made.all_runs()):
        finish(made, run, 1.0 + number / 10)
    (results,) = read_results(made)
    compared = {cell for cell, _ in results.effects(made)}
    assert compared == {"hybrid,language_alpha=0", "hybrid,language_alpha=1"}
