"""`hybrid-dist launch`: what it refuses before anything starts, and what it starts."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid_dist.commands import launch, train
from hybrid_dist.runtime.launcher_files import LauncherFile
from tests.support.launch import ROOT

Ended = tuple[int, str]


@pytest.fixture
def config(toy: Path, tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(f"data:\n  train: [{toy}/train.jsonl]\ntrain:\n  precision: fp32\n")
    return file


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    monkeypatch.chdir(ROOT)

    def run(*words: object) -> Ended:
        before = dict(os.environ)
        with pytest.raises(SystemExit) as end:
            launch.main([*map(str, words)])
        assert dict(os.environ) == before
        return int(end.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("launcher", "more", "message"),
    [
        ("ddp", (), "this launcher file is for GPUs and none is visible here; use launchers/cpu"),
        ("fsdp2", (), "accelerate has FSDP on GPUs only, and none is visible here"),
        ("zero9", (), "zero9: no such launcher file; did you mean 'zero"),
        ("cpu", ("--num-processes", "0"), "--num-processes: 0 is too few"),
        ("cpu", ("--train.precision", "fp16"), "train.precision: fp16 needs a GPU"),
        ("cpu", ("--optim.learning_rate", "1"), "--optim.learning_rate: unknown option"),
        ("configs/demo.yaml", (), "configs/demo.yaml: is no launcher file"),
    ],
)
def test_what_cannot_run_here_is_one_line(
    launcher: str,
    more: tuple[str, ...],
    message: str,
    run: Callable[..., Ended],
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    code, error = run(launcher, config, *more)
    assert code == 2 and message in error and error.count("\n") == 1


def test_a_config_that_is_wrong_is_refused_first(run: Callable[..., Ended], tmp_path: Path) -> None:
    code, error = run("ddp", tmp_path / "none.yaml")
    assert code == 2 and "none.yaml: cannot be read" in error


def test_files_for_several_machines_are_refused(
    run: Callable[..., Ended], config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("distributed_type: MULTI_GPU\nnum_machines: 2\n")
    code, error = run(file, config)
    assert code == 2 and "is for 2 machines; start one launcher on each" in error


@pytest.mark.parametrize(
    ("launcher", "gpus", "more", "processes"),
    [
        ("ddp", 8, (), 8),
        ("fsdp2", 1, (), 1),
        ("ddp", 8, ("--num_processes", "4"), 4),
        ("cpu", 8, (), 2),
        ("zero2", 0, (), 1),
    ],
)
def test_accelerate_is_started_with_the_processes_of_the_machine(
    launcher: str,
    gpus: int,
    more: tuple[str, ...],
    processes: int,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *words: started.extend(words))
    monkeypatch.setattr(train, "main", lambda *words: None)
    launch.main([launcher, str(config), *more, "--run.name", "x"])
    _, command, environment = started
    at = command.index("--num_processes")
    assert command[1:3] == ["-m", "accelerate.commands.launch"]
    assert command[at + 1] == str(processes)
    assert command[at + 2 :] == [
        *("-m", "hybrid_dist.train", "--config", str(config), "--run.name", "x")
    ]
    assert "SIGUSR2" in environment["PET_SIGNALS_TO_HANDLE"]


def test_one_process_is_started_without_a_launcher(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(train, "main", lambda words, _: started.extend(words))
    launch.main(["single", str(config), "--run.name", "x"])
    assert started == ["--config", str(config), "--run.name", "x"]


def test_launcher_files_here_come_before_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert LauncherFile.named("ddp").path == ROOT / "launchers/ddp.yaml"
    (tmp_path / "launchers").mkdir()
    (tmp_path / "launchers/ddp.yaml").write_text("distributed_type: MULTI_GPU\n")
    assert LauncherFile.named("ddp").path == Path("launchers/ddp.yaml")
