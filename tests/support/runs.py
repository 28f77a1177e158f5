"""Small runs on the toy data, and what they logged."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.launch import Done


def options(toy: Path, runs: Path, name: str, **changed: str) -> list[str]:
    """A small run on the toy data; keys are config keys with __ for the dot."""
    values = {
        "run__dir": str(runs),
        "run__name": name,
        "model__name_or_path": str(toy / "model"),
        "model__init": "scratch",
        "model__max_passage_tokens": "128",
        "model__dropout": "0",
        "model__attention_dropout": "0",
        "data__train": str(toy / "train.jsonl"),
        "batching__size": "17",
        "optim__lr": "1e-3",
        "optim__max_grad_norm": "15",  # clips some steps and not others
        "train__precision": "fp32",
        "train__steps": "50",
        "checkpoint__every": "0",
        "log__every": "1",
        "log__wandb": "disabled",
    } | changed
    return [
        word for key, value in values.items() for word in (f"--{key.replace('__', '.')}", value)
    ]


def metrics(runs: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]


def ended(runs: Path, name: str) -> dict[str, Any]:
    """How the last start ended: ended.json without the time and the node, which differ."""
    ending = json.loads((runs / name / "ended.json").read_text())
    return {key: ending[key] for key in ("kind", "rank", "step", "message")}


def column(runs: Path, name: str, key: str) -> np.ndarray:
    return np.array([record[key] for record in metrics(runs, name)])


def succeed(done: Done) -> Done:
    assert done.code == 0, done.output
    return done
