"""Decoders as encoders: last-token pooling, attention both ways, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import PackedTexts
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from tests.support.encoders import DECODERS, KINDS, encoder_of
from tests.support.small_models import unended

TEXTS = ["bo du fo ka?", "ka", "", "ra ti mo " * 9, "lo"]
INSTRUCTION = "Instruct: bo\nQuery:"


def decoder_folder(kind: str, toy: Path, folder: Path) -> Path:
    """Sizes of a model type beside a tokenizer that ends texts with a special token."""
    from transformers import AutoConfig

    tokenizer = AutoTokenizer.from_pretrained(toy / "model")
    tokenizer.padding_side = "left"  # as Qwen3-Embedding's
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"intermediate_size": 48, "pad_token_id": tokenizer.pad_token_id}
    settings = {"vocab_size": len(tokenizer), "max_position_embeddings": 128} | KINDS[kind]
    AutoConfig.for_model(kind.split()[0], **sizes, **more, **settings).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("attention", ["auto", "bidirectional"])
def test_a_saved_decoder_gives_the_same_vectors_in_sentence_transformers(
    attention: Any, toy: Path, tmp_path: Path
) -> None:
    model = Model(
        name_or_path=str(decoder_folder("qwen3", toy, tmp_path / "sizes")),
        init="scratch",
        pooling="last",
        attention=attention,
        query_prefix=INSTRUCTION,
        passage_prefix="",
    )
    torch.manual_seed(3)
    encoder = build(model, read_config(model)).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter.data, std=0.3)
    tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model))
    tokens.check_end()
    state = encoder.backbone.state_dict()
    save(tmp_path / "out", encoder.backbone, state, tokens.tokenizer, EncoderSpec.of(model))
    with torch.inference_mode():
        queries, passages = encoder(tokens.queries(TEXTS)), encoder(tokens.passages(TEXTS))
    close: dict[str, Any] = {"rtol": 0, "atol": 1e-5}
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(theirs.encode_query(TEXTS), queries, **close)
    np.testing.assert_allclose(theirs.encode_document(TEXTS), passages, **close)
    (tmp_path / "out" / "hybrid_dist.json").unlink()  # read as sentence-transformers' own
    ours = TextEmbedder.load(tmp_path / "out", "cpu")
    assert (ours.settings["pooling"], ours.settings["query prefix"]) == ("last", INSTRUCTION)
    np.testing.assert_allclose(ours.encode_queries(TEXTS), queries, **close)
    np.testing.assert_allclose(ours.encode_passages(TEXTS), passages, **close)


def test_last_pooling_is_the_hidden_state_of_each_texts_last_token(tmp_path: Path) -> None:
    encoder = encoder_of("qwen3", tmp_path, pooling="last").eval()
    texts = [[3, 4, 5, 6], [7], [8, 9]]
    with torch.no_grad():
        vectors = encoder(PackedTexts.of(texts))
        encoder.backbone.set_attn_implementation("eager")
        for vector, text in zip(vectors, texts, strict=True):
            hidden = encoder.backbone(torch.tensor([text])).last_hidden_state
            expected = torch.nn.functional.normalize(hidden[0, -1], dim=0)
            torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", DECODERS)
def test_only_attention_both_ways_shows_the_first_token_what_follows(
    kind: str, tmp_path: Path
) -> None:
    texts = PackedTexts.of([[3, 4, 5], [3, 4, 6]])
    both = encoder_of(kind, tmp_path, pooling="cls", attention="bidirectional").eval()
    one, other = both(texts)
    assert not torch.allclose(one, other, atol=1e-4)
    both.backbone.config.is_causal = True
    one, other = both(texts)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_model_that_was_saved_with_attention_both_ways_keeps_it(tmp_path: Path) -> None:
    first = encoder_of("qwen3", tmp_path / "a", attention="bidirectional")
    first.backbone.save_pretrained(tmp_path / "b")
    for attention in ("auto", "bidirectional"):
        model = Model(name_or_path=str(tmp_path / "b"), attention=attention)
        again = build(model, read_config(model))
        assert again.backbone.config.is_causal is False


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_attention_both_ways_of_a_model_that_has_it_is_refused(kind: str, tmp_path: Path) -> None:
    message = rf"model.attention: models of type {kind} attend to all tokens already; leave it"
    with pytest.raises(UserError, match=message):
        encoder_of(kind, tmp_path, attention="bidirectional")


def test_attention_both_ways_without_a_switch_for_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_dist.model.direction._first_sees_last", lambda backbone: False)
    with pytest.raises(UserError, match=r"model.attention: models of type qwen3 stay causal"):
        encoder_of("qwen3", tmp_path, attention="bidirectional")


def test_cls_pooling_of_a_causal_model_is_refused(tmp_path: Path) -> None:
    message = r"model.pooling: the first token of a qwen3 model sees no other"
    with pytest.raises(UserError, match=message):
        encoder_of("qwen3", tmp_path, pooling="cls")


def test_last_pooling_needs_a_tokenizer_that_ends_texts_with_a_special_token(
    toy: Path, tmp_path: Path
) -> None:
    """The lines of docs/encoders.md then add one, also to the saved tokenizer."""
    folder = unended(toy, tmp_path / "model")
    spec = EncoderSpec("last", "", "", 32, 32)
    with pytest.raises(UserError, match=r"model.pooling: last takes .* ends texts with no special"):
        TextTokens.load(str(folder), spec).check_end()

    tokenizer = AutoTokenizer.from_pretrained(folder)
    end, number = tokenizer.eos_token, tokenizer.eos_token_id
    post = TemplateProcessing(single=f"$A {end}", special_tokens=[(end, number)])
    tokenizer.backend_tokenizer.post_processor = post
    tokenizer.save_pretrained(folder)
    tokens = TextTokens.load(str(folder), spec)
    tokens.check_end()
    assert [ids[-1] for ids in tokens.passage_ids(["bo", "ti " * 99])] == [number] * 2
