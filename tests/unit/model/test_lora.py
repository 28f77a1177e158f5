"""LoRA: what is selected and trained, and merged weights with the vectors of the adapters."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.lora import check_peft, describe, merged
from hybrid_dist.model.packing import PackedTexts
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from tests.support.encoders import DECODERS, SIZES, encoder_of

KINDS = ("xlm-roberta", "distilbert", "nomic_bert", "modernbert", *DECODERS)
TEXTS = PackedTexts.of(SIZES)


def filled(encoder: Encoder) -> Encoder:
    """With adapters as if they had been trained: the second matrices start at zero."""
    for name, weights in encoder.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=0.2)
    return encoder.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_give_the_vectors_of_the_adapters(kind: str, tmp_path: Path) -> None:
    plain = encoder_of(kind, tmp_path).eval()
    start = encoder_of(kind, tmp_path, lora_rank=4, lora_alpha=12).eval()
    torch.testing.assert_close(start(TEXTS), plain(TEXTS), rtol=0, atol=0)
    adapted = filled(start)
    vectors = adapted(TEXTS).detach()
    assert float((vectors - plain(TEXTS).detach()).abs().max()) > 0.1
    plain.backbone.load_state_dict(merged(adapted.backbone, adapted.backbone.state_dict()))
    torch.testing.assert_close(plain(TEXTS), vectors, rtol=0, atol=1e-5)


def test_the_adapters_are_the_definition_of_lora(tmp_path: Path) -> None:
    """W + alpha / R * B A, of one layer by hand."""
    encoder = encoder_of("bert", tmp_path, lora_rank=4, lora_alpha=12, lora_modules=["query"])
    adapted = filled(encoder)
    layer = adapted.backbone.encoder.layer[0].attention.self.query
    rows = torch.randn(5, 32)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = rows @ (layer.base_layer.weight + 12 / 4 * up @ down).T + layer.base_layer.bias
    torch.testing.assert_close(layer(rows), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("query",), {"attention.self.query"}),
        (("query", "intermediate.dense"), {"attention.self.query", "intermediate.dense"}),
        (
            ("all-linear",),
            {
                *(f"attention.self.{part}" for part in ("query", "key", "value")),
                *("attention.output.dense", "intermediate.dense", "output.dense"),
            },
        ),
    ],
)
def test_adapters_are_beside_the_selected_layers_and_train_alone(
    names: tuple[str, ...], wanted: set[str], tmp_path: Path
) -> None:
    encoder = encoder_of("xlm-roberta", tmp_path, lora_rank=4, lora_modules=names, pooling="labse")
    trained: dict[str, Tensor] = {
        name: part for name, part in encoder.named_parameters() if part.requires_grad
    }
    prefix = "backbone.encoder.layer."
    ends = (".lora_A.default.weight", ".lora_B.default.weight")
    expected = {f"{prefix}{i}.{name}{end}" for i in (0, 1) for name in wanted for end in ends}
    assert trained.keys() == expected
    numbers = sum(part.numel() for part in trained.values())
    message = describe(encoder, encoder.backbone)
    assert message.startswith(f"LoRA on {2 * len(wanted)} layers (")
    assert f": {numbers:,} of " in message
    plain = encoder_of("xlm-roberta", tmp_path)
    assert describe(plain, plain.backbone) == ""


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            "xlm-roberta",
            "querry",
            r"no linear layer 'querry'; the closest are query \(all: dense, k",
        ),
        ("xlm-roberta", "self.kye", r"closest are .*self\.key"),
        (
            "qwen3",
            "query",
            r"of type qwen3 have no linear layer 'query' .*q_proj, up_proj, v_proj;",
        ),
        ("xlm-roberta", "LayerNorm", r"no linear layer 'LayerNorm'"),
        ("gpt2", "all-linear", r"models of type gpt2 have no linear layers"),
    ],
)
def test_layers_that_do_not_exist_are_refused_with_the_closest(
    kind: str, name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"model.lora_modules: .*" + message):
        encoder_of(kind, tmp_path, lora_rank=4, lora_modules=("all-linear", name))


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("hybrid_dist.model.lora.find_spec", lambda name: None)
    check_peft(Model())
    with pytest.raises(UserError, match=r'model.lora_rank: .* pip install "hybrid_dist\[lora\]"'):
        check_peft(Model(lora_rank=4))


@pytest.mark.parametrize("pooling", ["mean", "labse"])
def test_a_saved_model_has_the_adapters_merged(pooling: Any, toy: Path, tmp_path: Path) -> None:
    """LaBSE's pooler too, which a name selects: the folder's dense layer is a copy of it."""
    model = Model(
        name_or_path=str(toy / "model"),
        init="scratch",
        pooling=pooling,
        lora_rank=4,
        lora_modules=("dense", "query"),
    )
    torch.manual_seed(0)
    encoder = filled(build(model, read_config(model)))
    tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model))
    state = encoder.backbone.state_dict()
    save(tmp_path / "out", encoder.backbone, state, tokens.tokenizer, EncoderSpec.of(model))
    again = TextEmbedder.load(tmp_path / "out", "cpu").encode_queries(["bo du", "ka"])
    with torch.no_grad():
        expected = encoder(tokens.queries(["bo du", "ka"]))
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-5)
    plain = replace(model, name_or_path=str(tmp_path / "out"), init="pretrained", lora_rank=0)
    names = build(plain, read_config(plain)).state_dict()
    assert not any("lora" in name or "base_layer" in name for name in names)
