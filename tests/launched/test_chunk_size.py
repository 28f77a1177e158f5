"""`train.chunk_size: auto`: what two ranks with different memory agree on, and a resumed run."""

import json
from pathlib import Path

from tests.support.launch import Done, launch, script, train
from tests.support.runs import column, options, succeed

DROPOUT = {
    "model__dropout": "0.1",
    "checkpoint__every": "3",
    "optim__schedule": "constant",
}


def limited(limits: str, args: list[str]) -> Done:
    return launch("cpu", 2, [*script("limited_memory"), limits, "--", *args])


def test_ranks_agree_on_the_chunks_that_fit_on_all(toy: Path, tmp_path: Path) -> None:
    fixed = options(toy, tmp_path, "fixed", **DROPOUT, train__chunk_size="5", train__steps="6")
    succeed(train(fixed, "cpu", 2))
    auto = {**DROPOUT, "train__chunk_size": "auto"}
    first = limited("12,5", options(toy, tmp_path, "auto", **auto, train__steps="3"))
    assert "train.chunk_size: auto is 5 pairs (the ranks could take 9, 5)" in first.output
    recorded = json.loads((tmp_path / "auto" / "chunk_size.json").read_text())
    assert recorded == {"pairs": 5, "processes": 2, "device": "cpu"}
    more_memory = limited("99,99", options(toy, tmp_path, "auto", **auto, train__steps="6"))
    assert "auto is 5 pairs, as measured before" in more_memory.output
    for name in ("train/loss", "train/grad_norm"):
        mine, wanted = column(tmp_path, "auto", name), column(tmp_path, "fixed", name)
        assert len(wanted) == 6
        assert mine.tolist() == wanted.tolist()


def test_auto_is_rejected_where_nothing_can_be_measured(toy: Path, tmp_path: Path) -> None:
    args = options(toy, tmp_path, "run", train__chunk_size="auto")
    done = limited("0,4", args)
    assert done.code != 0
    assert "not even one pair fits in the memory of rank 0" in done.output
    done = train(args, "zero2", 2)
    assert done.code != 0
    assert "auto cannot be measured where weights are sharded" in done.output
