"""Merged models: the fp64 average of the weights, in a folder like any other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from hybrid_dist.commands.merge import main
from hybrid_dist.errors import UserError
from hybrid_dist.model.merging import merge
from tests.support.small_models import write_model


@pytest.fixture(scope="module")
def models(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    folder = tmp_path_factory.mktemp("models")
    size = {"max_passage_tokens": 128}
    one, two, three = (
        str(write_model(folder / f"{seed}", toy / "model", seed, **size)) for seed in (1, 2, 3)
    )
    return one, two, three


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def test_weights_are_the_fp64_average(models: tuple[str, str, str], tmp_path: Path) -> None:
    merge(models, (2.0, 1.0, 1.0), tmp_path / "merged")
    one, two, three = map(weights, models)
    merged = weights(tmp_path / "merged")
    assert merged.keys() == one.keys()
    for name, part in merged.items():
        expected = one[name].double() / 2 + two[name].double() / 4 + three[name].double() / 4
        assert torch.equal(part, expected.float()), name
    assert SentenceTransformer(str(tmp_path / "merged")).encode(["ka"]).shape == (1, 32)
    assert (tmp_path / "merged/hybrid_dist.json").read_text() == (
        Path(models[0]) / "hybrid_dist.json"
    ).read_text()


def test_a_model_with_itself_is_itself(models: tuple[str, str, str], tmp_path: Path) -> None:
    merge((models[0], models[0]), (0.3, 0.7), tmp_path / "merged")
    merged = weights(tmp_path / "merged")
    assert all(torch.equal(part, merged[name]) for name, part in weights(models[0]).items())


def test_run_folders_are_taken_and_equal_weights_are_the_default(
    models: tuple[str, str, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(models[1], run / "model")
    (run / "config.yaml").touch()
    main([models[0], str(run), "--out", str(tmp_path / "merged")])
    one, two = weights(models[0]), weights(models[1])
    name = "encoder.layer.0.output.dense.weight"
    mean = (one[name].double() + two[name].double()) / 2
    assert torch.equal(weights(tmp_path / "merged")[name], mean.float())


def test_models_that_do_not_belong_together_are_refused(
    models: tuple[str, str, str], toy: Path, tmp_path: Path
) -> None:
    cls = write_model(tmp_path / "cls", toy / "model", 1, pooling="cls")
    words = Path(shutil.copytree(models[1], tmp_path / "words"))
    tokenizer = json.loads((words / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    (one, first), (two, second) = list(vocabulary.items())[10:12]
    vocabulary |= {one: second, two: first}
    (words / "tokenizer.json").write_text(json.dumps(tokenizer))
    wide = Path(shutil.copytree(models[1], tmp_path / "wide"))
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    state = {name: part for name, part in weights(wide).items() if "layer.1" not in name}
    save_file(state, wide / "model.safetensors", metadata={"format": "pt"})
    for other, problem in (
        (cls, "it has cls pooling, and the first model mean"),
        (words, "its tokenizer is not that of the first model"),
        (wide, "only the first model has weights named encoder.layer.1."),
    ):
        with pytest.raises(UserError, match=f"cannot be averaged with .*: {problem}"):
            merge((models[0], str(other)), (1.0, 1.0), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(UserError, match=r": exists already; name a new folder"):
        merge(models, (1.0, 1.0, 1.0), cls)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["one"], "give two models or more"),
        (["one", "two", "--weights", "1"], "--weights: there are 1 for 2 models"),
        (["one", "two", "--weights", "0", "0"], "not all of them 0"),
        (["one", "two", "--weights", "1", "nan"], "give finite numbers"),
    ],
)
def test_bad_options_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--out", "merged"])
    assert message in capsys.readouterr().err
