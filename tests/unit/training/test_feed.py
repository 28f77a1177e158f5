"""What the thread of the feed does, so that the training thread has only to queue copies."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hybrid_dist.batching import Plan
from hybrid_dist.commands.prepare import main as prepare
from hybrid_dist.config.schema import Align, Batching, Model
from hybrid_dist.config.sources import Mix, Source
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.errors import UserError
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.feed import Feed, StoreTokens


def test_inputs_are_pinned_in_the_thread_of_the_feed(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PyTorch's device without memory, in place of a GPU."""
    stores, sources = open_sources([str(toy / "train.jsonl")])
    batching = Batching(size=12, mix=Mix(cross_lingual=1))
    plan = Plan(sources, batching, seed=3, align=Align(weight=1))
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
        assert work.translations is not None
        parts = [
            work.pairs,
            work.translations.originals,
            *(chunk.queries.ids for chunk in work.chunks),
        ]
        assert all(part.device.type == "meta" for part in parts)
    assert all(name.startswith("feed") for name in pinned.values())
    assert len(copied) >= 3 * (2 + 6 * 3) and all(copied), "each was pinned before"


def test_texts_of_a_source_get_its_own_prefixes(toy: Path, tmp_path: Path) -> None:
    """And token ids that its store holds are used if they were made with them."""
    spec = Model(name_or_path=str(toy / "model"), max_passage_tokens=128)
    tokens = TextTokens.load(spec.name_or_path, EncoderSpec.of(spec))
    file = str(toy / "train.jsonl")
    prepared = tmp_path / "store"
    own = ["--tokenize", str(toy / "model"), "--query-prefix", "ask "]
    prepare(["pairs", file, "--out", str(prepared), *own, "--passage-prefix", "Passage: "])
    entries: list[str | Source] = [file, Source(path=file, query_prefix="")]
    entries += [str(prepared), Source(path=str(prepared), query_prefix="ask ")]
    stores, sources = open_sources(entries)
    options = Batching(size=12, mix=Mix(cross_lingual=1))
    feed = Feed(
        Plan(sources, options, seed=3), stores, tokens, Ranks(0, 1), chunk_size=0, mask=True
    )
    seen = set()
    for work in feed.steps(0, 40):
        source, rows = work.batch.stream.source, work.batch.query_row[work.shard.rows]
        prefix = ["Query: ", "", "Query: ", "ask "][source]
        texts = [prefix + text for text in stores[source].queries(rows)]
        expected = tokens.tokenizer(texts, truncation=True, max_length=64)["input_ids"]
        assert work.chunks[0].queries.ids.tolist() == [token for one in expected for token in one]
        passages = [
            "Passage: " + text
            for text in stores[source].passages(work.batch.passage_row[work.shard.rows])
        ]
        expected = tokens.tokenizer(passages, truncation=True, max_length=128)["input_ids"]
        found = work.chunks[0].candidates.ids.tolist()
        assert found == [token for one in expected for token in one]
        seen.add(source)
    assert seen == {0, 1, 2, 3}
    own = [
        StoreTokens(s, tokens.with_prefixes(e.query_prefix, None)).mismatch
        for s, e in zip(stores, sources, strict=True)
    ]
    assert own[3] == "" and own[2] == "it holds tokens with query prefix 'ask '"


def test_a_prefix_that_leaves_no_room_for_a_text_is_rejected(toy: Path) -> None:
    spec = Model(name_or_path=str(toy / "model"), max_query_tokens=5)
    tokens = TextTokens.load(spec.name_or_path, replace(EncoderSpec.of(spec), query_prefix=""))
    with pytest.raises(UserError, match=r"max_query_tokens: 5 leaves no room .* prefix 'a b c d e"):
        tokens.with_prefixes("a b c d e f g ", None)
