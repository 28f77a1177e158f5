"""Embedding passages for an evaluation on one GPU, against SentenceTransformer.encode.

A model of XLM-R large's size with random weights and its own tokenizer; passages of 20 to 200
tokens. Both sides start from strings.

  python benchmarks/gpu/embed.py             # --dry-run: tiny, on a CPU
"""

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from card import Card
from transformers import AutoConfig, AutoModel

from hybrid_dist.demo.toy import ToyOptions, generate
from hybrid_dist.model.embedder import TextEmbedder

CARD = Card("embed", __doc__)
COUNT = 200 if CARD.dry else 8000


def passages(folder: Path) -> list[str]:
    lines = [json.loads(line) for line in (folder / "train.jsonl").open()]
    words = " ".join(line["passage"] for line in lines).split()
    drawn = np.random.default_rng(0)
    texts = []
    for length in np.clip(drawn.lognormal(np.log(60), 0.5, COUNT), 10, 120).astype(int):
        begin = drawn.integers(0, len(words) - length)
        texts.append(" ".join(words[begin : begin + length]))
    return texts


def timed(what: str, embed: Any, texts: list[str], turns: int = 2) -> np.ndarray:
    embed(texts[: COUNT // 8])
    CARD.reset_memory()
    seconds = []
    for _ in range(turns):
        begin = CARD.now()
        vectors = embed(texts)
        seconds.append(CARD.now() - begin)
    best = min(seconds)
    CARD.record(what, s=round(best, 3), texts_s=round(COUNT / best), gib=CARD.peak_gib())
    return np.asarray(vectors, np.float32)


def main() -> None:
    folder = Path(tempfile.mkdtemp(), "toy")
    size = {"layers": 2, "hidden": 32, "heads": 2}
    if not CARD.dry:
        size = {"layers": 24, "hidden": 1024, "heads": 16}
    generate(folder, ToyOptions(languages=2, train_uids=2000, dev_uids=20, test_uids=20, **size))
    texts = passages(folder)
    model = str(folder / "model")
    AutoModel.from_config(AutoConfig.from_pretrained(model)).save_pretrained(model)
    vectors: dict[str, np.ndarray] = {}

    def ours() -> None:
        embedder = TextEmbedder.load(model, CARD.device)
        ids = embedder._tokens.passage_ids(texts)
        CARD.record("texts", count=COUNT, tokens=sum(map(len, ids)))
        begin = CARD.now()
        embedder._tokens.passage_ids(texts)
        CARD.record("tokenization alone", s=round(CARD.now() - begin, 3))
        vectors["ours"] = timed("ours", embedder.encode_passages, texts)

    def peer() -> None:
        if find_spec("sentence_transformers") is None:
            CARD.record("peer", skipped="the package sentence_transformers is not installed")
            return
        from sentence_transformers import SentenceTransformer

        dtype = torch.float32 if CARD.dry else torch.bfloat16
        kinds = {"torch_dtype": dtype}
        peer = SentenceTransformer(model, device=str(CARD.device), model_kwargs=kinds)
        for size in (32, 256):
            theirs = timed(
                f"sentence-transformers, batch_size={size}",
                lambda some, size=size: peer.encode(some, batch_size=size),
                texts,
                1,
            )
        theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
        if "ours" in vectors:
            distance = np.linalg.norm(theirs - vectors["ours"], axis=1).mean()
            CARD.record("ours and sentence-transformers", mean_distance=f"{distance:.2e}")

    CARD.part("ours", 20, ours)
    CARD.part("peer", 20, peer)


if __name__ == "__main__":
    main()
