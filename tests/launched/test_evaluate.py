"""The evaluator on a run folder, in one process and in two.

One process is this one where starting it is not what is tested.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.commands import evaluate
from tests.support.launch import launch, train
from tests.support.runs import options, succeed

TRAINING_LANGUAGES = {"train__steps": "5", "checkpoint__every": "5"}


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a model and the report of a task."""
    runs = tmp_path_factory.mktemp("runs")
    succeed(train(options(toy, runs, "run", **TRAINING_LANGUAGES, eval__tasks=f"toy:{toy}")))
    return runs / "run"


@pytest.fixture(scope="module")
def by_two_processes(
    trained: Path, toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A folder with the report and the cache of an evaluation in two processes, and its output."""
    folder = tmp_path_factory.mktemp("by two processes")
    words = ["--model", str(trained), "--task", f"toy:{toy}", "--cache", str(folder / "cache")]
    module = ["-m", "hybrid_dist.evaluate", *words, "--out", str(folder / "out")]
    return folder, succeed(launch("cpu", 2, module)).output


def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "toy" / "report.json").read_text())


def test_the_models_card_has_the_figures_of_the_run(trained: Path) -> None:
    card = (trained / "model" / "README.md").read_text("utf-8")
    own = json.loads((trained / "eval/toy/report.json").read_text())
    assert f"value: {round(own['map']['multilingual'], 4)}\n" in card
    assert "### toy" in card and "| Pairs | 1,200 |" in card


def test_two_processes_report_what_one_does(
    trained: Path, by_two_processes: tuple[Path, str], toy: Path, tmp_path: Path
) -> None:
    evaluate.main(["--model", str(trained), "--task", f"toy:{toy}", "--out", str(tmp_path)])
    one, two = report(tmp_path), report(by_two_processes[0] / "out")
    assert two["timing"]["processes"] == 2
    assert one["counts"] == two["counts"]
    assert one["settings"]["query prefix"] == "Query: "
    for setting in ("monolingual", "cross_lingual", "multilingual"):
        assert one["map"][setting] == pytest.approx(two["map"][setting], abs=1e-3)


def test_a_checkpoint_is_the_model_that_its_run_saved(
    trained: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bit: the cache that the one fills has all vectors of the other."""
    (last,) = (trained / "checkpoints").glob("step-*")
    words = ["--task", f"toy:{toy}", "--cache", str(tmp_path / "cache"), "--out"]
    evaluate.main(["--model", str(trained), *words, str(tmp_path / "model")])
    capsys.readouterr()
    evaluate.main(["--model", str(last), *words, str(tmp_path / "checkpoint")])
    messages = capsys.readouterr().err
    counts = re.findall(r"([\d,]+) of ([\d,]+) (?:queries|passages) are", messages)
    assert len(counts) == 2 and all(known == wanted for known, wanted in counts)
    assert report(tmp_path / "checkpoint")["map"] == report(tmp_path / "model")["map"]
    assert "seen" in report(tmp_path / "checkpoint")["groups"]


@pytest.mark.parametrize("harm", ["damaged", "elsewhere"])
def test_a_checkpoint_that_cannot_be_trusted_is_refused(
    trained: Path, toy: Path, tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (last,) = (trained / "checkpoints").glob("step-*")
    copy = tmp_path / "run" / "checkpoints" / last.name
    shutil.copytree(last, copy)
    if harm == "damaged":
        with (copy / "weights.safetensors").open("r+b") as weights:
            weights.truncate(1000)
    task = ["--task", f"toy:{toy}", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["--model", str(copy), *task])
    assert ended.value.code == 2
    message = "is damaged" if harm == "damaged" else "is not inside a run folder's checkpoints/"
    assert message in capsys.readouterr().err


def test_two_processes_fill_a_cache_that_one_reads(
    trained: Path,
    by_two_processes: tuple[Path, str],
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One process reads the vectors that two computed, so reports are equal to the last bit."""
    folder, output = by_two_processes
    words = ["--model", str(trained), "--task", f"toy:{toy}", "--cache", str(folder / "cache")]
    evaluate.main([*words, "--out", str(tmp_path)])
    assert "toy: 0 of " in output
    messages = capsys.readouterr().err
    queries, passages = re.findall(r"([\d,]+) of ([\d,]+) (?:queries|passages) are", messages)
    assert queries[0] == queries[1] and passages[0] == passages[1]
    one, two = report(tmp_path), report(folder / "out")
    del one["timing"], two["timing"]
    assert json.dumps(one) == json.dumps(two)


def test_two_processes_refuse_to_replace_another_report_and_replace_their_own(
    trained: Path, toy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["--model", str(trained), "--task", f"toy:{toy}", "--out", str(out)]
    evaluate.main(words)
    first = report(out)
    module = ["-m", "hybrid_dist.evaluate", *words]
    refused = launch("cpu", 2, [*module, "--shards", "fp16"])
    assert refused.code not in (0, None)
    message = "toy: holds the report of another evaluation (shards was 'fp32', is 'fp16')"
    assert refused.output.count(message) == 1, refused.output
    assert "vectors of" not in refused.output, "it was refused before the work"
    assert report(out) == first
    succeed(launch("cpu", 2, module))  # the same command, as after a requeue
    assert report(out)["timing"]["processes"] == 2
    evaluate.main([*words, "--shards", "fp16", "--overwrite"])
    assert report(out)["made_from"]["shards"] == "fp16"


def test_the_report_of_a_training_run_is_not_replaced_by_evaluate(
    trained: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training itself replaces its reports: a run that goes on evaluates again."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    first = report(folder / "eval")
    words = ["--model", str(folder), "--task", f"toy:{toy}", "--out", str(folder / "eval")]
    with pytest.raises(SystemExit) as refused:
        evaluate.main(words)
    assert refused.value.code == 2
    assert "that another command wrote; choose another --out" in capsys.readouterr().err
    (folder / "eval" / "toy" / "notes.txt").write_text("mine")
    given = TRAINING_LANGUAGES | {"train__steps": "6", "eval__tasks": f"toy:{toy}"}
    succeed(train(options(toy, tmp_path, "run", **given)))
    assert report(folder / "eval")["id"] != first["id"]
    assert (folder / "eval" / "toy" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere", "--task", "toy:{toy}"], "nowhere"),
        (["--model", "{run}", "--task", "toi:{toy}"], "did you mean 'toy'"),
        (["--model", "{run}", "--task", "toy:nowhere"], "hybrid-dist toy --out nowhere"),
        (["--model", "{run}", "--task", "toy:{toy}", "--task", "pairs:x"], "given twice"),
        (["--model", "{run}", "--task", "toy:{toy}", "toy:{toy}"], "are both called toy"),
    ],
)
def test_wrong_words_are_refused_in_one_message(
    words: list[str],
    message: str,
    trained: Path,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.format(toy=toy, run=trained) for word in words]
    with pytest.raises(SystemExit) as ended:
        evaluate.main([*words, "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
