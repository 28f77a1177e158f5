"""Compiled layers: one graph for texts of any number and length, and the gradients of before.

torch's aot_eager backend traces as the real one does, and writes no kernels: seconds in place of
minutes on a CPU.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from hybrid_dist.model.compiling import compile_layers
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.model.layers import recompute_layers
from hybrid_dist.model.packing import AttentionMode
from tests.support import varlen_on_cpu
from tests.support.compiled_chunks import LONGEST, step
from tests.support.encoders import encoder_of

varlen_on_cpu.register()
STEPS = 21
"""Every number of texts with every number of chunks; every number of each comes in 7 steps."""


@pytest.fixture(autouse=True)
def no_recompilation() -> Iterator[None]:
    """A second graph for the same code raises."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    torch._dynamo.reset()


def module(
    folder: Path, how: AttentionMode | str, dropout: float, kind: str = "xlm-roberta"
) -> BiEncoder:
    sizes = {"max_position_embeddings": LONGEST + 4, "hidden_size": 16, "num_attention_heads": 2}
    changes: dict[str, Any] = {"dropout": dropout, "attention_dropout": 0.0}
    encoder = encoder_of(kind, folder, sizes, **(changes if kind == "xlm-roberta" else {}))
    if isinstance(how, AttentionMode):
        encoder.attention_mode = how
    else:
        encoder.set_padding(how)
    return BiEncoder(encoder, 0.05, learn_temperature=False)


HOW = {"kernel": AttentionMode.KERNEL, "padded attention": AttentionMode.PADDED, "padded": "a test"}


@pytest.mark.parametrize(
    ("how", "recomputed", "steps"),
    [
        pytest.param(AttentionMode.KERNEL, True, 7, id="kernel, layers recomputed"),
        # siblings: the case above has fewer steps, and the next test has the others with few steps
        *(
            pytest.param(how, recomputed, STEPS, id=f"{name}, {recomputed}", marks=pytest.mark.long)
            for name, how, recomputed in (
                ("kernel", AttentionMode.KERNEL, True),
                *((name, how, False) for name, how in HOW.items()),
            )
        ),
    ],
)
def test_texts_of_any_number_and_length_have_one_graph(
    how: AttentionMode | str, recomputed: bool, steps: int, tmp_path: Path
) -> None:
    model = module(tmp_path, how, dropout=0.1).train()
    if recomputed:
        recompute_layers(model.encoder.backbone)
    compile_layers(model.encoder, "aot_eager")
    for number in range(steps):
        assert step(model, number)
    assert_one_graph()


def assert_one_graph() -> None:
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_compiled_layers_have_the_same_gradients_and_one_graph(
    how: AttentionMode | str, tmp_path: Path
) -> None:
    plain, compiled = (module(tmp_path, how, dropout=0.0).train() for _ in range(2))
    assert_same_gradients(plain, compiled)
    assert_one_graph()


@pytest.mark.parametrize(
    "how",
    [AttentionMode.KERNEL, pytest.param(AttentionMode.PADDED, marks=pytest.mark.long)],
    ids=str,
)
@pytest.mark.parametrize(
    ("kind", "graphs"),
    [("modernbert", 2), pytest.param("qwen3 with windows", 2, marks=pytest.mark.long)],
)
def test_layers_with_windows_have_a_graph_of_their_own(
    kind: str, graphs: int, how: AttentionMode, tmp_path: Path
) -> None:
    plain, compiled = (module(tmp_path, how, 0.0, kind).train() for _ in range(2))
    with torch._dynamo.config.patch(error_on_recompile=False):
        assert_same_gradients(plain, compiled)
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]


def assert_same_gradients(plain: BiEncoder, compiled: BiEncoder) -> None:
    """Three steps with other numbers of chunks and texts, and texts of other lengths."""
    compile_layers(compiled.encoder, "aot_eager")
    for number in range(3):
        expected, actual = step(plain, number), step(compiled, number)
        assert expected.keys() == actual.keys()
        largest = max(float(part.abs().max()) for part in expected.values())
        for name, part in expected.items():
            close: dict[str, Any] = {"rtol": 0, "atol": 1e-2 * largest}
            torch.testing.assert_close(actual[name], part, msg=name, **close)


def test_on_cpus_attention_is_padded_where_layers_are_compiled(tmp_path: Path) -> None:
    """A call for each length that occurs would be a graph for each set of lengths."""
    model = module(tmp_path, AttentionMode.BY_SIZE, dropout=0.0)
    compile_layers(model.encoder, "aot_eager")
    assert model.encoder.attention_mode is AttentionMode.PADDED
    assert "train.compile" in model.encoder.encoding_description
