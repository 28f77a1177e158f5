"""Whole runs under real launchers: the same on any processes and after any interruption."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.launch import (
    ACCELERATE,
    kill,
    run,
    run_cold,
    start,
    train,
    train_command,
    wait_for,
)
from tests.support.runs import column, metrics, options, succeed

Options = dict[str, str]


@pytest.fixture(scope="module")
def one_process(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder's parent, with the run `one` of 50 steps in one process."""
    runs = tmp_path_factory.mktemp("runs")
    succeed(train(options(toy, runs, "one")))
    return runs


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("cpu", 2),
        ("zero2", 2),
        pytest.param("cpu", 3, marks=pytest.mark.long),
        pytest.param("zero1", 2, marks=pytest.mark.long),
        pytest.param("zero3", 2, marks=pytest.mark.long),
        pytest.param("zero2-offload", 2, marks=pytest.mark.long),
        pytest.param("zero3-offload", 2, marks=pytest.mark.long),
    ],
)
def test_training_is_the_same_as_in_one_process(
    launcher: str, processes: int, toy: Path, one_process: Path
) -> None:
    name = f"{launcher}-{processes}"
    command = train_command(options(toy, one_process, name), launcher, processes)
    # trainings under cpu.yaml start Python as a user does in test_faults and test_wheel
    succeed(run(command) if launcher == "cpu" else run_cold(command))
    described = json.loads((one_process / name / "environment.json").read_text())
    assert described["processes"] == processes
    assert described["strategy"] == ("ddp" if launcher == "cpu" else launcher.partition("-")[0])
    for key in ("train/loss", "train/grad_norm"):
        mine, wanted = column(one_process, name, key), column(one_process, "one", key)
        assert len(wanted) == 50
        assert np.max(np.abs(mine / wanted - 1)) < 1e-4
    assert list(column(one_process, name, "train/kind")) == list(
        column(one_process, "one", "train/kind")
    )


@pytest.mark.long
@pytest.mark.parametrize(("launcher", "processes"), [("", 1), ("cpu", 2), ("zero3", 2)])
def test_a_compiled_encoder_trains_alike(
    launcher: str, processes: int, toy: Path, one_process: Path
) -> None:
    name = f"compiled-{launcher}"
    changed = {"train__compile": "true", "train__chunk_size": "4"}
    succeed(train(options(toy, one_process, name, **changed), launcher, processes))
    for key in ("train/loss", "train/grad_norm"):
        mine, wanted = column(one_process, name, key), column(one_process, "one", key)
        assert np.max(np.abs(mine / wanted - 1)) < 1e-4


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("cpu", 2),
        pytest.param("", 1, marks=pytest.mark.long),
        pytest.param("zero1", 2, marks=pytest.mark.long),
        pytest.param("zero2", 2, marks=pytest.mark.long),
        pytest.param("zero3", 2, marks=pytest.mark.long),
    ],
)
def test_a_killed_run_resumes_exactly(
    launcher: str, processes: int, toy: Path, tmp_path: Path
) -> None:
    """With dropout, so that random states count; kill -9 takes all processes at once."""
    changed = {
        "train__steps": "16",
        "checkpoint__every": "4",
        "model__dropout": "0.1",
        "model__attention_dropout": "0.1",
    }
    succeed(train(options(toy, tmp_path, "whole", **changed), launcher, processes))
    args = options(toy, tmp_path, "killed", **changed)
    command = train_command(args, launcher, processes)
    process = start(command)
    file = tmp_path / "killed" / "metrics.jsonl"
    wait_for(lambda: file.exists() and file.read_text().count("\n") >= 6)
    kill(process)
    process.communicate()
    done = succeed(train(args, launcher, processes))
    assert "resumed from" in done.output
    assert list(column(tmp_path, "killed", "step")) == list(range(1, 17))
    for key in ("train/loss", "train/grad_norm"):
        killed, whole = column(tmp_path, "killed", key), column(tmp_path, "whole", key)
        assert killed.tolist() == whole.tolist()


def test_means_over_steps_are_those_of_an_uninterrupted_run(toy: Path, tmp_path: Path) -> None:
    """Records lie between checkpoints here, so that each kind's means span an interruption."""
    changed = {"log__every": "5", "checkpoint__every": "4", "optim__schedule": "constant"}
    succeed(train(options(toy, tmp_path, "whole", **changed, train__steps="16")))
    for steps in ("8", "16"):
        succeed(train(options(toy, tmp_path, "parts", **changed, train__steps=steps)))
    whole, parts = metrics(tmp_path, "whole"), metrics(tmp_path, "parts")
    kept = [record for record in parts if record["step"] != 8]  # the last step is always logged
    for record in (*whole, *kept):
        for key in [key for key in record if key.startswith("system/")]:
            del record[key]
    assert [record["step"] for record in whole] == [5, 10, 15, 16]
    assert kept == whole
    assert {"train/loss/monolingual", "train/loss/cross_lingual"} <= set(whole[1])


@pytest.mark.parametrize(
    "figure", ["dev/loss", pytest.param("eval/toy/map.multilingual", marks=pytest.mark.long)]
)
def test_a_run_that_gets_no_better_ends_early(figure: str, toy: Path, tmp_path: Path) -> None:
    """A rate far too high: the best is soon past. Started again it trains no further."""
    changed = {
        "data__dev": str(toy / "dev.jsonl"),
        "eval__every": "2",
        "eval__patience": "2",
        "optim__lr": "0.1",
        "checkpoint__every": "50",
    }
    if figure != "dev/loss":
        changed["eval__tasks"] = f"toy:{toy}"
    args = options(toy, tmp_path, "run", **changed)
    done = succeed(train(args))
    records = metrics(tmp_path, "run")
    scores = {record["step"]: record[figure] for record in records if figure in record}
    choose = min if figure == "dev/loss" else max
    best = choose(scores, key=lambda step: scores[step])
    assert records[-1]["step"] == max(scores) == best + 4 < 50
    assert f"{figure} was no better in 2 evaluations; the best is" in done.output
    assert f"of step {best}\n" in done.output
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").glob("step-*"))
    assert {f"step-{best:06d}", f"step-{best + 4:06d}"} <= set(kept)
    shipped = (tmp_path / "run/model/model.safetensors").read_bytes()
    again = succeed(train(args))
    assert f"step {best + 4}" in again.output
    assert metrics(tmp_path, "run") == records
    assert (tmp_path / "run/model/model.safetensors").read_bytes() == shipped


@pytest.mark.long
def test_two_runs_in_one_folder_are_refused(toy: Path, tmp_path: Path) -> None:
    args = options(toy, tmp_path, "run", train__steps="3000")
    first = start(train_command(args))
    try:
        wait_for((tmp_path / "run" / "metrics.jsonl").exists)
        done = train(args)
        assert done.code == 2
        assert "another process is training in it" in done.output
    finally:
        kill(first)
        first.communicate()


@pytest.mark.long
def test_another_number_of_processes_takes_the_run_on(toy: Path, tmp_path: Path) -> None:
    succeed(train(options(toy, tmp_path, "whole", train__steps="12")))
    changed = {"optim__schedule": "constant", "checkpoint__every": "4"}
    succeed(train(options(toy, tmp_path, "moved", **changed, train__steps="6"), "cpu", 2))
    more = options(toy, tmp_path, "moved", **changed, train__steps="12")
    assert "step 6" in succeed(train(more, "cpu", 3)).output
    assert list(column(tmp_path, "moved", "train/kind")) == list(
        column(tmp_path, "whole", "train/kind")
    )
    assert list(column(tmp_path, "moved", "step")) == list(range(1, 13))


def test_the_best_model_is_kept_and_everything_is_written(toy: Path, tmp_path: Path) -> None:
    changed = {
        "eval__every": "5",
        "eval__tasks": f"toy:{toy}",
        "data__dev": str(toy / "dev.jsonl"),
        "train__steps": "10",
        "train__chunk_size": "4",
        "log__wandb": "offline",
        "model__dropout": "0.1",
    }
    few = [line for line in (toy / "dev.jsonl").read_text().splitlines() if '"qad"' not in line]
    changed["data__dev"] = str(tmp_path / "dev.jsonl")
    (tmp_path / "dev.jsonl").write_text("\n".join(few))
    weights = ["--batching.language_weights", "qad", "2"]
    done = succeed(train([*options(toy, tmp_path, "run", **changed), *weights], "cpu", 2))
    folder = tmp_path / "run"
    records = metrics(tmp_path, "run")
    assert [r["step"] for r in records] == list(range(1, 11)), "one record a step"
    evaluated = [r for r in records if "eval/toy/map.multilingual" in r]
    assert [r["step"] for r in evaluated] == [5, 10]
    assert all("dev/loss" in r for r in evaluated)
    best = max(evaluated, key=lambda record: record["eval/toy/map.multilingual"])["step"]
    chosen, final = folder / f"eval/step-{best:06}/toy", folder / "eval/toy"
    names = {file.name for file in chosen.iterdir()}
    assert names == {file.name for file in final.iterdir()}
    assert all((final / name).read_bytes() == (chosen / name).read_bytes() for name in names), (
        "the best model is evaluated once"
    )
    report = json.loads((final / "report.json").read_text())
    assert report["map"]["multilingual"] == evaluated[best // 5 - 1]["eval/toy/map.multilingual"]
    assert report["model"] == f"{folder / 'model'} of step {best}"
    assert f"the model is that of step {best}, as evaluated then" in done.output
    for name in ("eval/toy/report.html", "eval/step-000005/toy/report.json", "model/config.json"):
        assert (folder / name).is_file()
    assert not (folder / "model.candidate").exists()
    assert "wandb sync" in done.output
    assert "that toy evaluates on are among the training texts" in done.output
    unseen = {key: value for key, value in changed.items() if not key.startswith("eval__")}
    succeed(train([*options(toy, tmp_path, "unseen", **unseen), *weights], "cpu", 2))
    trained = list(column(tmp_path, "run", "train/loss"))
    assert trained == list(column(tmp_path, "unseen", "train/loss")), "evaluation changed training"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            {"batching__mix__monolingual": "0", "batching__mix__cross_lingual": "0"},
            "batching.mix",
            marks=pytest.mark.long,
        ),
        ({"batching__size": "4000"}, "batching.size"),
        pytest.param({"loss__temperature": "0"}, "loss.temperature", marks=pytest.mark.long),
        ({"eval__tasks": "toy:nowhere"}, "nowhere"),
        ({"eval__metric": "map.multilingul", "eval__tasks": "toy:{toy}"}, "map.multilingual"),
        pytest.param(
            {"model__max_query_tokens": "4000"}, "model.max_query_tokens", marks=pytest.mark.long
        ),
    ],
)
def test_what_cannot_run_is_refused_in_one_message(
    changed: Options, message: str, toy: Path, tmp_path: Path
) -> None:
    changed = {key: value.format(toy=toy) for key, value in changed.items()}
    done = train(options(toy, tmp_path, "run", **changed))
    assert done.code == 2
    assert message in done.output and "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


def test_a_launcher_for_gpus_is_refused_where_there_is_none(toy: Path, tmp_path: Path) -> None:
    done = train(options(toy, tmp_path, "run"), "ddp", 2, CUDA_VISIBLE_DEVICES="")
    assert done.code != 0
    assert "for GPUs and none is visible here; use launchers/cpu.yaml" in done.output


def test_a_cross_lingual_mix_on_one_language_is_refused(toy: Path, tmp_path: Path) -> None:
    lines = (toy / "train.jsonl").read_text().splitlines()
    one = tmp_path / "one.jsonl"
    one.write_text("\n".join(line for line in lines if '"qaa"' in line))
    done = train(options(toy, tmp_path, "run", data__train=str(one)))
    assert done.code == 2
    assert "batching.mix.cross_lingual" in done.output and "one language (qaa)" in done.output


def test_another_configuration_is_refused_in_an_old_folder(toy: Path, one_process: Path) -> None:
    done = train(options(toy, one_process, "one", optim__lr="2e-3"))
    assert done.code == 2
    assert "optim.lr: was 0.001, is 0.002" in done.output


def test_a_launcher_that_starts_too_few_is_refused(toy: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "multi_cpu.yaml"
    wrong.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nuse_cpu: true\n"
        "num_machines: 1\nnum_processes: 2\nmixed_precision: 'no'\ndynamo_config: {}\n"
    )
    module = ["-m", "hybrid_dist.train", *options(toy, tmp_path, "run")]
    done = run([*ACCELERATE, "--config_file", str(wrong), *module])
    assert done.code != 0
    assert "several processes were requested and accelerate started one" in done.output
    assert "launchers/cpu.yaml" in done.output


@pytest.mark.long
def test_the_number_of_ranks_is_checked_against_the_launchers(toy: Path, tmp_path: Path) -> None:
    done = train(options(toy, tmp_path, "run"), HYBRID_DIST_WORLD_SIZE="4")
    assert done.code == 2
    assert "4 processes were requested, but this one knows of 1" in done.output
