"""Chunks and low precision on GPUs: dropout masks, bf16 and fp16 gradients, under each strategy."""

from pathlib import Path

import pytest
import torch

from tests.support.chunk_gradients import (
    HOW,
    assert_bf16_gradients_do_not_depend_on_chunks,
    bi_encoder,
    chunks_of,
    gradient,
    relative_error,
)
from tests.support.launch import launch
from tests.support.low_precision import (
    NAMES,
    SCRIPT,
    assert_chunks_cost_memory_only,
    assert_the_loss_is_given_fp32,
)
from tests.support.updates import results

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here")


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("how", ["packed", "padded"])
def test_recomputed_chunks_draw_the_same_dropout_masks(
    how: str, bf16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other masks move the gradient by a third; the order of sums on a GPU by far less than 1%."""
    padded = how == "padded"
    model = bi_encoder(tmp_path, dropout=0.1, attention_dropout=0.1 if padded else 0.0).cuda()
    assert (model.encoder.padding_reason is not None) == padded
    torch.manual_seed(1)
    measured = gradient(model, chunks_of(16), bf16)
    monkeypatch.setattr(
        "hybrid_dist.model.encoder.checkpoint",
        lambda run, *args, use_reentrant: run(*args),
    )
    torch.manual_seed(1)
    assert relative_error(measured, gradient(model, chunks_of(16), bf16)) < 0.01


@pytest.mark.parametrize("how", HOW)
def test_bf16_gradients_are_as_exact_in_64_chunks_as_in_one(how: str, tmp_path: Path) -> None:
    assert_bf16_gradients_do_not_depend_on_chunks(how, tmp_path, "cuda")


@pytest.mark.parametrize("launcher", ["single", "ddp", "fsdp2"])
@pytest.mark.parametrize(("precision", "worst"), [("bf16", 0.02), ("fp16", 0.003)])
def test_gradients_do_not_depend_on_chunks(
    launcher: str, precision: str, worst: float, toy: Path
) -> None:
    processes = 1 if launcher == "single" else torch.cuda.device_count()
    if processes > 20 or 60 % processes:
        pytest.skip(f"60 rows in three chunks or more on each of {processes} GPUs")
    measured = results(launch(launcher, None, [*SCRIPT, str(toy), precision, *NAMES]))
    assert_chunks_cost_memory_only(measured, "gradient_error", worst, processes)
    assert_the_loss_is_given_fp32(measured)
