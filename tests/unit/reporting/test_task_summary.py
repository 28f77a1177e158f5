"""Collections of tasks: their files, what is evaluated again, means over tasks, and Borda ranks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hybrid_dist.commands import bias, compare, evaluate, overlap
from hybrid_dist.config import flags
from hybrid_dist.config.task_collections import expanded
from hybrid_dist.errors import UserError
from hybrid_dist.reporting import evaluation_job, evaluation_report
from hybrid_dist.reporting.run_evaluation import load_evaluation
from hybrid_dist.reporting.task_summary import borda_points, borda_ranks
from hybrid_dist.studies.study_file import StudyFile
from tests.support import stored_reports
from tests.support.launch import ROOT
from tests.support.small_models import write_model
from tests.support.vector_files import write_pairs


def collection(folder: Path, content: str) -> str:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "small.yaml").write_text(content)
    return str(folder / "small.yaml")


def test_a_collection_stands_for_its_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "there")
    tasks = 'name: mine\ntasks:\n  toy: toy:${PLACE}/toy\n  far: "pairs:${ELSE:-here}.jsonl?a=b"\n'
    file = collection(tmp_path, tasks)
    specs = ("toy:there/toy", "far=pairs:here.jsonl?a=b")
    assert expanded([file, "x=pairs:y"]) == (*specs, "x=pairs:y")
    listed = collection(tmp_path / "list", "tasks: ['toy:there/toy', 'far=pairs:here.jsonl?a=b']")
    assert expanded([listed]) == specs
    assert expanded(["pairs:none.yaml", "none.yaml", f"toy:{file}"]) == (
        "pairs:none.yaml",
        "none.yaml",
        f"toy:{file}",
    )
    other = tmp_path / "own.yaml"
    other.write_text("queries: a\ncorpus: b\nqrels: c\n")
    assert expanded([f"own={other}"]) == (f"own={other}",)


def test_runs_and_studies_expand_it(tmp_path: Path) -> None:
    file = collection(tmp_path, "tasks: {near: 'pairs:a.jsonl', far: 'pairs:b.jsonl'}")
    config = flags.load(["--data.train", "a.jsonl", "--eval.tasks", file], "train")
    assert config.eval.tasks == ("near=pairs:a.jsonl", "far=pairs:b.jsonl")
    study = {"name": "s", "base": "b.yaml", "seeds": [1], "baseline": "c", "tasks": [file, "toy:t"]}
    tasks = StudyFile.model_validate(study).tasks
    assert {name: entry.task for name, entry in tasks.items()} == {
        "near": "near=pairs:a.jsonl",
        "far": "far=pairs:b.jsonl",
        "toy": "toy:t",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tasks: {}", "tasks: expected lines such as"),
        ("tasks: toy:toy", "tasks: expected lines such as"),
        ("tasks: [3]", "tasks: expected NAME:PATH, found 3"),
        ("tasks: [toy]", "tasks: expected NAME:PATH, found 'toy'"),
        ("tasks: {a/b: 'toy:t'}", "'a/b' is no label"),
        ("tasks: {a: 'b=toy:t'}", "a: b=toy:t has a second label"),
        ("tasks: ['toy:a', 'toy:b']", "toy:a and toy:b are both called toy"),
        ("tasks: ['toy:a']\nlangs: [de]", "unknown key 'langs'"),
        ("tasks: ['toy:a']\nname: 3", "name: expected a text, found 3"),
        ("tasks: ['toy:${NO_SUCH_NAME}']", "the environment has no NO_SUCH_NAME"),
        ("tasks: ['toy:a'", "is not valid YAML"),
    ],
)
def test_a_broken_collection_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = collection(tmp_path, content)
    with pytest.raises(UserError, match=message) as refused:
        expanded([file])
    assert str(refused.value).startswith(file)


@pytest.mark.parametrize("spec", ["toi:toy", "pairs:none.jsonl", "pairs:a.jsonl?skip=1"])
@pytest.mark.parametrize("command", ["evaluate", "overlap"])
def test_a_bad_task_of_a_collection_is_named_with_it(
    tmp_path: Path, command: str, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = collection(tmp_path, f"tasks: {{mine: '{spec}'}}")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"uid": "a", "lang": "en", "query": "who?", "passage": "Ada did."}\n')
    words = {"evaluate": ["--model", "m", "--out", str(tmp_path)], "overlap": [str(pairs)]}
    with pytest.raises((SystemExit, UserError)) as ended:
        {"evaluate": evaluate, "overlap": overlap}[command].main([*words[command], "--task", file])
    assert f"{file}: " in str(ended.value) + capsys.readouterr().err


def test_a_run_names_the_collection_of_a_bad_task(tmp_path: Path) -> None:
    file = collection(tmp_path, "tasks: {mine: 'pairs:none.jsonl'}")
    config = flags.load(["--data.train", "a.jsonl", "--eval.tasks", file], "train")
    with pytest.raises(UserError, match=r"none\.jsonl") as refused:
        load_evaluation(config, [])
    assert str(refused.value).startswith(f"{file}: ")


def test_a_collection_has_no_label_and_no_collections(tmp_path: Path) -> None:
    file = collection(tmp_path, "tasks: ['toy:a']")
    with pytest.raises(UserError, match=r"small.yaml has labels of its own; leave x out"):
        expanded([f"x={file}"])
    outer = collection(tmp_path / "outer", f"tasks: ['{file}']")
    with pytest.raises(UserError, match=r"small.yaml is a collection too"):
        expanded([outer])


def test_the_collection_that_is_shipped_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_DIST_DATA", "place")
    specs = expanded([str(ROOT / "configs/tasks/multilingual-small.yaml")])
    assert specs == (
        "xquad_r:place/xquad-r",
        "afriqa=beir:place/afriqa?split=dev",
        "tatoeba:place/tatoeba",
    )


@pytest.fixture
def words(toy: Path, tmp_path: Path) -> list[str]:
    """A model and a collection of two tasks of pairs."""
    model = write_model(tmp_path / "model", toy / "model", 1, max_passage_tokens=128)
    lines = []
    for name, count in (("near", 9), ("far", 5)):
        (tmp_path / name).mkdir()
        lines.append(f"  {name}: {write_pairs(tmp_path / name, count)}\n")
    file = collection(tmp_path, "tasks:\n" + "".join(lines))
    return ["--model", str(model), "--task", file]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def report(file: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(file.read_text())
    return {name: value for name, value in content.items() if name != "timing"}


def test_a_killed_evaluation_goes_on_with_the_tasks_that_are_missing(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    evaluate.main([*words, "--out", str(whole)])
    said = capsys.readouterr().err
    assert "mean of 2 tasks: mAP 0." in said
    real: Callable[..., object] = evaluation_report.evaluate_task

    def killed(task: object, *rest: object) -> object:
        if getattr(task, "name", "") == "far":
            raise KeyboardInterrupt
        return real(task, *rest)

    monkeypatch.setattr(evaluation_job, "evaluate_task", killed)
    with pytest.raises(SystemExit):
        evaluate.main([*words, "--out", str(cut)])
    monkeypatch.undo()
    first = files(cut)
    assert set(first) == {name for name in files(whole) if name.startswith("near/")}
    evaluate.main([*words, "--out", str(cut)])
    assert "near: its report is complete" in capsys.readouterr().err
    again = files(cut)
    assert {name: again[name] for name in first} == first, "what was complete was not written again"
    assert again.keys() == files(whole).keys()
    for task in ("near", "far"):
        assert report(cut / task / "report.json") == report(whole / task / "report.json")
    for name in ("summary.md", "summary.json"):
        assert again[name] == files(whole)[name]
    evaluate.main([*words, "--out", str(cut)])
    assert files(cut) == again
    evaluate.main([*words, "--out", str(cut), "--overwrite"])
    assert "its report is complete" not in capsys.readouterr().err.partition("far: its")[2]
    assert files(cut) != again, "--overwrite evaluates again: the timing is another"


def test_other_settings_or_damage_are_not_taken_for_complete(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    evaluate.main([*words, "--out", str(out)])
    with pytest.raises(SystemExit):
        evaluate.main([*words, "--out", str(out), "--dims", "4"])
    assert "holds the report of another evaluation" in capsys.readouterr().err
    (out / "near" / "scores.npz").unlink()
    evaluate.main([*words, "--out", str(out)])
    assert "near: its report is complete" not in (said := capsys.readouterr().err)
    assert "far: its report is complete" in said
    assert (out / "near" / "scores.npz").is_file()


def test_bias_takes_a_collection(words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "bias"
    bias.main([*words, "--out", str(out), "--debias", "mean"])
    for task in ("near", "far"):
        assert (out / "comparisons" / task / "report.html").is_file()
        assert (out / "mean" / task / "report.json").is_file()
    record = json.loads((out / "summary.json").read_text())
    assert list(record["runs"]) == ["as-is", "mean"]
    assert record["tasks"] == ["near", "far"]


def test_borda_points_and_ranks_of_a_known_case() -> None:
    votes = [[0.5, 0.4, 0.4, 0.1], [0.2, 0.3, 0.1, 0.3], [0.7, 0.7, 0.7, 0.7]]
    # vote 1: 3, 1.5, 1.5, 0; vote 2: 1, 2.5, 0, 2.5; vote 3: 1.5 each
    assert borda_points(votes, 4) == [5.5, 5.5, 3.0, 4.0]
    assert borda_ranks([5.5, 5.5, 3.0, 4.0]) == [1, 1, 4, 3]
    assert borda_points([], 2) == [0, 0] and borda_ranks([0, 0]) == [1, 1]
    assert sum(borda_points(votes, 4)) == 3 * 4 * 3 / 2


def runs(folder: Path) -> list[Path]:
    """Three runs on two tasks, one of which has no monolingual figure."""
    result = []
    for run, (one, two) in {
        "a": ((0.5, 0.4, 0.3), (None, 0.2, 0.6)),
        "b": ((0.5, 0.6, 0.3), (None, 0.4, 0.2)),
        "c": ((0.1, 0.6, 0.2), (None, 0.3, 0.4)),
    }.items():
        for task, values in (("first", one), ("second", two)):
            report = stored_reports.report(values, model=run, task=task)
            stored_reports.write(folder / run / task / "report.json", report)
        result.append(folder / run)
    return result


def test_compare_ranks_runs_over_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    compare.main([*map(str, runs(tmp_path)), "--out", str(out)])
    record = json.loads((out / "summary.json").read_text())
    means = {run: record["runs"][run]["means"] for run in "abc"}
    assert [means[run]["map.monolingual"] for run in "abc"] == [0.5, 0.5, 0.1]
    cross = [means[run]["map.cross_lingual"] for run in "abc"]
    assert cross == pytest.approx([0.3, 0.5, 0.45])
    # first: mono 1.5 1.5 0, cross 0 1.5 1.5, multi 1.5 1.5 0; second: cross 0 2 1, multi 2 0 1
    assert [record["runs"][run]["borda_points"] for run in "abc"] == [5.0, 6.5, 3.5]
    assert [record["runs"][run]["borda_rank"] for run in "abc"] == [2, 1, 3]
    printed = capsys.readouterr().out
    assert "Borda" in printed and printed.endswith(f"The summary: {out / 'summary.md'}\n")
    text = (out / "summary.md").read_text()
    assert "| b | 0.500 | 0.500 | 0.250 |" in text and "| 6.5 | 1 |" in text
