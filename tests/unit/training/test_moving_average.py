"""`train.ema`: what a run evaluates, exports, saves and resumes with."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import hybrid_dist
from hybrid_dist.config.flags import load
from hybrid_dist.training.checkpoint.strategy_state import TorchState
from hybrid_dist.training.checkpoint.tensors import AVERAGE
from hybrid_dist.training.checkpoint.trained_model import export, load_weights
from hybrid_dist.training.moving_average import MovingAverage
from tests.support.runs import column, metrics, options

DECAY = 0.8


def trained(toy: Path, runs: Path, name: str, **changed: str) -> Path:
    """The folder of a run of four steps with a moving average, evaluated and saved on the way."""
    values = {"train__steps": "4", "train__ema": str(DECAY), "optim__schedule": "constant"}
    values |= {"data__dev": str(toy / "dev.jsonl"), "eval__every": "2", "checkpoint__every": "1"}
    values |= {"checkpoint__keep": "9"}
    return hybrid_dist.train(load(options(toy, runs, name, **values | changed), "test")).folder


@pytest.fixture(scope="module")
def runs(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`whole` stayed, `stopped` was resumed, `plain` has no average."""
    folder = tmp_path_factory.mktemp("runs")
    trained(toy, folder, "whole")
    trained(toy, folder, "plain", train__ema="0")
    trained(toy, folder, "stopped", train__steps="2")
    trained(toy, folder, "stopped")
    return folder


def weights(file: Path) -> dict[str, torch.Tensor]:
    return load_file(file)


def test_a_checkpoint_holds_the_average_by_its_definition(runs: Path) -> None:
    steps = [runs / f"whole/checkpoints/step-{step:06d}" for step in (1, 2, 3, 4)]
    average = {n: w.double() for n, w in weights(steps[0] / f"{AVERAGE}.safetensors").items()}
    for step in steps[1:]:
        now = weights(step / "weights.safetensors")
        average = {n: DECAY * w + (1 - DECAY) * now[n].double() for n, w in average.items()}
        stored = weights(step / f"{AVERAGE}.safetensors")
        for name, part in stored.items():
            torch.testing.assert_close(part.double(), average[name], rtol=1e-6, atol=1e-7)
            assert part.dtype == torch.float32 and not torch.equal(part, now[name])


def test_training_itself_is_unchanged(runs: Path) -> None:
    for key in ("train/loss", "train/grad_norm"):
        assert (column(runs, "whole", key) == column(runs, "plain", key)).all()
    one, other = (
        weights(runs / f"{name}/checkpoints/step-000004/weights.safetensors")
        for name in ("whole", "plain")
    )
    assert all(torch.equal(part, other[name]) for name, part in one.items())
    assert not (runs / f"plain/checkpoints/step-000004/{AVERAGE}.safetensors").exists()


def test_the_average_is_what_is_evaluated_and_exported(runs: Path, tmp_path: Path) -> None:
    step = runs / "whole/checkpoints/step-000004"
    stored = weights(step / f"{AVERAGE}.safetensors")
    model = weights(runs / "whole/model/model.safetensors")
    assert all(torch.equal(part, stored[f"encoder.backbone.{n}"]) for n, part in model.items())
    export(step, tmp_path / "exported")
    exported = tmp_path / "exported/model.safetensors"
    assert exported.read_bytes() == (runs / "whole/model/model.safetensors").read_bytes()
    encoder, _ = load_weights(str(step))
    assert torch.equal(
        encoder.backbone.embeddings.word_embeddings.weight,
        model["embeddings.word_embeddings.weight"],
    )


def test_the_loss_on_held_out_pairs_is_that_of_the_average(
    runs: Path, toy: Path, tmp_path: Path
) -> None:
    """As a run measures it that starts from the exported model and has no average."""
    model = {"model__name_or_path": str(runs / "whole/model"), "model__init": "pretrained"}
    rate = {"optim__lr": "1e-9", "train__steps": "1", "eval__every": "1", "train__ema": "0"}
    trained(toy, tmp_path, "after", **model, **rate)
    last = dev_losses(runs, "whole")[-1]
    assert dev_losses(tmp_path, "after")[-1] == pytest.approx(last, abs=1e-6)
    assert dev_losses(runs, "plain")[-1] != pytest.approx(last, abs=1e-4)


def dev_losses(runs: Path, name: str) -> list[float]:
    return [record["dev/loss"] for record in metrics(runs, name) if "dev/loss" in record]


def test_a_resumed_run_is_the_same_bit_for_bit(runs: Path) -> None:
    for file in ("model/model.safetensors", f"checkpoints/step-000004/{AVERAGE}.safetensors"):
        assert (runs / "whole" / file).read_bytes() == (runs / "stopped" / file).read_bytes()
    assert dev_losses(runs, "whole") == dev_losses(runs, "stopped")


def test_a_checkpoint_without_an_average_starts_one(runs: Path, toy: Path, tmp_path: Path) -> None:
    earlier = runs / "plain/checkpoints/step-000003"
    run = trained(toy, tmp_path, "new", checkpoint__resume=str(earlier))
    before, after = (
        weights(folder / "weights.safetensors")
        for folder in (earlier, run / "checkpoints/step-000004")
    )
    for name, part in weights(run / f"checkpoints/step-000004/{AVERAGE}.safetensors").items():
        expected = before[name] + (1 - DECAY) * (after[name] - before[name])
        torch.testing.assert_close(part, expected, rtol=1e-6, atol=1e-7)
    back = trained(
        toy,
        tmp_path,
        "back",
        train__ema="0",
        checkpoint__resume=str(run / "checkpoints/step-000004"),
    )
    assert (back / "model/model.safetensors").is_file(), "and one without takes no notice of it"


def test_weights_are_back_after_an_error() -> None:
    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    average = MovingAverage(0.5, TorchState(torch.optim.AdamW(model.parameters())))
    initial = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    average.update(torch.tensor(False))
    average.update(torch.tensor(True))
    with pytest.raises(KeyError), average.in_use():
        torch.testing.assert_close(model.weight.detach(), initial + 0.5)
        raise KeyError
    torch.testing.assert_close(model.weight.detach(), initial + 1, rtol=0, atol=0)
