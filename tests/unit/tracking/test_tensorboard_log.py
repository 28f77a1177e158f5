"""What TensorBoard shows of a run: read back from its event files by TensorBoard itself."""

import sys
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.config.schema import Log
from hybrid_dist.errors import UserError
from hybrid_dist.tracking.metrics_log import MetricsLog, Record
from hybrid_dist.tracking.tensorboard_log import TensorBoardLog, check_tensorboard
from tests.support.tensorboard_files import points, points_of, viewer


def record(step: int, **figures: Any) -> Record:
    values = {"step": step, "train/loss": 8.0 - step, "train/kind": "monolingual"}
    return values | figures


@pytest.fixture
def log(tmp_path: Path) -> MetricsLog:
    pytest.importorskip("tensorboard")
    return MetricsLog(tmp_path / "metrics.jsonl")


def run(folder: Path, log: MetricsLog, steps: range, **figures: Any) -> None:
    """Log steps; those from the first one on have been forgotten."""
    written = TensorBoardLog(folder, steps[0] - 1, log.read())
    for step in steps:
        log.write(record(step, **figures))
        written.write(record(step, **figures))


def test_a_resumed_run_has_each_step_once(log: MetricsLog, tmp_path: Path) -> None:
    run(tmp_path, log, range(1, 6))
    open_meanwhile = viewer(tmp_path)
    assert points_of(open_meanwhile, "train/loss") == [(s, 8.0 - s) for s in (1, 2, 3, 4, 5)]
    log.truncate_after(2)  # the step of its checkpoint
    run(tmp_path, log, range(3, 9))
    for shown in (viewer(tmp_path), open_meanwhile):
        assert [step for step, _ in points_of(shown, "train/loss")] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_that_was_begun_without_it_is_shown_from_its_first_step(
    log: MetricsLog, tmp_path: Path
) -> None:
    for step in (1, 2, 3):
        log.write(record(step))
    run(tmp_path, log, range(4, 6))
    assert [step for step, _ in points(tmp_path, "train/loss")] == [1, 2, 3, 4, 5]


def test_figures_are_shown_and_texts_and_language_pairs_are_not(
    log: MetricsLog, tmp_path: Path
) -> None:
    more = {"train/loss_by_pair/de_to_en": 1.0, "eval/toy/map.multilingual": 0.5, "dev/loss": None}
    run(tmp_path, log, range(1, 2), **more)
    assert sorted(viewer(tmp_path).Tags()["scalars"]) == ["eval/toy/map.multilingual", "train/loss"]


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    check_tensorboard(Log())
    with pytest.raises(UserError, match=r"log.tensorboard: needs the package tensorboard"):
        check_tensorboard(Log(tensorboard=True))
