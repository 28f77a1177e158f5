"""The encoder: chunks, seeds and pooling, and models that are refused."""

import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from torch import Tensor

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model import repository
from hybrid_dist.model.encoder import BiEncoder, Chunk, Encoder
from hybrid_dist.model.loading import build, check_lengths, read_config
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.network import reaches

QUERIES = ["a", "bo du fo", "?", "ka ra ti mo lo", "bo bo", "pi", "x y z"]
PASSAGES = ["du fo", "ka", "ra ti mo ka ra ti mo", "lo", "bo pi ka du", "x", "ti " * 12]


@pytest.fixture
def folder(toy: Path) -> Path:
    """A small XLM-R's config and a tokenizer."""
    return toy / "model"


def model(folder: Path, **changes: Any) -> Model:
    options = Model(
        name_or_path=str(folder),
        init="scratch",
        max_query_tokens=12,
        max_passage_tokens=20,
        dropout=0.0,
        attention_dropout=0.0,
    )
    return replace(options, **changes)


def built(options: Model, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return build(options, read_config(options))


def tokens(options: Model) -> TextTokens:
    return TextTokens.load(options.name_or_path, EncoderSpec.of(options))


def in_chunks(texts: TextTokens, cuts: list[int]) -> list[Chunk]:
    slices = [slice(a, b) for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    return [Chunk(texts.queries(QUERIES[c]), texts.passages(PASSAGES[c])) for c in slices]


def forward_backward(
    module: BiEncoder, chunks: list[Chunk]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Vectors, and gradients of a loss that weighs every number of them differently."""
    module.zero_grad()
    queries, passages, temperature = module(chunks)
    weights = torch.linspace(-1, 1, queries.numel()).view_as(queries).sin()
    ((queries * weights).sum() + (passages * weights**2).sum() + temperature.sum()).backward()
    gradients = {
        name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None
    }
    return queries.detach(), passages.detach(), gradients


@pytest.mark.parametrize("pooling", ["mean", "cls", "labse"])
@pytest.mark.parametrize("cuts", [[3], [1, 2, 3, 4, 5, 6]], ids=["two chunks", "a row a chunk"])
def test_chunks_change_neither_vectors_nor_gradients(
    folder: Path, pooling: Any, cuts: list[int]
) -> None:
    options = model(folder, pooling=pooling)
    module = BiEncoder(built(options), 0.05, learn_temperature=True)
    queries, passages, gradients = forward_backward(module, in_chunks(tokens(options), []))
    actual = forward_backward(module, in_chunks(tokens(options), cuts))
    torch.testing.assert_close(actual[0], queries, rtol=0, atol=1e-6)
    torch.testing.assert_close(actual[1], passages, rtol=0, atol=1e-6)
    assert actual[2].keys() == gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    assert largest > 0.1
    for name, gradient in gradients.items():
        torch.testing.assert_close(actual[2][name], gradient, rtol=0, atol=1e-6 * largest, msg=name)


@pytest.mark.parametrize("pooling", ["mean", "cls", "labse"])
def test_every_parameter_has_a_gradient(folder: Path, pooling: Any) -> None:
    """DDP stalls on parameters that take no part."""
    options = model(folder, pooling=pooling)
    module = BiEncoder(built(options), 0.05, learn_temperature=True)
    _, _, gradients = forward_backward(module, in_chunks(tokens(options), []))
    assert gradients.keys() == dict(module.named_parameters()).keys()


@pytest.mark.parametrize("pooling", ["mean", "cls", "labse"])
def test_vectors_are_the_pooled_last_layer_of_each_text_alone(folder: Path, pooling: Any) -> None:
    """Alone, so without padding: what padding adds may not reach a vector."""
    options = model(folder, pooling=pooling)
    encoder, plain = built(options).eval(), built(options).eval().backbone
    plain.set_attn_implementation("eager")
    texts = tokens(options)
    with torch.no_grad():
        together = encoder(texts.passages(PASSAGES))
        for vector, text in zip(together, PASSAGES, strict=True):
            output = plain(**texts.passages([text]).padded(0)[0])
            layer = output.last_hidden_state[0]
            pooled = layer.mean(0) if pooling == "mean" else layer[0]
            if pooling == "labse":
                dense = encoder.backbone.pooler.dense
                pooled = torch.tanh(dense.weight @ pooled + dense.bias)
            torch.testing.assert_close(vector, pooled / pooled.norm(), rtol=0, atol=1e-6)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(PASSAGES)))


def test_initial_weights_from_scratch_are_a_function_of_the_seed(folder: Path) -> None:
    one, again, other = (built(model(folder), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(
        one["backbone.embeddings.word_embeddings.weight"],
        other["backbone.embeddings.word_embeddings.weight"],
    )


@pytest.mark.parametrize(("start", "used"), [(1e-9, 0.001), (0.02, 0.02), (50.0, 1.0)])
def test_a_learned_temperature_stays_in_bounds(folder: Path, start: float, used: float) -> None:
    module = BiEncoder(built(model(folder)), start, learn_temperature=True)
    temperature = module(in_chunks(tokens(model(folder)), []))[2]
    torch.testing.assert_close(temperature, torch.tensor([used]))


def test_a_fixed_temperature_is_the_one_given_and_not_trained(folder: Path) -> None:
    module = BiEncoder(built(model(folder)), 0.0004, learn_temperature=False)
    assert module(in_chunks(tokens(model(folder)), []))[2].tolist() == pytest.approx([0.0004])
    assert not any("temperature" in name for name, _ in module.named_parameters())


def test_texts_get_their_prefix_and_are_cut_to_their_length(folder: Path) -> None:
    options = model(folder, query_prefix="bo ", passage_prefix="ka ka ")
    texts, long = tokens(options), "ti " * 99
    plain = texts.tokenizer(["bo du", "ka ka du"])["input_ids"]
    assert texts.queries(["du"]).ids.tolist() == plain[0]
    assert texts.passages(["du"]).ids.tolist() == plain[1]
    assert texts.queries([long, long]).sizes == (12, 12)
    assert texts.passages([long]).sizes == (20,)
    assert texts.queries([long]).ids[-1] == texts.tokenizer.sep_token_id


def test_dropout_is_the_configs_unless_it_is_given(folder: Path) -> None:
    unset = read_config(model(folder, dropout=None, attention_dropout=None))
    assert (unset.hidden_dropout_prob, unset.attention_probs_dropout_prob) == (0.1, 0.1)
    given = read_config(model(folder, dropout=0.3, attention_dropout=0.0))
    assert (given.hidden_dropout_prob, given.attention_probs_dropout_prob) == (0.3, 0.0)


@pytest.mark.parametrize("key", ["max_query_tokens", "max_passage_tokens"])
def test_more_tokens_than_the_model_has_positions_for_are_refused(folder: Path, key: str) -> None:
    """XLM-R's positions count from the padding's: 130 of them take 128 tokens."""
    config = read_config(model(folder))
    check_lengths(config, model(folder, **{key: 128}))
    with pytest.raises(UserError, match=rf"model.{key}: 129 is more than the 128 positions"):
        check_lengths(config, model(folder, **{key: 129}))


def test_the_longest_text_that_is_let_through_can_be_encoded(folder: Path) -> None:
    options = model(folder, max_passage_tokens=128)
    batch = tokens(options).passages(["ti " * 200])
    assert batch.sizes == (128,)
    assert built(options)(batch).isfinite().all()


def test_labse_pooling_of_a_model_type_without_a_pooler_is_refused(tmp_path: Path) -> None:
    from transformers import DistilBertConfig

    DistilBertConfig(dim=16, hidden_dim=16, n_heads=2, n_layers=1).save_pretrained(tmp_path)
    options = model(tmp_path, pooling="labse", dropout=None, attention_dropout=None)
    message = r"type distilbert have no pooler.* choose mean or cls, or for a decoder mean or last"
    with pytest.raises(UserError, match=f"model.pooling: models of {message}"):
        build(options, read_config(options))


def test_dropout_that_a_model_type_calls_otherwise_is_refused(tmp_path: Path) -> None:
    from transformers import DistilBertConfig

    DistilBertConfig(dim=16, hidden_dim=16, n_heads=2, n_layers=1).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"model.dropout: models of type distilbert have no"):
        read_config(model(tmp_path))


def test_labse_pooling_of_weights_without_a_pooler_is_refused(folder: Path, tmp_path: Path) -> None:
    built(model(folder)).backbone.save_pretrained(tmp_path)
    options = model(tmp_path, init="pretrained")
    assert build(options, read_config(options)).pooling == "mean"
    message = (
        r"no weights for pooler\.dense\.bias.* stay random.* \(mean, cls and last need no pool"
    )
    with pytest.raises(UserError, match=message):
        build(replace(options, pooling="labse"), read_config(options))


def test_pretrained_from_a_folder_without_weights_is_refused(folder: Path) -> None:
    options = model(folder, init="pretrained")
    with pytest.raises(UserError, match=r"is no folder with weights"):
        build(options, read_config(options))


@pytest.mark.parametrize("content", [None, "", "[1]", '{"model_type": "no-such-type"}', "{torn"])
def test_a_folder_without_a_usable_config_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"model.name_or_path: .* is no folder with config.json"):
        read_config(model(tmp_path))


def test_a_folder_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"model.name_or_path: .* is no folder with a tokenizer"):
        tokens(model(tmp_path))


@pytest.mark.parametrize("name", ["no-such/model-here", "no such model"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"is no folder or reachable model on the hub"):
        read_config(replace(Model(), name_or_path=name))


def test_without_a_network_a_model_that_is_not_cached_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        for key in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(key, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for act in (read_config, tokens):
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            with pytest.raises(UserError, match=r"cannot be reached .*`hybrid-dist prefetch CON"):
                act(replace(Model(), name_or_path="no-such/model-here"))
        assert constants.is_offline_mode(), "what is cached is then used without the hub"
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("asked", ["directly", "through a proxy"])
def test_a_hub_that_takes_connections_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], asked: str
) -> None:
    monkeypatch.setattr(repository, "reaches", partial(reaches, seconds=0.2))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if asked == "directly":
            monkeypatch.setattr(constants, "ENDPOINT", server)
        else:
            monkeypatch.setenv("http_proxy", server)
            monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
        with pytest.raises(UserError, match=r"cannot be reached .*`hybrid-dist prefetch CON"):
            read_config(replace(Model(), name_or_path="no-such/model-here"))
    assert "".join(capfd.readouterr()) == ""


def test_a_path_of_no_folder_is_refused_with_the_nearest_beside_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs/demo/hybrid").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    near = r"; did you mean 'runs/demo/hybrid'\?"
    for act in (read_config, tokens):
        with pytest.raises(UserError, match=f"runs/demo/hybrd: no such folder{near}"):
            act(replace(Model(), name_or_path="runs/demo/hybrd"))
        with pytest.raises(UserError, match=r"demo/other: no such folder$"):
            act(replace(Model(), name_or_path="./runs/demo/other"))
    monkeypatch.chdir(tmp_path / "runs")
    with pytest.raises(UserError, match=r"on the hub.*; did you mean 'demo/hybrid'\?$"):
        read_config(replace(Model(), name_or_path="demo/hybrd"))


def test_a_tokenizer_larger_than_the_models_vocabulary_is_refused(folder: Path) -> None:
    texts, config = tokens(model(folder)), read_config(model(folder))
    texts.check(config)
    config.vocab_size -= 1
    with pytest.raises(UserError, match="they do not belong together"):
        texts.check(config)


@pytest.mark.parametrize("start", [-9.0, 0.5])  # exp of them is below and above the bounds
def test_a_learned_temperature_can_return_from_its_bounds(folder: Path, start: float) -> None:
    module = BiEncoder(built(model(folder)), 0.05, learn_temperature=True)
    learned = module.temperature
    assert learned is not None
    with torch.no_grad():
        learned.log.fill_(start)
    temperature = module(in_chunks(tokens(model(folder)), []))[2]
    assert learned.LOWEST <= temperature.item() <= learned.HIGHEST
    temperature.sum().backward()
    assert learned.log.grad is not None
    assert learned.log.grad.item() > 0
