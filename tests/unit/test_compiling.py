"""Compiled layers: one graph for texts of any number and length, and the gradients of before.

torch's aot_eager backend traces as the real one does, and writes no kernels: seconds in place of
minutes on a CPU.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from hybrid_dist.model.compiling import compile_layers
from hybrid_dist.model.encoder import BiEncoder, Chunk, recompute_layers
from hybrid_dist.model.packing import Attends, Packed
from tests.unit import varlen_on_cpu
from tests.unit.test_packing import encoder_of

varlen_on_cpu.register()
STEPS = 21
"""Every number of texts with every number of chunks."""
LONGEST = 140


@pytest.fixture(autouse=True)
def no_recompilation() -> Iterator[None]:
    """A second graph for the same code raises."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    torch._dynamo.reset()


def module(folder: Path, how: Attends | str, dropout: float) -> BiEncoder:
    sizes = {"max_position_embeddings": LONGEST + 4, "hidden_size": 16, "num_attention_heads": 2}
    encoder = encoder_of("xlm-roberta", folder, sizes, dropout=dropout, attention_dropout=0.0)
    if isinstance(how, Attends):
        encoder.attends = how
    else:
        encoder.pack(how)
    return BiEncoder(encoder, 0.05, learn_temperature=False)


def chunks(step: int) -> list[Chunk]:
    """One to three chunks, with texts of 2 tokens to 140. Not all have one length: where nothing is
    to be padded transformers gives layers no mask, which is a second graph."""
    drawn = np.random.default_rng(step)

    def texts(count: int, median: int) -> Packed:
        lengths = np.clip(drawn.lognormal(np.log(median), 0.8, count), 2, LONGEST).astype(int)
        lengths[:2] = 2, 3
        return Packed.of([drawn.integers(3, 60, length).tolist() for length in lengths])

    rows = 2 + step % 7
    return [Chunk(texts(rows, 6), texts(2 * rows, 20)) for _ in range(1 + step % 3)]


def step(model: BiEncoder, number: int) -> dict[str, torch.Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        queries, candidates, _ = model(chunks(number))
    (queries @ candidates.T).square().sum().backward()
    named = model.named_parameters()
    return {name: part.grad.clone() for name, part in named if part.grad is not None}


HOW = {"kernel": Attends.KERNEL, "padded attention": Attends.PADDED, "padded": "a test"}


@pytest.mark.parametrize(
    ("how", "recomputed"),
    [
        pytest.param(Attends.KERNEL, True, id="kernel, layers recomputed"),
        # the next test has these, with fewer steps
        *(pytest.param(how, False, id=name, marks=pytest.mark.long) for name, how in HOW.items()),
    ],
)
def test_texts_of_any_number_and_length_have_one_graph(
    how: Attends | str, recomputed: bool, tmp_path: Path
) -> None:
    model = module(tmp_path, how, dropout=0.1).train()
    if recomputed:
        recompute_layers(model.encoder)
    compile_layers(model.encoder, "aot_eager")
    for number in range(STEPS):
        assert step(model, number)
    assert_one_graph()


def assert_one_graph() -> None:
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_compiled_layers_have_the_same_gradients_and_one_graph(
    how: Attends | str, tmp_path: Path
) -> None:
    """Three steps with other numbers of chunks and texts, and texts of other lengths."""
    plain, compiled = (module(tmp_path, how, dropout=0.0).train() for _ in range(2))
    compile_layers(compiled.encoder, "aot_eager")
    for number in range(3):
        wanted, found = step(plain, number), step(compiled, number)
        assert wanted.keys() == found.keys()
        largest = max(float(part.abs().max()) for part in wanted.values())
        for name, part in wanted.items():
            close = {"rtol": 0, "atol": 1e-2 * largest}
            torch.testing.assert_close(found[name], part, msg=name, **close)
    assert_one_graph()


def test_on_cpus_attention_is_padded_where_layers_are_compiled(tmp_path: Path) -> None:
    """A call for each length that occurs would be a graph for each set of lengths."""
    model = module(tmp_path, Attends.BY_SIZE, dropout=0.0)
    compile_layers(model.encoder, "aot_eager")
    assert model.encoder.attends is Attends.PADDED
    assert "train.compile" in model.encoder.told
