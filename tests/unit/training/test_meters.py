"""Meters: figures of cards and models, and the timing of the parts of a step."""

import socket
import time
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AutoModel, DistilBertConfig, XLMRobertaConfig

from hybrid_dist.config.schema import Model
from hybrid_dist.model.layers import freeze_layers
from hybrid_dist.model.lora import add_adapters
from hybrid_dist.tracking.stopwatch import Stopwatch
from hybrid_dist.training.flops import Flops, peak
from hybrid_dist.training.rank_times import RankTimes
from tests.support.thread_ranks import together


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA RTX 6000 Ada Generation", 364),
        ("NVIDIA GeForce RTX 4090", 165),
    ],
)
def test_cards_are_known_by_their_names(name: str, tflops: float) -> None:
    assert peak(name) == tflops * 1e12


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A100-SXM4-80GB MIG 3g.40gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 3090 Ti",
        "Quadro RTX 6000",
        "Tesla V100-SXM2-32GB",
        "NVIDIA H1000",
        "",
    ],
)
def test_a_card_that_is_not_in_the_table_has_no_peak(name: str) -> None:
    assert peak(name) is None


def model(config: Any) -> Any:
    with torch.device("meta"):
        return AutoModel.from_config(config)


def test_flops_of_xlm_r_large() -> None:
    config = XLMRobertaConfig(
        hidden_size=1024, num_hidden_layers=24, intermediate_size=4096, num_attention_heads=16
    )
    flops = Flops.of(model(config))
    assert flops is not None
    assert flops.weights == 24 * (12 * 1024**2 + 13 * 1024), "302 M: no embeddings, no pooler"
    assert flops.width == 24 * 1024
    assert flops([10, 30]) == 6 * flops.weights * 40 + 12 * flops.width * (100 + 900)


def test_frozen_layers_have_no_backward_pass() -> None:
    config = XLMRobertaConfig(
        hidden_size=64, num_hidden_layers=12, intermediate_size=256, num_attention_heads=4
    )
    frozen = model(config)
    freeze_layers(frozen, 9)
    whole, rest = Flops.of(model(config)), Flops.of(frozen)
    assert whole is not None
    assert rest is not None
    assert rest([10, 30]) == pytest.approx(whole([10, 30]) * (12 + 2 * 3) / 36)


def test_with_lora_frozen_weights_have_no_gradients_but_pass_them_on() -> None:
    config = XLMRobertaConfig(
        hidden_size=64, num_hidden_layers=2, intermediate_size=256, num_attention_heads=4
    )
    adapted = model(config)
    add_adapters(adapted, Model(lora_rank=8))
    plain, flops = Flops.of(model(config)), Flops.of(adapted)
    assert plain is not None
    assert flops is not None
    matrices = 2 * 8 * (4 * (64 + 64) + 2 * (64 + 256))
    assert flops([10, 30]) == (4 * plain.weights + 6 * matrices) * 40 + 12 * 2 * 64 * (100 + 900)


def test_flops_are_known_where_every_token_meets_every_weight() -> None:
    assert Flops.of(model(DistilBertConfig(n_layers=3))) is not None
    albert = AlbertConfig(hidden_size=32, intermediate_size=64, num_attention_heads=2)
    assert Flops.of(model(albert)) is None, "its layers share weights"


def test_parts_of_one_name_add_up() -> None:
    watch = Stopwatch(torch.device("cpu"))
    begin = time.perf_counter()
    for name in ("a", "b", "a"):
        with watch(name):
            time.sleep(0.02)
    whole = time.perf_counter() - begin
    seconds = watch.seconds()
    assert watch.ready
    assert 0.02 <= seconds["b"] <= seconds["a"] - 0.01
    assert seconds["a"] + seconds["b"] <= whole


@pytest.mark.parametrize(
    ("own", "slowest"),
    [
        ([100, 100, 118, 102], 2),
        ([100, 100, 113, 102], None),
        ([50, 50, 100, 100], 2),
        ([2, 2, 2, 8], None),
        ([120, 100], 0),
        ([113, 100], None),
        ([100], None),
    ],
    ids=["one", "not by much", "a node", "of little work", "of two", "of two, not much", "alone"],
)
def test_a_rank_is_named_that_takes_clearly_longer(own: list[float], slowest: int | None) -> None:
    def check(rank: int, ranks: Any) -> None:
        record = RankTimes(ranks).record(np.array(own, float), step_ms=300.0)
        times = {f"system/rank_ms/{n}": ms for n, ms in enumerate(own)} if len(own) > 1 else {}
        named = {key: value for key, value in record.items() if key not in times}
        assert {key: record[key] for key in times} == times
        expected: dict[str, Any] = {}
        if slowest is not None:
            others = np.median([ms for n, ms in enumerate(own) if n != slowest])
            expected = {"system/slowest_rank": slowest, "system/slowest_node": socket.gethostname()}
            expected["system/slowest_pct"] = pytest.approx(100 * (own[slowest] / others - 1))
        assert named == expected

    together(len(own), check)
