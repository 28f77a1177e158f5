"""A run over sources with settings of their own, whose mix changes: on ranks, and resumed."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.launch import train
from tests.support.runs import column, options, succeed

STEPS = 12


def words(toy: Path, runs: Path, name: str, **changed: str) -> list[str]:
    """The options of a run over two sources."""
    lines = (toy / "train.jsonl").read_text().splitlines()
    alone = [line for line in lines if json.loads(line)["lang"] == "qaa"]
    (runs / "alone.jsonl").write_text("\n".join(alone))
    source = f"{{path: {runs / 'alone.jsonl'}, weight: 2, query_prefix: 'ask: '}}"
    file = runs / "run.yaml"
    file.write_text(
        f"data: {{train: [{toy / 'train.jsonl'}, {source}]}}\n"
        "batching: {mix: {monolingual: 1}, mix_end: {monolingual: 1, multilingual: 3}}\n"
    )
    kept = {"checkpoint__every": "5", "checkpoint__keep": "9", "train__steps": str(STEPS)}
    given = options(toy, runs, name, **kept, **changed)
    at = given.index("--data.train")
    return ["--config", str(file), *given[:at], *given[at + 2 :]]


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.long)])
def test_ranks_and_resumed_runs_have_the_batches_of_one_process(
    processes: int, toy: Path, tmp_path: Path
) -> None:
    succeed(train(words(toy, tmp_path, "one")))
    succeed(train(words(toy, tmp_path, "some"), "cpu", processes))
    checkpoint = str(tmp_path / "one" / "checkpoints" / "step-000005")
    succeed(train(words(toy, tmp_path, "resumed", checkpoint__resume=checkpoint), "cpu", processes))
    for key in ("train/loss", "train/grad_norm"):
        wanted = column(tmp_path, "one", key)
        assert len(wanted) == STEPS
        assert np.max(np.abs(column(tmp_path, "some", key) / wanted - 1)) < 1e-4
        assert np.max(np.abs(column(tmp_path, "resumed", key) / wanted[5:] - 1)) < 1e-4


def test_a_run_whose_mix_changes_keeps_its_number_of_steps(toy: Path, tmp_path: Path) -> None:
    succeed(train(words(toy, tmp_path, "run")))
    longer = train([*words(toy, tmp_path, "run"), "--train.steps", "20"])
    assert longer.code == 2
    assert "train.steps: was 12, is 20" in longer.output
    assert (tmp_path / "run" / "config.yaml").read_text().count("weight: 2.0") == 1
