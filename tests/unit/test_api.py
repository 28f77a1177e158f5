"""The Python API: lazy public names, and a run that is started by a function call."""

import json
import logging
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import hybrid_dist
from hybrid_dist import Config, TrainingResult, UserError, cli
from hybrid_dist.runtime.signals import SIGNALS
from hybrid_dist.training.checkpoint.trained_model import export

HEAVY = ("torch", "numpy", "pydantic", "transformers", "matplotlib", "wandb", "deepspeed", "tyro")


def in_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, hybrid_dist; print([n for n in {HEAVY} if n in sys.modules])"
    assert in_new_process(code) == "[]"


def test_training_imports_what_is_optional_only_on_use() -> None:
    modules = "hybrid_dist.training.run, hybrid_dist.api"
    code = f"import sys, {modules}; print([n for n in {HEAVY[4:7]} if n in sys.modules])"
    assert in_new_process(code) == "[]"


def test_every_public_name_exists_and_is_listed() -> None:
    assert sorted(hybrid_dist._MODULES) == sorted(hybrid_dist.__all__)
    for name in hybrid_dist.__all__:
        assert getattr(hybrid_dist, name).__name__ == name
        assert name in dir(hybrid_dist)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hybrid_dist.nothing


ENTRY_POINTS = sorted({"train", "evaluate", "doctor"} & set(hybrid_dist.__all__))


ORDERS = (
    "import hybrid_dist.{0} as _; import hybrid_dist; check(hybrid_dist.{0})",
    "import hybrid_dist as h; check(h.{0}); import hybrid_dist.{0}; check(h.{0})",
    "from hybrid_dist.{0} import main; from hybrid_dist import {0}; check({0})",
    "from importlib import import_module as i; i('hybrid_dist.{0}').main\n"
    "import hybrid_dist; check(hybrid_dist.{0})",
)
FORKS = """
import os, sys, types
import hybrid_dist.api, hybrid_dist.reporting.array_evaluation  # what they import, once for all
for name in [name for name in sys.modules if name.partition(".")[0] == "hybrid_dist"]:
    del sys.modules[name]

def check(thing):
    assert isinstance(thing, types.FunctionType), thing

for code in sys.argv[1:]:
    if os.fork() == 0:
        exec(code)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(code)
"""


def test_a_function_survives_the_import_of_the_entry_point_of_its_name() -> None:
    codes = [code.format(name) for name in ENTRY_POINTS for code in ORDERS]
    done = subprocess.run([sys.executable, "-c", FORKS, *codes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def small_run(toy: Path, runs: Path, name: str, **overrides: Any) -> Config:
    file = runs / "run.yaml"
    file.write_text(
        f"data: {{train: [{toy}/train.jsonl]}}\n"
        f"model: {{name_or_path: {toy}/model, init: scratch, max_passage_tokens: 128}}\n"
        "train: {steps: 2, precision: fp32}\n"
        "batching: {size: 8}\n"
        "log: {every: 1, wandb: disabled}\n"
        f"run: {{dir: {runs}}}\n"
    )
    return Config.load(file, **{"run.name": name, "checkpoint.every": 1}, **overrides)


def process_state() -> list[Any]:
    root = logging.getLogger()
    handlers = [signal.getsignal(number) for number in SIGNALS]
    return [
        handlers,
        root.level,
        root.handlers[:],
        logging.getLogRecordFactory(),
        warnings.showwarning,
    ]


def test_a_run_in_this_process_returns_what_it_came_to(toy: Path, tmp_path: Path) -> None:
    before = process_state()
    options = {"eval.every": 2, "eval.tasks": [f"toy:{toy}"], "data.dev": [f"{toy}/dev.jsonl"]}
    config = small_run(toy, tmp_path, "first", **options)
    result = hybrid_dist.train(config)
    assert process_state() == before
    assert (result.folder, result.model) == (tmp_path / "first", tmp_path / "first" / "model")
    assert (result.step, result.stopped_by) == (2, None)
    records = [json.loads(line) for line in (result.folder / "metrics.jsonl").open()]
    assert result.losses["train/loss"] == records[-1]["train/loss"]
    assert result.losses["dev/loss"] == records[-1]["dev/loss"]
    assert result.metric == "eval/toy/map.multilingual"
    assert result.best == max(record["eval/best"] for record in records if "eval/best" in record)
    report = json.loads((result.folder / "eval" / "toy" / "report.json").read_text())
    assert result.evaluation["toy/map.multilingual"] == report["map"]["multilingual"]
    assert (result.model / "model.safetensors").is_file()


def test_a_process_trains_again_in_another_precision_and_resumes(toy: Path, tmp_path: Path) -> None:
    first = hybrid_dist.train(small_run(toy, tmp_path, "run", **{"train.steps": 1}))
    other = hybrid_dist.train(small_run(toy, tmp_path, "other", **{"train.precision": "bf16"}))
    resumed = hybrid_dist.train(small_run(toy, tmp_path, "run"))
    assert (first.step, other.step, resumed.step, resumed.best) == (1, 2, 2, None)
    again = hybrid_dist.train(small_run(toy, tmp_path, "run"))
    folder = tmp_path / "run"
    assert again == TrainingResult(folder, folder / "model", 2, {}, None, None, None, {}, None)
    with pytest.raises(UserError, match=r"seed: was 1, is 2"):
        hybrid_dist.train(small_run(toy, tmp_path, "run", seed=2))
    longer = small_run(toy, tmp_path, "run", **{"train.steps": 500})
    (folder / "STOP").touch()
    stopped = hybrid_dist.train(longer)
    assert stopped.stopped_by == "STOP" and stopped.step < 500
    assert json.loads((folder / "interrupted").read_text())["step"] == stopped.step


def test_what_cannot_be_combined_is_rejected() -> None:
    with pytest.raises(UserError, match=r"data.train: no pair file"):
        hybrid_dist.train(Config())


def test_an_exported_checkpoint_equals_the_model_that_the_run_wrote(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = hybrid_dist.train(small_run(toy, tmp_path, "run"))
    out = tmp_path / "exported"
    checkpoint = result.folder / "checkpoints" / "step-000002"
    command = ["hybrid-dist", "export", str(checkpoint), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    cli.main()
    written = {f.relative_to(result.model): f for f in result.model.rglob("*") if f.is_file()}
    assert {f.relative_to(out) for f in out.rglob("*") if f.is_file()} == set(written)
    for name, file in written.items():
        assert (out / name).read_bytes() == file.read_bytes(), name
    assert "| Pairs | 1,200 |" in (out / "README.md").read_text(), "the card knows the run"
    earlier = tmp_path / "earlier"
    export(checkpoint.with_name("step-000001"), earlier)
    weights = "model.safetensors"
    assert (earlier / weights).read_bytes() != (out / weights).read_bytes()
    with pytest.raises(UserError, match="exists already"):
        export(checkpoint, out)
    with pytest.raises(UserError, match="is no checkpoint"):
        export(result.model, tmp_path / "new")
