"""The loss: PyTorch's own cross-entropy in float64 is the judge, on one rank and on several."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from hybrid_dist.cluster.ranks import leave
from hybrid_dist.loss import strips
from hybrid_dist.loss.contrastive import LossParts, Rows, contrastive_loss

SIZE, WIDTH, TEMPERATURE = 11, 8, 0.07
COUNTS, NEGATIVES = (4, 3, 4), (2, 0, 5)
TOLD = ("value", "correct", "of_rows", "similarities", "masked")
GRADIENTS = ("queries", "candidates", "temperature")


@dataclass(frozen=True)
class Case:
    """What the loss is asked for, over the rows of all ranks."""

    masked: bool = False
    symmetric: bool = False
    negatives: bool = False

    def rows(self, rank: int = 0, counts: tuple[int, ...] = (SIZE,)) -> Rows:
        of_ranks = NEGATIVES if len(counts) > 1 else (sum(NEGATIVES),)
        return Rows(
            rank,
            counts,
            groups(sum(counts)) if self.masked else None,
            negatives=of_ranks if self.negatives else (),
            negative_groups=negative_groups() if self.masked and self.negatives else None,
        )


CASES = [Case(*flags) for flags in product((False, True), repeat=3)]


def vectors(size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    """Questions, passages, hard negatives."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(2 * size + 7, WIDTH, generator=generator, dtype=torch.float64)
    queries, passages, negatives = functional.normalize(parts, dim=-1).split([size, size, 7])
    return queries, passages, negatives


def groups(size: int = SIZE) -> Tensor:
    """Few groups of passages, more of questions, so that rows share one, the other, or both."""
    numbers = np.random.default_rng(0)
    return torch.from_numpy(
        np.stack([numbers.integers(0, 6, size), numbers.integers(0, 9, size)], axis=1)
    )


def negative_groups() -> Tensor:
    """Some hard negatives hold the right passages of some rows; the others no row's."""
    return torch.tensor([3, -1, 2, -1, -1, 5, 3])


def known_wrong(case: Case, size: int = SIZE) -> Tensor:
    """Candidates that are no negatives of a row, by a plain double loop."""
    of, of_negatives = groups(size).tolist(), negative_groups().tolist()
    return torch.tensor(
        [
            [
                case.masked and a != b and (of[a][0] == of[b][0] or of[a][1] == of[b][1])
                for b in range(size)
            ]
            + [case.masked and of[a][0] == group for group in of_negatives if case.negatives]
            for a in range(size)
        ]
    )


def judged(case: Case, size: int = SIZE) -> dict[str, Tensor]:
    """Loss, gradients and what is told beside them, in float64 over the whole batch."""
    queries, passages, negatives = (part.clone().requires_grad_() for part in vectors(size))
    temperature = torch.tensor([TEMPERATURE], dtype=torch.float64, requires_grad=True)
    candidates = torch.cat([passages, negatives]) if case.negatives else passages
    wrong = known_wrong(case, size)
    logits = (queries @ candidates.T / temperature).masked_fill(wrong, -torch.inf)
    targets = torch.arange(size)
    of_rows = functional.cross_entropy(logits, targets, reduction="none")
    if case.symmetric:
        back = functional.cross_entropy(logits[:, :size].T, targets, reduction="none")
        of_rows = (of_rows + back) / 2
    loss = of_rows.mean()
    loss.backward()
    cosines = (queries @ candidates.T).detach()
    own = torch.eye(size, len(candidates), dtype=torch.bool)
    return {
        "loss": loss.detach(),
        "of_rows": of_rows.detach(),
        "similarities": torch.stack([cosines[own].sum(), cosines[~own & ~wrong].sum()]),
        "masked": wrong.sum(),
        "queries": queries.grad,
        "passages": passages.grad,
        "negatives": negatives.grad if case.negatives else None,
        "temperature": temperature.grad,
        "correct": (logits.argmax(1) == targets).sum(),
    }


def computed(
    case: Case,
    rank: int = 0,
    counts: tuple[int, ...] = (SIZE,),
    dtype: torch.dtype = torch.float32,
) -> tuple[LossParts, dict[str, Tensor]]:
    """The product's loss on the rows of one rank, and the gradients of what that rank gave."""
    rows = case.rows(rank, counts)
    queries, passages, negatives = vectors(rows.size)
    own = rows.own(queries.device)
    mine = [passages[own]]
    if case.negatives:
        mine.append(negatives.split(list(rows.negatives))[rank])
    given = [part.to(dtype).requires_grad_() for part in (queries[own], torch.cat(mine))]
    temperature = torch.tensor([TEMPERATURE], requires_grad=True)
    parts = contrastive_loss(*given, temperature, rows, case.symmetric)
    parts.loss.backward()
    of_queries, of_candidates = (part.grad for part in given)
    of_passages, of_negatives = of_candidates[: len(own)], of_candidates[len(own) :]
    return parts, {
        "queries": of_queries,
        "passages": of_passages,
        "negatives": of_negatives,
        "temperature": temperature.grad,
    }


def assert_judged(found: dict[str, Tensor], expected: dict[str, Tensor], scale: float = 1) -> None:
    for name, gradient in found.items():
        if expected[name] is not None:
            wanted = expected[name] * scale
            torch.testing.assert_close(gradient.double(), wanted, rtol=1e-5, atol=1e-6, msg=name)


def assert_told(parts: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """What meters are made of."""
    torch.testing.assert_close(parts["of_rows"].double(), expected["of_rows"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        parts["similarities"].double(), expected["similarities"], rtol=1e-6, atol=1e-5
    )
    assert parts["masked"] == expected["masked"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_gradients_are_those_of_cross_entropy(case: Case) -> None:
    parts, gradients = computed(case)
    expected = judged(case)
    torch.testing.assert_close(parts.loss.double(), expected["loss"], rtol=1e-6, atol=1e-7)
    assert_told(vars(parts), expected)
    torch.testing.assert_close(parts.value, parts.loss.detach())
    assert parts.correct == expected["correct"]
    assert not parts.value.requires_grad
    assert_judged(gradients, expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_strips_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP", 4)
    parts, gradients = computed(case)
    expected = judged(case)
    torch.testing.assert_close(parts.loss.double(), expected["loss"], rtol=1e-6, atol=1e-7)
    assert parts.correct == expected["correct"]
    assert_told(vars(parts), expected)
    assert_judged(gradients, expected)


def test_the_judge_tells_the_cases_apart() -> None:
    losses = [judged(case)["loss"] for case in CASES]
    assert np.diff(np.sort(np.array(losses))).min() > 1e-3


def test_gradients_are_exact_in_float64() -> None:
    queries, passages, _ = (part.clone().requires_grad_() for part in vectors())
    temperature = torch.tensor([TEMPERATURE], dtype=torch.float64, requires_grad=True)
    rows = Case(masked=True).rows()

    def loss(*inputs: Tensor) -> Tensor:
        return contrastive_loss(*inputs, rows, symmetric=True).loss

    assert torch.autograd.gradcheck(loss, (queries, passages, temperature))


def test_no_more_than_a_strip_of_scores_is_held() -> None:
    """4,096 x 4,096 scores are 64 MiB; a strip of 512 rows is 8."""
    size = 4096
    numbers = torch.Generator().manual_seed(0)
    parts = [torch.randn(size, WIDTH, generator=numbers).requires_grad_() for _ in range(2)]
    rows = Rows(0, (size,), None)
    largest = 0
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        contrastive_loss(*parts, torch.tensor([0.05]), rows, symmetric=False).loss.backward()
    held = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            largest = max(largest, held)
    assert 8 * 2**20 <= largest < 16 * 2**20


def test_without_gradients_the_value_is_the_same() -> None:
    with torch.no_grad():
        queries, passages, _ = vectors()
        temperature = torch.tensor([TEMPERATURE])
        parts = contrastive_loss(queries, passages, temperature, Case().rows(), symmetric=True)
    assert not parts.loss.requires_grad
    torch.testing.assert_close(parts.value, judged(Case(symmetric=True))["loss"])


def test_vectors_that_are_not_finite_are_counted() -> None:
    queries, passages, _ = vectors()
    queries[3, 0], passages[0, 1], passages[7, 2] = float("nan"), float("inf"), float("nan")
    parts = contrastive_loss(queries, passages, torch.tensor([1.0]), Case().rows(), False)
    assert parts.broken == 3
    assert not parts.value.isfinite()


def test_vectors_that_do_not_match_the_rows_are_refused() -> None:
    queries, passages, _ = vectors()
    with pytest.raises(ValueError, match=r"11 questions and 10 candidates.* 11 and 11"):
        contrastive_loss(queries, passages[1:], torch.tensor([1.0]), Case().rows(), False)


def test_a_row_whose_group_is_the_whole_batch_has_no_loss_and_no_nan() -> None:
    rows = replace(Case().rows(), groups=torch.zeros(SIZE, 2, dtype=torch.int64))
    given = [part.float().requires_grad_() for part in vectors()[:2]]
    parts = contrastive_loss(*given, torch.tensor([TEMPERATURE]), rows, symmetric=True)
    parts.loss.backward()
    assert parts.loss == 0
    assert all(part.grad is not None and not part.grad.any() for part in given)


def test_an_equal_number_in_the_other_column_is_another_group() -> None:
    """Passage group 3 and question group 3 have nothing to do with each other."""
    crossed = torch.stack([torch.arange(SIZE), torch.arange(SIZE).roll(1)], dim=1)
    rows = replace(Case().rows(), groups=crossed)
    queries, passages, _ = vectors()
    apart = contrastive_loss(queries, passages, torch.tensor([TEMPERATURE]), rows, False)
    torch.testing.assert_close(apart.loss, judged(Case())["loss"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_vectors_are_multiplied_in_fp32(dtype: torch.dtype) -> None:
    size = 200
    parts, gradients = computed(Case(), counts=(size,), dtype=dtype)
    queries, passages = (part.to(dtype).double() for part in vectors(size)[:2])
    exact = functional.cross_entropy(queries @ passages.T / TEMPERATURE, torch.arange(size))
    assert parts.loss.dtype == torch.float32
    torch.testing.assert_close(parts.loss.double(), exact, rtol=1e-6, atol=1e-6)
    assert gradients["queries"].dtype == dtype


@pytest.mark.parametrize("scale", [2.0**16, 2.0**15])
def test_gradients_of_fp16_vectors_are_scaled_before_they_are_fp16(scale: float) -> None:
    """Those of pairs that are told apart well are near fp16's smallest number; and 2**16, where
    loss scaling starts, is beyond its largest."""
    generator = torch.Generator().manual_seed(0)
    vector = functional.normalize(torch.randn(200, 64, generator=generator), dim=-1).half()
    given = [vector.clone().requires_grad_() for _ in range(2)]
    exact = [vector.double().requires_grad_() for _ in range(2)]
    for queries, passages in (given, exact):
        temperature = torch.tensor([0.0625], dtype=queries.dtype)  # the same in fp16
        rows = Rows(0, (len(queries),), None)
        (contrastive_loss(queries, passages, temperature, rows, False).loss * scale).backward()
    for part, true in zip(given, exact, strict=True):
        assert part.grad is not None
        assert true.grad is not None
        unscaled = true.grad / scale
        assert float(unscaled.abs().max()) < 3e-5
        assert float((part.grad.double() - true.grad).norm() / true.grad.norm()) < 1e-3


def as_rank(rank: int, meeting: str, results: str) -> None:
    """One process of a real group: every case in turn."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=len(COUNTS))
    found = []
    for case in CASES:
        parts, gradients = computed(case, rank, COUNTS)
        told = {name: getattr(parts, name) for name in TOLD}
        found.append(told | gradients)
    torch.save(found, f"{results}/{rank}.pt")
    leave()


def test_the_mean_over_ranks_of_the_gradient_is_that_of_one_process(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(
        as_rank, (str(tmp_path / "meeting"), str(tmp_path)), nprocs=len(COUNTS)
    )
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(COUNTS))]
    for case, *of_ranks in zip(CASES, *found, strict=True):
        expected = judged(case)
        value = sum(told["value"] for told in of_ranks)
        torch.testing.assert_close(value.double(), expected["loss"], rtol=1e-6, atol=1e-7)
        assert sum(told["correct"] for told in of_ranks) == expected["correct"]
        summed = {name: sum(told[name] for told in of_ranks) for name in ("similarities", "masked")}
        of_rows = torch.cat([told["of_rows"] for told in of_ranks])
        assert_told(summed | {"of_rows": of_rows}, expected)
        together = {
            name: torch.cat([told[name] for told in of_ranks]) / len(COUNTS)
            for name in ("queries", "passages", "negatives")
        }
        mean = sum(told["temperature"] for told in of_ranks) / len(COUNTS)
        assert_judged(together | {"temperature": mean}, expected)
