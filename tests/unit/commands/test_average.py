"""`hybrid-dist average`: what it takes, and what it refuses before anything is read."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hybrid_dist
from hybrid_dist.commands.average import main
from hybrid_dist.config.flags import load
from hybrid_dist.training.checkpoint.trained_model import export
from tests.support.runs import options
from tests.support.small_models import write_model


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


def test_checkpoints_of_lora_are_merged_before(toy: Path, tmp_path: Path) -> None:
    """The mean of two products of matrices is not the product of their means."""
    start = write_model(tmp_path / "start", toy / "model", 1, max_passage_tokens=128)
    lora = {"model__lora_rank": "4", "model__init": "pretrained", "optim__lr": "1e-2"}
    changed = {"model__name_or_path": str(start), "train__steps": "2", "checkpoint__every": "1"}
    hybrid_dist.train(load(options(toy, tmp_path, "run", **lora, **changed), "test"))
    first, last = sorted((tmp_path / "run/checkpoints").glob("step-*"))
    merged = {}
    for each in (first, last):
        export(each, tmp_path / f"merged-{each.name}")
        merged[each] = weights(tmp_path / f"merged-{each.name}")
    merged[start] = weights(start)
    for name, models in (
        ("checkpoints", (first, last)),
        ("with the start", (last, start)),
        ("the start first", (start, last)),
    ):
        main([*map(str, models), "--out", str(tmp_path / name)])
        averaged = weights(tmp_path / name)
        assert averaged.keys() == merged[start].keys()
        for key, part in averaged.items():
            one, two = (merged[model][key].double() for model in models)
            torch.testing.assert_close(part.double(), (one + two) / 2, rtol=0, atol=1e-8)
    key = "encoder.layer.0.attention.self.query.weight"
    assert (merged[first][key] - merged[last][key]).abs().max() > 1e-4


def test_messages_of_models_name_the_argument(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(toy / "model", tmp_path / "own"))
    config = json.loads((own / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Model"}}
    (own / "config.json").write_text(json.dumps(config))
    for name, part in ((own, "give --trust-remote-code"), (tmp_path / "none", "MODELS: ")):
        with pytest.raises(SystemExit):
            main([str(name), "two", "--out", str(tmp_path / "average")])
        message = capsys.readouterr().err
        assert part in message and "model." not in message.replace(str(tmp_path), "")


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
