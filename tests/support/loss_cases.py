"""A small global batch with false negatives, and what the reference loss gives for it."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hybrid_dist.losses.batch_layout import NO_ID, BatchLayout
from hybrid_dist.losses.gathered_loss import Guide
from hybrid_dist.losses.options import PLAIN, LossOptions, Margin
from hybrid_dist.losses.reference import masked_negatives, reference_info_nce

SIZE, WIDTH, TEMPERATURE = 11, 8, 0.07
QUERY_COUNTS, NEGATIVE_COUNTS = (4, 3, 4), (2, 0, 5)
"""Of three ranks that share the batch."""
NUM_NEGATIVES = sum(NEGATIVE_COUNTS)


@dataclass(frozen=True)
class Case:
    """A batch and the options of the loss."""

    masked: bool = False
    negatives: bool = False
    options: LossOptions = PLAIN
    guided: bool = False

    def __str__(self) -> str:
        names = [name for name in ("masked", "negatives", "guided") if getattr(self, name)]
        plain = vars(PLAIN)
        changed = {
            name: value for name, value in vars(self.options).items() if value != plain[name]
        }
        return (
            ", ".join([*names, *(f"{name}={value}" for name, value in changed.items())]) or "plain"
        )

    def layout(self, rank: int = 0, query_counts: tuple[int, ...] = (SIZE,)) -> BatchLayout:
        negative_counts = NEGATIVE_COUNTS if len(query_counts) > 1 else (NUM_NEGATIVES,)
        return BatchLayout(
            rank,
            query_counts,
            pair_ids(sum(query_counts)) if self.masked else None,
            negative_counts=negative_counts if self.negatives else (),
            negative_ids=negative_ids() if self.masked and self.negatives else None,
        )

    def ids(self, size: int = SIZE) -> Tensor | None:
        """Ids of all candidates, positive passages first."""
        if not self.masked:
            return None
        pairs = pair_ids(size)
        return torch.cat([pairs, negative_ids()]) if self.negatives else pairs

    def guide(self, size: int = SIZE) -> Guide | None:
        """The guide's vectors of the whole batch."""
        if not self.guided:
            return None
        queries, passages, negatives = vectors(size, seed=1)
        candidates = torch.cat([passages, negatives]) if self.negatives else passages
        return Guide(queries[:, :5].contiguous(), candidates[:, :5].contiguous())


OPTIONS: list[dict[str, Any]] = [
    {"margin": Margin()},
    {"margin": Margin(0.3)},
    {"margin": Margin(-0.2)},
    {"margin": Margin(0.4, is_relative=True)},
    {"hardness": 5.0},
    {"query_negatives": True},
    {"passage_negatives": True},
    {"dims": (2, 5)},
    {"dims": (3, WIDTH), "dim_weights": (2.0, 0.5)},
    {
        "margin": Margin(0.1),
        "hardness": 2.0,
        "query_negatives": True,
        "passage_negatives": True,
        "dims": (4,),
    },
    {"symmetric": True, "margin": Margin(-0.1), "hardness": 3.0, "dims": (6, 3)},
]
"""Options beside plain and symmetric InfoNCE."""

CASES = [
    *(Case(m, n, LossOptions(symmetric=s)) for m, n, s in product((False, True), repeat=3)),
    *(Case(both, both, LossOptions(**o)) for o in OPTIONS for both in (False, True)),
    *(Case(True, True, LossOptions(**o), guided=True) for o in OPTIONS if "margin" in o),
]


def vectors(size: int = SIZE, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [size, WIDTH], passages [size, WIDTH] and hard negatives [7, WIDTH], in float64."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2 * size + NUM_NEGATIVES, WIDTH, generator=generator, dtype=torch.float64)
    queries, passages, negatives = functional.normalize(rows, dim=-1).split(
        [size, size, NUM_NEGATIVES]
    )
    return queries, passages, negatives


def pair_ids(size: int = SIZE) -> Tensor:
    """Ids [size, 2], so few that pairs share one, the other, or both."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([rng.integers(0, 6, size), rng.integers(0, 9, size)], axis=1))


def negative_ids() -> Tensor:
    """Some hard negatives are positives of other queries, the rest of none."""
    passages = torch.tensor([3, NO_ID, 2, NO_ID, NO_ID, 5, 3])
    return torch.stack([passages, torch.full_like(passages, NO_ID)], dim=1)


def expected(case: Case, size: int = SIZE) -> dict[str, Tensor]:
    """The reference in float64 over the whole batch: loss, gradients and statistics."""
    queries, passages, negatives = (part.clone().requires_grad_() for part in vectors(size))
    temperature = torch.tensor([TEMPERATURE], dtype=torch.float64, requires_grad=True)
    candidates = torch.cat([passages, negatives]) if case.negatives else passages
    ids, guide = case.ids(size), case.guide(size)
    losses = reference_info_nce(queries, candidates, temperature, ids, case.options, guide)
    losses.mean().backward()
    cosines = (queries @ candidates.T).detach()
    masked = masked_negatives(queries, candidates, ids, case.options, guide)
    by_id = masked_negatives(queries, candidates, ids, PLAIN)
    positive = torch.eye(size, len(candidates), dtype=torch.bool)
    highest = cosines.masked_fill(masked, -torch.inf).argmax(1)
    return {
        "loss": losses.mean().detach(),
        "query_losses": losses.detach(),
        "similarity_sums": torch.stack(
            [cosines[positive].sum(), cosines[~positive & ~masked].sum()]
        ),
        "num_false_negatives": torch.stack([by_id.sum(), (masked & ~by_id).sum()]),
        "num_correct": (highest == torch.arange(size)).sum(),
        **gradients(
            queries=queries, passages=passages, negatives=negatives, temperature=temperature
        ),
    }


def gradients(**leaves: Tensor) -> dict[str, Tensor]:
    """The gradient of each leaf, zero where the loss does not depend on it."""
    return {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for name, leaf in leaves.items()
    }
