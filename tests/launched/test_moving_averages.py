"""The moving average of the weights equals its definition in float64, under every strategy."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hybrid_dist.training.checkpoint.tensors import AVERAGE
from tests.support.launch import TORCHRUN, launch, run, script, train
from tests.support.runs import column, metrics, options, succeed
from tests.support.updates import TOLERANCE, results

SCRIPT = script("moving_averages")
NAMES = ("all", "frozen layer")
MORE = ("cpu", "zero1", "zero2", "zero3-offload")


@pytest.mark.parametrize(
    "launcher",
    [
        *("cpu", "fsdp2"),
        *(pytest.param(name, marks=pytest.mark.long) for name in ("zero1", "zero2", "zero3")),
    ],
)
def test_the_average_is_exact_in_use_and_after_resuming(launcher: str, toy: Path) -> None:
    words = [*SCRIPT, str(toy), *NAMES]
    output = run([*TORCHRUN, "2", *words]) if launcher == "fsdp2" else launch(launcher, 2, words)
    measured = results(output)
    assert tuple(measured) == NAMES
    for result in measured.values():
        assert result["average_error"] < TOLERANCE, result
        assert result["loss_error"] < TOLERANCE, result
        assert result["weights_error"] < TOLERANCE, "they are back after each use"
        assert result["apart"] > 0.1, "the average is not the weights"
        assert result["stored"] and result["resumed"], result


@pytest.mark.parametrize(
    "launcher",
    ["zero3", *(pytest.param(name, marks=pytest.mark.long) for name in MORE)],
)
def test_a_run_that_is_resumed_and_evaluated_is_the_same(
    launcher: str, toy: Path, tmp_path: Path
) -> None:
    """Bit for bit as if it had stayed; close to one process; and training notices no evaluation."""
    changed = {"optim__schedule": "constant", "checkpoint__every": "2", "train__ema": "0.8"}
    changed |= {"data__dev": str(toy / "dev.jsonl"), "eval__every": "2", "batching__size": "16"}
    changed |= {"eval__metric": "dev/loss"}
    for name, steps, processes in (
        ("whole", "4", 2),
        ("stopped", "2", 2),
        ("stopped", "4", 2),
        ("alone", "4", 1),
    ):
        args = options(toy, tmp_path, name, **changed, train__steps=steps)
        succeed(train(args, launcher if processes > 1 else "", processes))
    for file in ("model/model.safetensors", f"checkpoints/step-000004/{AVERAGE}.safetensors"):
        whole, stopped, alone = (tmp_path / name / file for name in ("whole", "stopped", "alone"))
        assert whole.read_bytes() == stopped.read_bytes()
        expected = load_file(alone)
        for name, part in load_file(whole).items():
            torch.testing.assert_close(part, expected[name], rtol=0, atol=2e-4)
    losses = [
        [record["dev/loss"] for record in metrics(tmp_path, name) if "dev/loss" in record]
        for name in ("whole", "stopped", "alone")
    ]
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)
    never = options(toy, tmp_path, "never", **changed | {"eval__every": "0"}, train__steps="4")
    succeed(train(never, launcher, 2))
    assert (
        column(tmp_path, "never", "train/loss") == column(tmp_path, "whole", "train/loss")
    ).all()
