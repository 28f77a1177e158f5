"""What the thread of the feed does, so that the training thread has only to queue copies."""

import threading
from pathlib import Path

import pytest
import torch

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Batching, Mix, Model
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.feed import Feed


def test_inputs_are_pinned_in_the_thread_of_the_feed(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PyTorch's device without memory, in place of a GPU."""
    stores, sources = open_sources([str(toy / "train.jsonl")])
    plan = Plan(sources, Batching(size=12, mix=Mix(cross_lingual=1)), seed=3)
    config = Model(name_or_path=str(toy / "model"), max_passage_tokens=128)
    tokens = TextTokens.load(config.name_or_path, EncoderSpec.of(config))
    ranks = Ranks(1, 2, torch.device("meta"))
    pinned: dict[int, str] = {}
    copied: list[bool] = []
    copy = torch.Tensor.to

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned[id(tensor)] = threading.current_thread().name
        return tensor

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        copied.append(id(tensor) in pinned and non_blocking)
        return copy(tensor, device)

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    for work in Feed(plan, stores, tokens, ranks, chunk_size=2, mask=True).steps(0, 3):
        assert work.layout.ids is None and work.layout.columns is not None
        parts = [work.pairs, *(chunk.queries.ids for chunk in work.chunks)]
        assert all(part.device.type == "meta" for part in parts)
    assert all(name.startswith("feed") for name in pinned.values())
    assert len(copied) >= 3 * (1 + 6 * 3) and all(copied), "each was pinned before"
