"""Small study files on the toy data, and runs whose reports were made without training."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hybrid_dist.evaluation.per_query import FILE
from hybrid_dist.evaluation.ranking import exact_ranks
from hybrid_dist.evaluation.search import top_k
from hybrid_dist.evaluation.tiles import Shard
from hybrid_dist.reporting.report import build_report
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.studies.cells import CellRun, Grid
from hybrid_dist.studies.grids import grid
from hybrid_dist.studies.run_states import RunRecord, write_record
from hybrid_dist.studies.study_file import read_study
from hybrid_dist.text import json_text
from hybrid_dist.tracking.report_json import REPORT
from tests.support.evaluation_problems import parallel_task, unit_vectors

MONOLINGUAL = {"batching.mix.monolingual": 1, "batching.mix.cross_lingual": 0}
HYBRID = {"batching.mix.monolingual": 0.5, "batching.mix.cross_lingual": 0.5}


def write_study(folder: Path, toy: Path, **changed: Any) -> Path:
    """A study of two kinds of batches; a value of None leaves a key out. Returns its file."""
    base = {
        "model": {
            "name_or_path": str(toy / "model"),
            "init": "scratch",
            "max_passage_tokens": 128,
            "dropout": 0,
            "attention_dropout": 0,
        },
        "data": {"train": [str(toy / "train.jsonl")]},
        "batching": {"size": 16},
        "optim": {"lr": 1e-3},
        "train": {"steps": 3, "precision": "fp32"},
        "checkpoint": {"every": 0},
        "log": {"every": 1, "wandb": "disabled"},
    }
    study: dict[str, Any] = {
        "name": "tiny",
        "base": "base.yaml",
        "axes": {"batches": {"monolingual": MONOLINGUAL, "hybrid": HYBRID}},
        "seeds": [1, 2],
        "tasks": [f"toy:{toy}"],
        "baseline": "monolingual",
    } | changed
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    content = {key: value for key, value in study.items() if value is not None}
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "study.yaml"


def make_grid(folder: Path, toy: Path, **changed: Any) -> Grid:
    """The grid of such a study."""
    file = write_study(folder, toy, **changed)
    return grid(read_study(file), file, folder / "out")


def finish(made: Grid, run: CellRun, noise: float, queries: int = 30) -> None:
    """Leave what a run leaves that was trained and evaluated: `noise` makes its figures worse."""
    (run.folder / "model").mkdir(parents=True)
    (run.folder / "model" / "config.json").write_text("{}")
    write_record(made, run, RunRecord(trained=True, train_seconds=60.0, memory=10**9))
    task = parallel_task(languages=3, per_language=queries)
    meant = np.tile(unit_vectors(np.random.default_rng(1), queries), (3, 1))
    rng = np.random.default_rng(run.seed or 0)
    noisy = [meant + noise * unit_vectors(rng, len(meant)) for _ in range(2)]
    texts = [(v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in noisy]
    ranks = Ranks()
    shards = [Shard.of(0, texts[1], ranks.device)]
    ranking, top = exact_ranks(task, texts[0], shards, ranks), top_k(texts[0], shards, 10, ranks)
    for label, spec in run.tasks.items():
        made_from = {"task": spec}
        report = build_report(task, run.name, ranking, top, {}, {}, {}, made_from)
        run.reports(label).mkdir(parents=True)
        (run.reports(label) / REPORT).write_text(json_text(report.content))
        report.values.save(run.reports(label) / FILE)
