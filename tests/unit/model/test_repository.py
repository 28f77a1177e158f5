"""Damaged and odd model folders: one message that names the file, and nothing wrong is used."""

import json
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.reporting.evaluation_job import load_model

Damage = Callable[[Path], Any]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def whole(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model that pools as LaBSE does: it has every kind of file."""
    source = str(toy / "model")
    model = Model(name_or_path=source, init="scratch", pooling="labse", max_query_tokens=24)
    encoder = build(model, read_config(model))
    tokens = TextTokens.load(source, EncoderSpec.of(model))
    out = tmp_path_factory.mktemp("whole") / "model"
    state = encoder.backbone.state_dict()
    save(out, encoder.backbone, state, tokens.tokenizer, EncoderSpec.of(model))
    return out


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def load(folder: Path) -> TextEmbedder:
    embedder = TextEmbedder.load(str(folder), torch.device("cpu"))
    assert len(embedder.encode_queries(["bo du", ""])) == 2
    return embedder


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        load(folder)
    message = str(refused.value)
    assert str(folder) in message and len(message) < 1000
    return message


def write(name: str, content: Any) -> Damage:
    text = content if isinstance(content, str) else json.dumps(content)
    return lambda folder: (folder / name).write_text(text)


def change(name: str, **changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps(content))

    return damage


def cut(name: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def other_shapes(name: str, key: str) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / name)
        save_file(tensors | {key: tensors[key][..., :-1].contiguous()}, folder / name)

    return damage


def sentence_transformers(*damages: Damage) -> Damage:
    """Damage to a folder that is not of our making."""

    def damage(folder: Path) -> None:
        (folder / "hybrid_dist.json").unlink()
        for one in damages:
            one(folder)

    return damage


def as_pickle(content: Any) -> Damage:
    """The weights in a file of torch.save, in place of safetensors."""

    def damage(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        if isinstance(content, bytes):
            (folder / "pytorch_model.bin").write_bytes(content)
        else:
            torch.save(content, folder / "pytorch_model.bin")

    return damage


MODULE = {"type": "sentence_transformers.models.Transformer", "path": ""}
POOL = "1_Pooling/config.json"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "config cut": (cut("config.json", 0.5), "config.json: is not a JSON file"),
    "config empty": (write("config.json", ""), "config.json: is not a JSON file"),
    "config a list": (
        write("config.json", []),
        "config.json: expected a JSON object, not a list",
    ),
    "config null": (write("config.json", None), "expected a JSON object, not null"),
    "config {}": (write("config.json", {}), "is no folder with config.json"),
    "type a list": (change("config.json", model_type=[]), "is no folder with config.json"),
    "a type of no text": (
        write("config.json", {"model_type": "resnet"}),
        "of type resnet, without",
    ),
    "sizes of words": (change("config.json", hidden_size="x"), "config.json"),
    "no sizes": (change("config.json", hidden_size=0), "hidden_size: expected a number from 1"),
    "endless layers": (change("config.json", num_hidden_layers=10**9), "num_hidden_layers: expec"),
    "other sizes": (change("config.json", hidden_size=64), "is no folder with weights"),
    "padding outside": (
        change("config.json", pad_token_id=99999),
        "pad_token_id: expected a token",
    ),
    "no padding": (change("config.json", pad_token_id=None), "pad_token_id: expected a token"),
    "a kernel's code": (
        change("config.json", attn_implementation="some/kernel"),
        "'some/kernel' is code of a repository, which was not run",
    ),
    "weights cut": (cut(WEIGHTS, 0.5), "is no folder with weights (SafetensorError"),
    "weights' head cut": (cut(WEIGHTS, 0.01), "is no folder with weights (SafetensorError"),
    "weights empty": (cut(WEIGHTS, 0), "is no folder with weights (SafetensorError"),
    "weights of another shape": (
        other_shapes(WEIGHTS, "encoder.layer.0.output.dense.weight"),
        "is no folder with weights",
    ),
    "dense layer cut": (cut("2_Dense/model.safetensors", 0.5), "is no folder with a dense layer"),
    "dense layer of another shape": (
        other_shapes("2_Dense/model.safetensors", "linear.bias"),
        "is no folder with a dense layer",
    ),
    "weights of no archive": (as_pickle(b"\x93no archive" * 99), "is no folder with weights"),
    "weights a list": (as_pickle([torch.ones(3)]), "is no folder with weights"),
    "tokenizer {}": (write("tokenizer.json", {}), "is no folder with a tokenizer"),
    "tokenizer a list": (write("tokenizer.json", []), "is no folder with a tokenizer"),
    "tokenizer cut": (cut("tokenizer.json", 0.5), "is no folder with a tokenizer"),
    "tokenizer empty": (write("tokenizer.json", ""), "is no folder with a tokenizer"),
    "tokenizer_config a list": (
        write("tokenizer_config.json", []),
        "is no folder with a tokenizer",
    ),
    "ours cut": (cut("hybrid_dist.json", 0.5), "hybrid_dist.json: is not a JSON file"),
    "ours a list": (write("hybrid_dist.json", []), "hybrid_dist.json: expected a JSON object"),
    "ours {}": (write("hybrid_dist.json", {}), "hybrid_dist.json: pooling: is missing"),
    "ours with another key": (change("hybrid_dist.json", x=1), "hybrid_dist.json: x: unknown key"),
    "pooling xx": (
        change("hybrid_dist.json", pooling="xx"),
        "hybrid_dist.json: pooling: input should be 'mean', 'cls', 'last' or 'labse', given 'xx'",
    ),
    "a prefix of numbers": (change("hybrid_dist.json", query_prefix=5), "query_prefix: input"),
    "half a prefix": (change("hybrid_dist.json", query_prefix="\ud800"), "query_prefix: holds"),
    "a length as text": (change("hybrid_dist.json", max_query_tokens="24"), "max_query_tokens: "),
    "a length of true": (change("hybrid_dist.json", max_query_tokens=True), "max_query_tokens: "),
    "no length": (change("hybrid_dist.json", max_passage_tokens=0), "max_passage_tokens: "),
    "modules cut": (sentence_transformers(cut("modules.json", 0.5)), "modules.json: is not a JSON"),
    "modules {}": (
        sentence_transformers(write("modules.json", {})),
        "modules.json: expected a list of modules, not an object",
    ),
    "modules of numbers": (
        sentence_transformers(write("modules.json", [5])),
        "modules.json: expected a `type` and a `path` of every module",
    ),
    "modules without a path": (
        sentence_transformers(write("modules.json", [{"type": "Pooling"}])),
        "modules.json: expected a `type` and a `path` of every module",
    ),
    "modules that are unknown": (
        sentence_transformers(
            write("modules.json", [MODULE, {"type": "sentence_transformers.LSTM", "path": "1"}])
        ),
        "modules.json: has a module LSTM; known here are",
    ),
    "two dense layers": (
        sentence_transformers(write("modules.json", [MODULE, MODULE])),
        "modules.json: has a module Transformer twice",
    ),
    "pooling a list": (
        sentence_transformers(write(POOL, [])),
        "expected a JSON object, not a li",
    ),
    "pooling of two kinds": (
        sentence_transformers(change(POOL, pooling_mode_mean_tokens=True)),
        "unsupported pooling: expected mean, cls or lasttoken, not cls and mean",
    ),
    "a dense layer that ends otherwise": (
        sentence_transformers(change("2_Dense/config.json", activation_function="x.Identity")),
        "its dense layer ends in x.Identity",
    ),
    "prompts a list": (
        sentence_transformers(change("config_sentence_transformers.json", prompts=["a"])),
        "prompts: expected an object, given ['a']",
    ),
    "a prompt of numbers": (
        sentence_transformers(change("config_sentence_transformers.json", prompts={"query": 5})),
        "prompts.query: expected a string",
    ),
    "pooling by roots": (
        sentence_transformers(
            change(POOL, pooling_mode_cls_token=False, pooling_mode_mean_sqrt_len_tokens=True)
        ),
        "expected mean, cls or lasttoken, not mean_sqrt_len",
    ),
    "newer pooling of two kinds": (
        sentence_transformers(change(POOL, pooling_mode=["cls", "mean"])),
        "expected mean, cls or lasttoken, not cls and mean",
    ),
    "a pooling of numbers": (
        sentence_transformers(change(POOL, pooling_mode_cls_token=1)),
        "pooling_mode_cls_token: expected true or false",
    ),
    "a transformer elsewhere": (
        sentence_transformers(write("modules.json", [MODULE | {"path": "0_Transformer"}])),
        "modules.json: its Transformer is in a folder of its own",
    ),
    "no length at all": (
        sentence_transformers(change("sentence_bert_config.json", max_seq_length=0)),
        "max_query_tokens: input should be greater than or equal to 1, given 0",
    ),
    "a length of words": (
        sentence_transformers(change("sentence_bert_config.json", max_seq_length="long")),
        "max_seq_length: expected a number, given 'long'",
    ),
    "a length below nothing": (
        sentence_transformers(change("sentence_bert_config.json", max_seq_length=-1)),
        "max_query_tokens: input should be greater than or equal to 1, given -1",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_refused_with_the_file(folder: Path, damage: Damage, message: str) -> None:
    damage(folder)
    assert message in refusal(folder)


def test_the_folder_that_was_damaged_is_otherwise_whole(folder: Path) -> None:
    kept = load(folder).settings
    sentence_transformers()(folder)
    assert load(folder).settings["pooling"] == kept["pooling"] == "labse"


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "\udcff", "/dev/null", "no/such/folder/here"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(
        UserError, match=r"--model: .*(is no folder or reachable|holds a NUL|no such|is a file)"
    ):
        load_model(name, torch.device("cpu"))


class Thief:
    """A pickle that runs code when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("where", ["", "2_Dense/"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_would_run_code_is_refused(
    folder: Path, tmp_path: Path, where: str, archive: bool
) -> None:
    marker, file = tmp_path / "was run", folder / f"{where}pytorch_model.bin"
    (folder / where / WEIGHTS).unlink()
    if archive:
        torch.save({"a": Thief(marker)}, file)
    else:
        file.write_bytes(pickle.dumps({"a": Thief(marker)}, protocol=2))
    message = refusal(folder)
    assert not marker.exists()
    assert "is no folder with" in message and "weights_only" not in message
    pickle.loads(pickle.dumps(Thief(marker)))
    assert marker.exists(), "the pickle does run code where it is let"


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("key", ["max_query_tokens", "max_passage_tokens"])
def test_lengths_that_hold_no_text_are_refused(folder: Path, key: str, most: int) -> None:
    change("hybrid_dist.json", **{"query_prefix": "", "passage_prefix": "", key: most})(folder)
    message = (
        f"model.{key}: {most} leaves no room for a text: the tokenizer of {folder} adds 2 special"
    )
    assert message in refusal(folder) and "give 3 or more" in refusal(folder)
    change("hybrid_dist.json", **{key: 3})(folder)
    load(folder)


def test_a_prefix_that_fills_the_length_is_refused(folder: Path) -> None:
    """Every query would be the same tokens."""
    change("hybrid_dist.json", query_prefix="bo " * 30)(folder)
    assert "model.max_query_tokens: 24 leaves no room for a text" in refusal(folder)


def test_fewer_embeddings_than_tokens_are_refused(folder: Path) -> None:
    change("config.json", vocab_size=1000)(folder)
    assert "do not belong together" in refusal(folder)


def test_a_token_whose_id_is_beyond_the_embeddings_is_refused() -> None:
    words = WordLevel({"a": 0, "[UNK]": 5000}, unk_token="[UNK]")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words))
    tokens = TextTokens(tokenizer, EncoderSpec("mean", "", "", 5, 5))
    tokens.check(XLMRobertaConfig(vocab_size=5001))
    with pytest.raises(UserError, match=r"has tokens up to number 5000, its model 5000 embeddings"):
        tokens.check(XLMRobertaConfig(vocab_size=5000))


@pytest.mark.parametrize("seed", range(4))
def test_damage_at_random_ends_in_one_message_or_in_vectors(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        content = file.read_bytes()
        damaged = bytearray(content[: rng.choice([len(content), rng.randrange(len(content))])])
        for _ in range(3):
            if damaged:
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            load(folder)
        except UserError as error:
            assert len(str(error)) < 1000
        file.write_bytes(content)
