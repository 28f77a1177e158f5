"""The streamed InfoNCE against the reference in float64, on one rank and on three."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from hybrid_dist.losses import streamed
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.gathered_loss import Guide
from hybrid_dist.losses.infonce import LossOutput, info_nce
from hybrid_dist.losses.options import LossOptions
from hybrid_dist.losses.reference import reference_info_nce
from hybrid_dist.runtime.ranks import exit_process
from tests.support.loss_cases import (
    CASES,
    QUERY_COUNTS,
    SIZE,
    TEMPERATURE,
    WIDTH,
    Case,
    expected,
    gradients,
    vectors,
)

SYMMETRIC = LossOptions(symmetric=True)
STATISTICS = ("share", "num_correct", "query_losses", "similarity_sums", "num_false_negatives")
GRADIENTS = ("queries", "passages", "negatives", "temperature")


def compute(
    case: Case,
    rank: int = 0,
    query_counts: tuple[int, ...] = (SIZE,),
    dtype: torch.dtype = torch.float32,
) -> tuple[LossOutput, dict[str, Tensor]]:
    """The streamed loss of one rank's vectors, and their gradients."""
    layout = case.layout(rank, query_counts)
    queries, passages, negatives = vectors(layout.global_batch_size)
    queries, passages = queries[layout.local_slice], passages[layout.local_slice]
    if case.negatives:
        negatives = negatives.split(list(layout.negative_counts))[rank]
    queries, passages, negatives = (
        part.to(dtype).requires_grad_() for part in (queries, passages, negatives)
    )
    candidates = torch.cat([passages, negatives]) if case.negatives else passages
    temperature = torch.tensor([TEMPERATURE], requires_grad=True)
    guide = case.guide(layout.global_batch_size)
    if guide is not None:
        of_negatives = guide.candidates[layout.global_batch_size :]
        if case.negatives:
            of_negatives = of_negatives.split(list(layout.negative_counts))[rank]
        own = guide.candidates[: layout.global_batch_size][layout.local_slice]
        guide = Guide(guide.queries[layout.local_slice], torch.cat([own, of_negatives]))
    output = info_nce(queries, candidates, temperature, layout, case.options, guide)
    output.loss.backward()
    return output, gradients(
        queries=queries, passages=passages, negatives=negatives, temperature=temperature
    )


def assert_statistics(actual: dict[str, Tensor], reference: dict[str, Tensor]) -> None:
    close = torch.testing.assert_close
    close(actual["query_losses"].double(), reference["query_losses"], rtol=1e-6, atol=1e-6)
    close(actual["similarity_sums"].double(), reference["similarity_sums"], rtol=1e-6, atol=1e-5)
    assert actual["num_false_negatives"].equal(reference["num_false_negatives"])
    assert actual["num_correct"] == reference["num_correct"]


def assert_gradients(actual: dict[str, Tensor], reference: dict[str, Tensor]) -> None:
    for name in GRADIENTS:
        torch.testing.assert_close(
            actual[name].double(), reference[name], rtol=1e-5, atol=1e-6, msg=name
        )


# --- one rank


@pytest.mark.parametrize("block_rows", [512, 4])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_gradients_equal_the_reference(
    case: Case, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "BLOCK_ROWS", block_rows)
    output, actual = compute(case)
    reference = expected(case)
    torch.testing.assert_close(output.loss.double(), reference["loss"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(output.share, output.loss.detach())
    assert not output.share.requires_grad
    assert_statistics(vars(output), reference)
    assert_gradients(actual, reference)


def test_gradients_equal_finite_differences_in_float64() -> None:
    queries, passages, _ = (part.clone().requires_grad_() for part in vectors())
    temperature = torch.tensor([TEMPERATURE], dtype=torch.float64, requires_grad=True)
    layout = Case(masked=True).layout()

    def loss(queries: Tensor, passages: Tensor, temperature: Tensor) -> Tensor:
        return info_nce(queries, passages, temperature, layout, SYMMETRIC).loss

    assert torch.autograd.gradcheck(loss, (queries, passages, temperature))


def test_only_one_block_of_logits_is_held() -> None:
    """4,096 x 4,096 logits would take 64 MiB; a block of 512 rows takes 8."""
    size = 4096
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(size, WIDTH, generator=generator).requires_grad_() for _ in range(2)]
    layout = BatchLayout(0, (size,), None)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        temperature = torch.tensor([0.05])
        info_nce(inputs[0], inputs[1], temperature, layout).loss.backward()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert 8 * 2**20 <= peak < 16 * 2**20


def test_the_loss_is_the_same_without_gradients() -> None:
    queries, passages, _ = vectors()
    with torch.no_grad():
        temperature = torch.tensor([TEMPERATURE])
        output = info_nce(queries, passages, temperature, Case().layout(), SYMMETRIC)
    assert not output.loss.requires_grad
    torch.testing.assert_close(output.share, expected(Case(options=SYMMETRIC))["loss"])


def test_vectors_that_are_not_finite_are_counted() -> None:
    queries, passages, _ = vectors()
    queries[3, 0], passages[0, 1], passages[7, 2] = float("nan"), float("inf"), float("nan")
    output = info_nce(queries, passages, torch.tensor([1.0]), Case().layout())
    assert output.num_nonfinite == 3
    assert not output.share.isfinite()


def test_vectors_that_do_not_match_the_layout_are_refused() -> None:
    queries, passages, _ = vectors()
    with pytest.raises(ValueError, match=r"11 queries and 10 candidates.* 11 and 11"):
        info_nce(queries, passages[1:], torch.tensor([1.0]), Case().layout())


def test_a_batch_of_false_negatives_only_has_zero_loss_and_zero_gradients() -> None:
    layout = replace(Case().layout(), ids=torch.zeros(SIZE, 2, dtype=torch.int64))
    inputs = [part.float().requires_grad_() for part in vectors()[:2]]
    temperature = torch.tensor([TEMPERATURE])
    output = info_nce(inputs[0], inputs[1], temperature, layout, SYMMETRIC)
    output.loss.backward()
    assert output.loss == 0
    assert all(part.grad is not None and not part.grad.any() for part in inputs)


def test_equal_numbers_in_different_columns_are_different_ids() -> None:
    """Passage 3 and query 3 have nothing to do with each other."""
    crossed = torch.stack([torch.arange(SIZE), torch.arange(SIZE).roll(1)], dim=1)
    layout = replace(Case().layout(), ids=crossed)
    queries, passages, _ = vectors()
    output = info_nce(queries, passages, torch.tensor([TEMPERATURE]), layout)
    torch.testing.assert_close(output.loss, expected(Case())["loss"])


# --- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_vectors_are_multiplied_in_fp32(dtype: torch.dtype) -> None:
    size = 200
    output, actual = compute(Case(), query_counts=(size,), dtype=dtype)
    queries, passages = (part.to(dtype).double() for part in vectors(size)[:2])
    exact = reference_info_nce(queries, passages, TEMPERATURE).mean()
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss.double(), exact, rtol=1e-6, atol=1e-6)
    assert actual["queries"].dtype == dtype


@pytest.mark.parametrize("loss_scale", [2.0**16, 2.0**15])
def test_gradients_of_fp16_vectors_are_scaled_before_they_are_cast(loss_scale: float) -> None:
    """Gradients of well separated pairs are near the smallest number of fp16, and 2**16, the first
    loss scale of a GradScaler, is beyond its largest."""
    generator = torch.Generator().manual_seed(0)
    vector = functional.normalize(torch.randn(200, 64, generator=generator), dim=-1).half()
    half = [vector.clone().requires_grad_() for _ in range(2)]
    exact = [vector.double().requires_grad_() for _ in range(2)]
    for queries, passages in (half, exact):
        temperature = torch.tensor([0.0625], dtype=queries.dtype)  # exact in fp16
        layout = BatchLayout(0, (len(queries),), None)
        (info_nce(queries, passages, temperature, layout).loss * loss_scale).backward()
    for part, true in zip(half, exact, strict=True):
        assert part.grad is not None
        assert true.grad is not None
        assert float((true.grad / loss_scale).abs().max()) < 3e-5
        assert float((part.grad.double() - true.grad).norm() / true.grad.norm()) < 1e-3


# --- three ranks


def run_rank(rank: int, rendezvous: str, results: str) -> None:
    """One process of a gloo group, which computes every case."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=len(QUERY_COUNTS))
    outputs = []
    for case in CASES:
        output, of_inputs = compute(case, rank, QUERY_COUNTS)
        outputs.append({name: getattr(output, name) for name in STATISTICS} | of_inputs)
    torch.save(outputs, f"{results}/{rank}.pt")
    exit_process()


def test_the_mean_gradient_of_three_ranks_is_that_of_one_process(tmp_path: Path) -> None:
    world = len(QUERY_COUNTS)
    spawn(run_rank, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=world)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(world)]
    for case, *results in zip(CASES, *ranks, strict=True):
        reference = expected(case)
        loss = sum(result["share"] for result in results)
        torch.testing.assert_close(loss.double(), reference["loss"], rtol=1e-6, atol=1e-7)
        summed = {
            name: sum(result[name] for result in results)
            for name in ("num_correct", "similarity_sums", "num_false_negatives")
        }
        query_losses = torch.cat([result["query_losses"] for result in results])
        assert_statistics(summed | {"query_losses": query_losses}, reference)
        # each rank has the gradient of its own vectors, but all share the temperature
        mean = {
            name: torch.cat([result[name] for result in results]) / world
            for name in ("queries", "passages")
        }
        mean["negatives"] = reference["negatives"]
        if case.negatives:
            mean["negatives"] = torch.cat([result["negatives"] for result in results]) / world
        mean["temperature"] = sum(result["temperature"] for result in results) / world
        assert_gradients(mean, reference)
