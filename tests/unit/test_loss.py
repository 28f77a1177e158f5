"""The loss: PyTorch's own cross-entropy in float64 is the judge, on one rank and on several."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from hybrid_dist.cluster.ranks import leave
from hybrid_dist.loss.contrastive import LossParts, Rows, contrastive_loss

SIZE, WIDTH, TEMPERATURE = 11, 8, 0.07
COUNTS = (4, 3, 4)
GRADIENTS = ("queries", "passages", "temperature")


def vectors(size: int = SIZE, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(2, size, WIDTH, generator=generator, dtype=torch.float64)
    queries, passages = functional.normalize(parts, dim=-1)
    return queries, passages


def groups(size: int = SIZE, seed: int = 0) -> Tensor:
    """Few groups of passages, more of questions, so that rows share one, the other, or both."""
    numbers = np.random.default_rng(seed)
    return torch.from_numpy(
        np.stack([numbers.integers(0, 6, size), numbers.integers(0, 9, size)], axis=1)
    )


def alone(size: int = SIZE, masked: bool = False) -> Rows:
    """The rows of a world of one."""
    return Rows(0, (size,), groups(size) if masked else None)


def known_wrong(masked: bool, size: int = SIZE) -> Tensor:
    """Pairs of rows that are no negatives of each other, by a plain double loop."""
    of = groups(size).tolist()
    return torch.tensor(
        [
            [
                masked and a != b and (of[a][0] == of[b][0] or of[a][1] == of[b][1])
                for b in range(size)
            ]
            for a in range(size)
        ]
    )


def judged(masked: bool, symmetric: bool, size: int = SIZE) -> dict[str, Tensor]:
    """Loss and gradients by float64 cross-entropy over the whole batch."""
    queries, passages = (part.clone().requires_grad_() for part in vectors(size))
    temperature = torch.tensor([TEMPERATURE], dtype=torch.float64, requires_grad=True)
    logits = (queries @ passages.T / temperature).masked_fill(known_wrong(masked, size), -torch.inf)
    targets = torch.arange(size)
    loss = functional.cross_entropy(logits, targets)
    if symmetric:
        loss = (loss + functional.cross_entropy(logits.T, targets)) / 2
    loss.backward()
    return {
        "loss": loss.detach(),
        "queries": queries.grad,
        "passages": passages.grad,
        "temperature": temperature.grad,
        "correct": (logits.argmax(1) == targets).sum(),
    }


def computed(
    rows: Rows, symmetric: bool, dtype: torch.dtype = torch.float32
) -> tuple[LossParts, dict[str, Tensor]]:
    """The product's loss on the rows of one rank, and the gradients of what that rank gave."""
    queries, passages = (
        part[rows.own(part.device)].to(dtype).requires_grad_() for part in vectors(rows.size)
    )
    temperature = torch.tensor([TEMPERATURE], requires_grad=True)
    parts = contrastive_loss(queries, passages, temperature, rows, symmetric)
    parts.loss.backward()
    return parts, dict(zip(GRADIENTS, (queries.grad, passages.grad, temperature.grad), strict=True))


@pytest.mark.parametrize("masked", [False, True], ids=["keep", "mask"])
@pytest.mark.parametrize("symmetric", [False, True], ids=["one way", "symmetric"])
def test_loss_and_gradients_are_those_of_cross_entropy(masked: bool, symmetric: bool) -> None:
    parts, gradients = computed(alone(masked=masked), symmetric)
    expected = judged(masked, symmetric)
    torch.testing.assert_close(parts.loss.double(), expected["loss"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(parts.value, parts.loss.detach())
    assert parts.correct == expected["correct"]
    assert not parts.value.requires_grad
    for name in GRADIENTS:
        close = {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(gradients[name].double(), expected[name], **close)


def test_the_judge_sees_masks_and_directions() -> None:
    """The four cases above are four different losses, so that none can pass for another."""
    losses = [
        judged(masked, symmetric)["loss"] for masked in (False, True) for symmetric in (False, True)
    ]
    assert np.diff(np.sort(np.array(losses))).min() > 1e-3


def test_a_row_whose_group_is_the_whole_batch_has_no_loss_and_no_nan() -> None:
    rows = replace(alone(), groups=torch.zeros(SIZE, 2, dtype=torch.int64))
    parts, gradients = computed(rows, symmetric=True)
    assert parts.loss == 0
    assert all(not gradient.any() for gradient in gradients.values())


def test_an_equal_number_in_the_other_column_is_another_group() -> None:
    """Passage group 3 and question group 3 have nothing to do with each other."""
    crossed = torch.stack([torch.arange(SIZE), torch.arange(SIZE).roll(1)], dim=1)
    apart, _ = computed(replace(alone(), groups=crossed), symmetric=False)
    assert apart.loss == computed(alone(), symmetric=False)[0].loss


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_vectors_are_multiplied_in_fp32(dtype: torch.dtype) -> None:
    size = 200
    parts, gradients = computed(alone(size), False, dtype)
    queries, passages = (part.to(dtype).double() for part in vectors(size))
    exact = functional.cross_entropy(queries @ passages.T / TEMPERATURE, torch.arange(size))
    assert parts.loss.dtype == torch.float32
    torch.testing.assert_close(parts.loss.double(), exact, rtol=1e-6, atol=1e-6)
    assert gradients["queries"].dtype == dtype


def as_rank(rank: int, meeting: str, results: str) -> None:
    """One process of a real group: every case in turn."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=len(COUNTS))
    found = {}
    for masked, symmetric in product((False, True), repeat=2):
        rows = Rows(rank, COUNTS, groups() if masked else None)
        parts, gradients = computed(rows, symmetric)
        told = {
            "value": parts.value,
            "correct": parts.correct,
            "rows": torch.arange(SIZE).split(COUNTS)[rank],
        }
        found[masked, symmetric] = told | gradients
    torch.save(found, f"{results}/{rank}.pt")
    leave()


def test_the_mean_over_ranks_of_the_gradient_is_that_of_one_process(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(
        as_rank, (str(tmp_path / "meeting"), str(tmp_path)), nprocs=len(COUNTS)
    )
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(COUNTS))]
    for masked, symmetric in found[0]:
        expected = judged(masked, symmetric)
        of_ranks = [result[masked, symmetric] for result in found]
        value = sum(told["value"] for told in of_ranks)
        torch.testing.assert_close(value.double(), expected["loss"], rtol=1e-6, atol=1e-7)
        assert sum(told["correct"] for told in of_ranks) == expected["correct"]
        temperature = sum(told["temperature"] for told in of_ranks) / len(COUNTS)
        close = {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(temperature.double(), expected["temperature"], **close)
        for told in of_ranks:
            for name in ("queries", "passages"):
                mine = expected[name][told["rows"]]
                torch.testing.assert_close(told[name].double() / len(COUNTS), mine, **close)
