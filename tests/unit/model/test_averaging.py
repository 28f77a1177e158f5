"""Averages of models: the fp64 mean of the weights, in a folder like any other."""

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from hybrid_dist.errors import UserError
from hybrid_dist.model.averaging import average
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.pretrained import load_pretrained
from hybrid_dist.model.tokenization import TextTokens
from tests.support.encoders import encoder_of
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


def with_config(model: str | Path, out: Path, **changed: object) -> Path:
    """A copy of a model with some values of its config changed."""
    shutil.copytree(model, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | changed))
    return out


def test_weights_are_the_fp64_average(models: tuple[str, str, str], tmp_path: Path) -> None:
    average(models, (2.0, 1.0, 1.0), tmp_path / "average", load_pretrained)
    one, two, three = map(weights, models)
    averaged = weights(tmp_path / "average")
    assert averaged.keys() == one.keys()
    for name, part in averaged.items():
        expected = one[name].double() / 2 + two[name].double() / 4 + three[name].double() / 4
        assert torch.equal(part, expected.float()), name
    assert SentenceTransformer(str(tmp_path / "average")).encode(["ka"]).shape == (1, 32)
    assert (tmp_path / "average/hybrid_dist.json").read_text() == (
        Path(models[0]) / "hybrid_dist.json"
    ).read_text()


def test_a_model_with_itself_is_itself(models: tuple[str, str, str], tmp_path: Path) -> None:
    average((models[0], models[0]), (0.3, 0.7), tmp_path / "average", load_pretrained)
    averaged = weights(tmp_path / "average")
    assert all(torch.equal(part, averaged[name]) for name, part in weights(models[0]).items())


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
    flat = with_config(models[1], tmp_path / "flat", num_hidden_layers=1)
    state = {name: part for name, part in weights(flat).items() if "layer.1" not in name}
    save_file(state, flat / "model.safetensors", metadata={"format": "pt"})
    heads = with_config(models[1], tmp_path / "heads", num_attention_heads=4)
    bert = with_config(models[1], tmp_path / "bert", model_type="bert")
    sizes = with_config(toy / "model", tmp_path / "sizes", intermediate_size=16)
    narrow = write_model(tmp_path / "narrow", sizes, 1, max_passage_tokens=128)
    for other, problem in (
        (cls, "its pooling is cls, and the first model's mean"),
        (heads, "its num_attention_heads is 4, and the first model's 2"),
        (bert, "its class is BertModel, and the first model's XLMRobertaModel"),
        (narrow, r"its .* is \(.*16.*\), and the first model's \(.*32.*\)"),
        (words, "its tokenizer is not that of the first model"),
        (flat, "only the first model has weights named encoder.layer.1."),
    ):
        with pytest.raises(UserError, match=f"cannot be averaged with .*: {problem}"):
            average((models[0], str(other)), (1.0, 1.0), tmp_path / "average", load_pretrained)
    assert not (tmp_path / "average").exists()
    with pytest.raises(UserError, match=r": exists already; name a new folder"):
        average(models, (1.0, 1.0, 1.0), cls, load_pretrained)


@pytest.mark.parametrize(
    ("kind", "changed", "key"),
    [
        ("qwen3", {"attention": "bidirectional"}, "is_causal"),
        ("qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "rope_param"),
        ("qwen3 with windows", {"sliding_window": 7}, "sliding_window"),
        ("qwen3 with windows", {"max_window_layers": 2}, "layer_types"),
        ("modernbert", {"hidden_activation": "relu"}, "hidden_activation"),
        ("modernbert", {"local_attention": 4}, "local_attention"),
        ("modernbert", {"layer_types": ["full_attention"] * 3}, "layer_types"),
        ("modernbert", {"global_rope_theta": 5e5}, "rope_parameters"),
    ],
)
def test_equal_shapes_that_compute_something_else_are_refused(
    kind: str, changed: dict[str, Any], key: str, models: tuple[str, str, str], tmp_path: Path
) -> None:
    tokens = load_pretrained(models[0])[1]
    options = {"attention": changed["attention"]} if "attention" in changed else {}
    sizes = {} if options else changed
    encoders = {
        "one": encoder_of(kind, tmp_path / "one"),
        "same": encoder_of(kind, tmp_path / "same"),
        "other": encoder_of(kind, tmp_path / "other", sizes, **options),
    }

    def load(name: str) -> tuple[Encoder, TextTokens]:
        return encoders[name], tokens

    with pytest.raises(UserError, match=f"other: cannot be averaged with one: its {key}.* is "):
        average(("one", "other"), (1.0, 1.0), tmp_path / "average", load)
    average(("one", "same"), (1.0, 1.0), tmp_path / "average", load)


def test_only_the_first_model_stays_in_memory(models: tuple[str, str, str], tmp_path: Path) -> None:
    loaded: list[weakref.ref[Encoder]] = []
    alive: list[int] = []

    def load(name: str) -> tuple[Encoder, TextTokens]:
        alive.append(sum(encoder() is not None for encoder in loaded))
        encoder, tokens = load_pretrained(name)
        loaded.append(weakref.ref(encoder))
        return encoder, tokens

    average((*models, models[1]), (1.0,) * 4, tmp_path / "average", load)
    assert alive == [0, 1, 1, 1]
