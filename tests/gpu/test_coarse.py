"""A coarse pass on a card: the bits of one in fp32."""

import numpy as np
import pytest
import torch

from hybrid_dist.evaluation.coarse import CoarseScan, coarse_product
from hybrid_dist.evaluation.ranking import rank_by_scans, ranks_and_candidates
from hybrid_dist.evaluation.search import SPARE, merge_proposals
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import plant_duplicates, random_task, unit_vectors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here")
CARD = torch.device("cuda", 0)


@pytest.mark.parametrize("coarse", ["bf16", "fp16"])
def test_bits_are_those_of_a_pass_in_fp32(coarse: str) -> None:
    rng, ranks = np.random.default_rng(1), Ranks(device=CARD)
    task = random_task(rng, languages=4, queries=700, passages=9000, most_answers=3)
    queries, passages = unit_vectors(rng, 700), unit_vectors(rng, len(task.passage_ids))
    plant_duplicates(rng, passages, task)
    grid = Grid.of(CARD, len(queries), len(passages))
    whole = [Shard.of(0, passages, CARD, grid)]
    ranking, rows = ranks_and_candidates(task, queries, whole, ranks, 10 + SPARE)
    top = merge_proposals(queries, whole, rows, 10, ranks)
    for count in (1, 2, 3):
        held = grid.shards(len(passages), count)
        shards = [Shard.of(h.start, passages[h.start : h.stop], CARD, grid) for h in held]
        scans = [CoarseScan(shard, task, 10 + SPARE, coarse) for shard in shards]
        found, rows = rank_by_scans(task, queries, scans, ranks)
        bounds = [scan.candidate_bounds(len(queries)) for scan in scans]
        its_top = merge_proposals(queries, shards, rows, 10, ranks, bounds=bounds)
        assert found.pooled.tobytes() == ranking.pooled.tobytes()
        assert found.in_language.tobytes() == ranking.in_language.tobytes()
        assert its_top.numbers.tobytes() == top.numbers.tobytes()
        assert its_top.scores.tobytes() == top.scores.tobytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_of_coarse_products_are_within_their_bound(dtype: torch.dtype) -> None:
    """Tensor cores truncate; the bound allows for D 2^-22 of the product of norms."""
    torch.manual_seed(0)
    passages, block = (torch.randn(1024, 768, device=CARD).abs().to(dtype) for _ in range(2))
    out = torch.empty(1024, 1024, device=CARD)
    coarse_product(passages, block.T, out)
    exact = passages.double() @ block.double().T
    norms = passages.double().norm(dim=1)[:, None] * block.double().norm(dim=1)
    assert ((out - exact).abs() <= 768 * 2.0**-22 * norms).all()
