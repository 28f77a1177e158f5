"""What an out-of-memory error suggests."""

from pathlib import Path

import pytest
import torch

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Batching, Model
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.errors import UserError
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.health import Health


@pytest.mark.parametrize("least_tokens", [0, 9])
def test_out_of_memory_suggests_half_of_the_largest_chunk(
    least_tokens: int, toy: Path, tmp_path: Path
) -> None:
    stores, sources = open_sources([str(toy / "train.jsonl")])
    plan = Plan(sources, Batching(size=12, mix=Mix(monolingual=1)), seed=3)
    spec = Model(name_or_path=str(toy / "model"), max_passage_tokens=128)
    tokens = TextTokens.load(spec.name_or_path, EncoderSpec.of(spec))
    work = Feed(plan, stores, tokens, Ranks(0, 1), chunk_size=6, mask=False).inputs(0)
    largest = max(sum(c.queries.sizes) + sum(c.candidates.sizes) for c in work.chunks)
    expected = f"chunk_tokens to {largest // 2}," if least_tokens else "chunk_size to 3,"
    health = Health(tmp_path / "file", stores, Ranks(0, 1), 9, least_tokens)
    message = f"with 6 pairs in a chunk; set train.{expected}"
    with pytest.raises(UserError, match=message), health.explain_oom(work):
        raise torch.OutOfMemoryError
    health = Health(tmp_path / "file", stores, Ranks(0, 1), 9, least_tokens=largest)
    with pytest.raises(UserError, match="lower model"), health.explain_oom(work):
        raise torch.OutOfMemoryError
