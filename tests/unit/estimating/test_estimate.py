"""Estimates against runs that were measured, and against arithmetic on paper."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import XLMRobertaConfig

from hybrid_dist.cli import run
from hybrid_dist.commands import estimate as command
from hybrid_dist.config.schema import Config, Model
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from hybrid_dist.estimating.estimate import Estimate, estimate
from hybrid_dist.estimating.hardware import CARDS, GIB, Cluster
from hybrid_dist.estimating.memory import STRATEGIES, Step, memory
from hybrid_dist.estimating.model_size import ModelSize, model_size
from hybrid_dist.estimating.step_time import embedding_seconds
from hybrid_dist.estimating.workload import given_workload
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from tests.support.launch import ROOT

H100 = ROOT / "benchmarks" / "results" / "h100-2026-11-26"
ONE = Cluster(CARDS["h100"], 1)
RUN = ("--tokens", "100", "--data.train", "absent.jsonl")
BESIDE = 0.25
"""How far an estimate may be from what was measured."""


@pytest.fixture(scope="module")
def xlmr_large(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("xlmr-large")
    XLMRobertaConfig(
        vocab_size=250_002,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        max_position_embeddings=514,
        type_vocab_size=1,
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def size(xlmr_large: str) -> ModelSize:
    return model_size(replace(Config().model, name_or_path=xlmr_large))


def of_run(size: ModelSize, keys: dict[str, Any], cluster: Cluster = ONE) -> Estimate:
    config = Config.load(ROOT / "configs" / "xlmr-large-hybrid.yaml", **keys)
    strategy = "single" if cluster.world == 1 else "ddp"
    return estimate(config, size, cluster, given_workload(config, 174), strategy)


def measured(what: str) -> dict[str, Any]:
    lines = (H100 / "train_step.jsonl").read_text("utf-8").splitlines()
    return next(record for record in map(json.loads, lines) if record["what"] == what)


@pytest.mark.parametrize(
    ("how", "pairs", "chunk"),
    [
        ("ours", 256, 256),
        ("ours", 1024, 256),
        ("ours", 1024, 64),
        ("compiled", 256, 256),
        ("compiled", 1024, 256),
        ("compiled", 8192, 256),
    ],
)
def test_measured_steps_are_met(size: ModelSize, how: str, pairs: int, chunk: int) -> None:
    compiled, step = how == "compiled", measured(f"{how}: {pairs:,} pairs in chunks of {chunk}")
    keys = {"batching.size": pairs, "train.chunk_size": chunk, "train.compile": compiled}
    guess = of_run(size, keys)
    assert guess.step.total == pytest.approx(step["s"], rel=BESIDE)
    assert guess.chosen.memory.total / GIB == pytest.approx(step["gib"], rel=BESIDE)


def test_measured_embedding_is_met(size: ModelSize) -> None:
    lines = (H100 / "embed.jsonl").read_text("utf-8").splitlines()
    records = {record["what"]: record for record in map(json.loads, lines)}
    texts, seconds = records["texts"], records["ours, 65,536 tokens at once"]["s"]
    guess = embedding_seconds(size, ONE, texts["count"], texts["tokens"] / texts["count"])
    assert guess == pytest.approx(seconds, rel=BESIDE)


def test_the_example_of_the_launchers_page(size: ModelSize) -> None:
    """XLM-R large under DDP in bf16 in one chunk of 32 x 200 tokens; with chunks, 2.2 GB more."""
    assert size.parameters == pytest.approx(560e6, rel=0.01)
    assert size.matrices == pytest.approx(303e6, rel=0.01)
    step = Step(chunks=1, tokens=6400, vectors=0, candidates=0, precision="bf16")
    parts = memory(size, "ddp", 8, step).parts
    shown = {name: round(part / 1e9, 1) for name, part in parts.items()}
    assert shown == {"states": 8.9, "casts": 0.6, "activations": 6.6, "loss": 0.0}
    recomputed = memory(size, "ddp", 8, replace(step, recompute_layers=True)).parts
    assert round(recomputed["activations"] / 1e9, 1) == 0.9
    assert round(memory(size, "ddp", 8, replace(step, chunks=2)).parts["sum"] / 1e9, 1) == 2.2


def test_states_by_the_table_of_the_launchers_page(size: ModelSize) -> None:
    """Bytes of a parameter in bf16 on 8 ranks."""
    step = Step(chunks=1, tokens=0, vectors=0, candidates=0, precision="bf16")
    bytes_of = {
        one: memory(size, one, 8, step).parts["states"] / size.parameters for one in STRATEGIES
    }
    assert bytes_of == pytest.approx(
        {
            "single": 16,
            "ddp": 16,
            "zero1": 4 + 12 / 8,
            "zero2": 2 + 14 / 8,
            "zero3": 2 + 16 / 8,
            "fsdp2": 2 + 16 / 8,
            "zero2-offload": 2,
            "zero3-offload": 2,
        }
    )


def test_what_is_frozen_has_neither_gradients_nor_states(xlmr_large: str, size: ModelSize) -> None:
    frozen = model_size(replace(Config().model, name_or_path=xlmr_large), frozen_layers=12)
    assert frozen.parameters == size.parameters and frozen.layers == 12 and not frozen.vocabulary
    assert frozen.trained == pytest.approx(151e6, rel=0.01)
    whole, half = (of_run(one, {"train.chunk_size": 0}) for one in (size, frozen))
    assert half.step.parts["backward"] == pytest.approx(whole.step.parts["backward"] / 2, rel=0.01)
    parts = half.chosen.memory.parts
    assert parts["states"] == 16 * frozen.trained + 4 * (frozen.parameters - frozen.trained)


def test_the_largest_chunk_is_the_largest_that_fits(size: ModelSize) -> None:
    card = replace(CARDS["a100-40"], memory=40.0)
    run = of_run(size, {"train.chunk_size": "auto"}, Cluster(card, 8))
    for fit in run.fits:
        assert fit.chunk == fit.largest > 0
        assert fit.memory.total <= 0.95 * 40 * GIB
    small = replace(card, memory=8.0)
    fits = {fit.strategy: fit for fit in of_run(size, {}, Cluster(small, 8)).fits}
    assert fits["ddp"].largest == fits["ddp"].largest_batch == 0 and fits["fsdp2"].largest > 0


def test_exchange_is_that_of_rings_at_line_rate() -> None:
    card = replace(CARDS["h100"], peers=100.0)
    assert Cluster(card, 1).seconds(1e9) == 0
    assert Cluster(card, 4).seconds(1e9) == pytest.approx(0.75 * 1e9 / 100e9)
    two = Cluster(card, 4, nodes=2, link=50e9)
    assert two.seconds(1e9) == pytest.approx(0.75 * 1e9 / 100e9 + 0.5 * 1e9 / 50e9)


def test_between_machines_only_used_words_are_exchanged(size: ModelSize) -> None:
    cluster = Cluster(CARDS["h100"], 8, nodes=2, link=50e9)
    few = {"batching.size": 256, "train.chunk_size": 0}
    sparse, whole = (
        of_run(size, few | {"train.sparse_vocabulary": how}, cluster).step.exchange
        for how in ("auto", "never")
    )
    saved = 4 * (size.vocabulary - 256 * 174 * size.width)
    assert whole - sparse == pytest.approx(2 * cluster.seconds(saved))


def test_few_pairs_cost_what_launching_kernels_costs(size: ModelSize) -> None:
    cluster = Cluster(CARDS["h100"], 8, nodes=64, link=400e9)
    per_rank = {
        pairs: of_run(size, {"batching.size": 512 * pairs, "train.chunk_size": 0}, cluster)
        for pairs in (1, 16, 256)
    }
    one, few, many = (per_rank[pairs].step.parts for pairs in (1, 16, 256))
    for part in ("encode", "backward"):
        assert one[part] == few[part] < many[part]


@pytest.mark.parametrize("tokenized", ["", "with other prefixes", "as the run does"])
def test_lengths_are_those_of_the_data(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tokenized: str
) -> None:
    data = str(toy / "train.jsonl")
    if tokenized:
        tokenize = ["--tokenize", str(toy / "model")]
        if tokenized == "as the run does":
            tokenize += ["--query-prefix", "", "--passage-prefix", ""]
        run("prepare", ["pairs", data, "--out", str(tmp_path / "store"), *tokenize])
        data = str(tmp_path / "store")
        capsys.readouterr()
    keys = ["--data.train", data, "--model.name_or_path", str(toy / "model")]
    keys += ["--model.query_prefix", "", "--model.passage_prefix", "", "--batching.size", "64"]
    command.main([*keys, "--gpus", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    store = Store.open(toy / "train.jsonl")
    rows = np.arange(store.index.num_rows)
    model = replace(Model(), name_or_path=str(toy / "model"), query_prefix="", passage_prefix="")
    tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model))
    true = np.mean(tokens.lengths(store.queries(rows), store.passages(rows)))
    assert found["tokens_of_pair"] == pytest.approx(true, rel=0.1)
    assert ("token ids" in found["tokens_from"]) == (tokenized == "as the run does")
    assert set(found["memory"]) == set(STRATEGIES) - {"single"}


def test_cut_texts_count_as_they_are_cut(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["--data.train", str(toy / "train.jsonl"), "--model.name_or_path", str(toy / "model")]
    keys += ["--model.max_query_tokens", "4", "--model.max_passage_tokens", "4"]
    command.main([*keys, "--model.query_prefix", "", "--model.passage_prefix", "", "--json"])
    assert json.loads(capsys.readouterr().out)["tokens_of_pair"] == pytest.approx(8, rel=0.05)


def test_the_screen_fits_and_tells_where_lengths_are_from(
    xlmr_large: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    config = str(ROOT / "configs" / "xlmr-large-hybrid.yaml")
    args = ["--config", config, "--model.name_or_path", xlmr_large, "--nodes", "4"]
    command.main([*args, "--gpus", "8"])
    shown = capsys.readouterr().out
    assert "1,024 pairs of 320 tokens" in shown and "maximum lengths" in shown
    assert all(one in shown for one in STRATEGIES if one != "single")
    assert "GPU hours" in shown and max(map(len, shown.splitlines())) <= 80
    command.main([*args, "--tokens", "50", "--train.ema", "0.999"])
    shown = capsys.readouterr().out
    assert "of 50 tokens a step (from --tokens 50)" in shown and "moving average" in shown


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--gpu", "h10"], "--gpu: unknown card 'h10'; did you mean 'h100'?; known are h100,"),
        (["--link", "ib"], "--link: unknown network 'ib'"),
        (["--launcher", "deepspeed"], "--launcher: 'deepspeed' is none of"),
        (["--launcher", "single", "--gpus", "2"], "--launcher: 'single' is none of"),
        (["--nodes", "0"], "--nodes: 0 is too few"),
        (["--train.precision", "fp32"], "train.precision: steps in fp32"),
        (["--gpus", "256"], "batching.size: 128 pairs cannot be split over 256 ranks"),
    ],
)
def test_impossible_requests_are_refused(
    args: list[str], problem: str, xlmr_large: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main([*args, *RUN, "--model.name_or_path", xlmr_large])
    assert problem in capsys.readouterr().err


def test_models_whose_work_cannot_be_counted_are_refused(tmp_path: Path) -> None:
    from transformers import MixtralConfig

    MixtralConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_local_experts=2
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="cannot be counted for models of type mixtral"):
        model_size(replace(Config().model, name_or_path=str(tmp_path)))
