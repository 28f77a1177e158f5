"""Tests that need a GPU: the launcher files unchanged, on every GPU of the machine, and bf16."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.launch import Done, launch, train
from tests.support.meters import assert_meters, records
from tests.support.runs import column, options
from tests.support.updates import SCRIPT, assert_equal_updates, results

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here")
NEEDS_DEEPSPEED = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="the package deepspeed is not installed"
)


def succeed(done: Done) -> None:
    assert done.code == 0, done.output


@pytest.mark.parametrize(
    ("launcher", "strategy"),
    [
        ("single", "single"),
        ("ddp", "ddp"),
        ("fsdp2", "fsdp"),
        pytest.param("zero2", "zero2", marks=NEEDS_DEEPSPEED),
    ],
)
def test_training_on_gpus_is_the_same_as_on_the_cpu(
    launcher: str, strategy: str, toy: Path, tmp_path: Path
) -> None:
    processes = 1 if launcher == "single" else torch.cuda.device_count()
    few = {"train__steps": "20"}
    succeed(train(options(toy, tmp_path, "cpu", **few), CUDA_VISIBLE_DEVICES=""))
    module = ["-m", "hybrid_dist.train", *options(toy, tmp_path, launcher, **few)]
    succeed(launch(launcher, None, module))
    described = json.loads((tmp_path / launcher / "environment.json").read_text())
    assert (described["strategy"], described["processes"]) == (strategy, processes)
    for key in ("train/loss", "train/grad_norm"):
        on_gpu, on_cpu = column(tmp_path, launcher, key), column(tmp_path, "cpu", key)
        assert np.max(np.abs(on_gpu / on_cpu - 1)) < 2e-3


@pytest.mark.parametrize("launcher", ["ddp", "fsdp2", pytest.param("zero3", marks=NEEDS_DEEPSPEED)])
def test_updates_on_gpus_equal_one_process_in_float64(launcher: str, toy: Path) -> None:
    names = ("plain", "three chunks", "all")
    assert_equal_updates(results(launch(launcher, None, [*SCRIPT, str(toy), *names])), names)


def test_meters_on_gpus_are_those_of_whole_batches(toy: Path) -> None:
    assert_meters(records("ddp", torch.cuda.device_count(), toy), torch.cuda.device_count(), 2e-3)


def test_a_bf16_run_trains_evaluates_and_resumes(toy: Path, tmp_path: Path) -> None:
    changed = {
        "train__precision": "bf16",
        "eval__tasks": f"toy:{toy}",
        "checkpoint__every": "10",
        "optim__schedule": "constant",
    }
    for steps in ("10", "20"):
        succeed(train(options(toy, tmp_path, "run", **changed, train__steps=steps)))
    assert list(column(tmp_path, "run", "step")) == list(range(1, 21))
    report = json.loads((tmp_path / "run" / "eval" / "toy" / "report.json").read_text())
    assert report["settings"]["arithmetic"] == "bf16"
