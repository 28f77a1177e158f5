"""`hybrid-dist average`: what it takes, and what it refuses before anything is read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hybrid_dist
from hybrid_dist.commands.average import main
from hybrid_dist.config.flags import load
from hybrid_dist.training.checkpoint.trained_model import export
from tests.support.runs import options


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_checkpoints_and_runs_are_averaged(toy: Path, tmp_path: Path) -> None:
    values = options(toy, tmp_path, "run", train__steps="2", checkpoint__every="1")
    hybrid_dist.train(load(values, "test"))
    run = tmp_path / "run"
    first, last = sorted((run / "checkpoints").glob("step-*"))
    export(first, tmp_path / "first")
    one, two = weights(tmp_path / "first"), weights(run / "model")
    for name, models, shares in (
        ("checkpoints", [first, last], (0.5, 0.5)),
        ("weighted", [run, first, "--weights", "3", "1"], (0.25, 0.75)),
    ):
        main([*map(str, models), "--out", str(tmp_path / name)])
        for key, part in weights(tmp_path / name).items():
            expected = shares[0] * one[key].double() + shares[1] * two[key].double()
            assert torch.equal(part, expected.float()), (name, key)
    spec = (tmp_path / "checkpoints/hybrid_dist.json").read_text()
    assert spec == (run / "model/hybrid_dist.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["one"], "give two models or more"),
        (["one", "two", "--weights", "1"], "--weights: there are 1 for 2 models"),
        (["one", "two", "--weights", "0", "0"], "not all of them 0"),
        (["one", "two", "--weights", "1", "nan"], "give finite numbers"),
        (["one", "two", "--weights", "2", "-1"], "give finite numbers of 0 or more"),
        (["one", __file__], f"{__file__}: is a file; give folders, as in RUN/checkpoints/step-*"),
    ],
)
def test_bad_options_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--out", "average"])
    assert message in capsys.readouterr().err
