"""What each rank's feed really holds, gathered: uids, and texts read back from the tokens."""

import json
import sys
from pathlib import Path

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Batching, Model
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.launch import start
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.training.feed import Feed


def main() -> None:
    toy, size, steps, first = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    _, ranks = start("fp32")
    stores, sources = open_sources([str(toy / "train.jsonl")])
    mix = Mix(monolingual=1, cross_lingual=1, multilingual=1)
    plan = Plan(sources, Batching(size=size, mix=mix), seed=3)
    model = Model(name_or_path=str(toy / "model"), max_passage_tokens=128)
    tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model))
    feed = Feed(plan, stores, tokens, ranks, chunk_size=4, mask=True)
    for work in feed.steps(first, first + steps):
        store = stores[work.batch.stream.source]
        read = [
            tokens.tokenizer.decode(text, skip_special_tokens=True)
            for chunk in work.chunks
            for text in chunk.queries.ids.split(chunk.queries.sizes)
        ]
        rows = work.batch.query_row[work.shard.rows]
        wanted = [
            tokens.tokenizer.decode(text, skip_special_tokens=True)
            for text in tokens.query_ids(store.queries(rows))
        ]
        record = {
            "uids": store.uids(rows),
            "texts_right": read == wanted,
            "chunks": len(work.chunks),
        }
        gathered = ranks.gather(record)
        if ranks.is_first:
            record = {"step": work.batch.step, "kind": work.batch.kind, "ranks": gathered}
            print("FEED " + json.dumps(record), flush=True)
    exit_process()


if __name__ == "__main__":
    main()
