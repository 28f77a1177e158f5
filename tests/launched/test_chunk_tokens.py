"""`train.chunk_tokens` in whole runs: on stores with token ids, and refused without them."""

import json
import re
from pathlib import Path

import numpy as np

from hybrid_dist.commands.prepare import main as prepare
from tests.support.launch import train
from tests.support.runs import column, options, succeed

TOKENS = {"train__chunk_tokens": "200", "train__steps": "6"}


def test_chunks_by_tokens_train_as_one_chunk_does(toy: Path, tmp_path: Path) -> None:
    """On two ranks, and resumed with other chunks: they change memory alone."""
    store = tmp_path / "store"
    prepare(
        ["pairs", str(toy / "train.jsonl"), "--out", str(store), "--tokenize", str(toy / "model")]
    )
    data = {"data__train": str(store), "checkpoint__every": "3", "checkpoint__keep": "9"}
    whole = options(toy, tmp_path, "whole", **data, train__steps="6")
    succeed(train(whole, "cpu", 2))
    succeed(train(options(toy, tmp_path, "chunks", **data, **TOKENS), "cpu", 2))
    middle = str(tmp_path / "whole" / "checkpoints" / "step-000003")
    resumed = options(toy, tmp_path, "resumed", **data, **TOKENS, checkpoint__resume=middle)
    succeed(train(resumed, "cpu", 2))
    for key in ("train/loss", "train/grad_norm"):
        wanted = column(tmp_path, "whole", key)
        assert np.max(np.abs(column(tmp_path, "chunks", key) / wanted - 1)) < 1e-4
        assert np.max(np.abs(column(tmp_path, "resumed", key) / wanted[3:] - 1)) < 1e-4


def test_without_the_models_token_ids_they_are_refused(toy: Path, tmp_path: Path) -> None:
    done = train(options(toy, tmp_path, "raw", **TOKENS))
    assert done.code == 2
    assert re.search(
        r"train.chunk_tokens: the token ids of \S+ are needed, but it holds none; "
        r"write a store with `hybrid-dist prepare",
        done.output,
    )
    store = tmp_path / "store"
    own = ["--tokenize", str(toy / "model"), "--query-prefix", "ask: "]
    prepare(["pairs", str(toy / "train.jsonl"), "--out", str(store), *own])
    done = train(options(toy, tmp_path, "other", **TOKENS, data__train=str(store)))
    assert done.code == 2 and "but it holds tokens with query prefix 'ask: '" in done.output
    source = json.dumps({"path": str(store), "query_prefix": "ask: "})
    file = tmp_path / "run.yaml"
    file.write_text(f"data: {{train: [{source}]}}")
    given = options(toy, tmp_path, "fitting", **TOKENS)
    at = given.index("--data.train")
    succeed(train(["--config", str(file), *given[:at], *given[at + 2 :]]))
