"""What surrounds the training loop: run folder, checkpoints, optimizer, launch."""

import json
import math
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hybrid_dist.config.resolve import from_yaml
from hybrid_dist.config.schema import Checkpoint, Config, Data, Log, Optim, Run, Train
from hybrid_dist.errors import LaunchError, UserError
from hybrid_dist.runtime.ranks import Ranks, check_launch
from hybrid_dist.runtime.signals import SIGNALS, Interruption
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.optimizer import adamw, learning_rate
from hybrid_dist.training.requests import PendingRequests, Requests, name_of
from hybrid_dist.training.run_folder import RunFolder
from hybrid_dist.training.selection import SelectionMetric, resume_selection
from tests.support.permissions import nobody


def config(tmp_path: Path, **sections: Any) -> Config:
    return Config(run=Run(dir=str(tmp_path), name="a run"), data=Data(train=("a",)), **sections)


def begun(tmp_path: Path) -> Config:
    """A run that wrote its description and logged a step."""
    folder = RunFolder(config(tmp_path))
    folder.write_description({"host": "ünï"})
    folder.metrics.write_text('{"step": 1}\n')
    return config(tmp_path)


def test_a_run_that_never_took_a_step_may_be_corrected(tmp_path: Path) -> None:
    RunFolder(config(tmp_path)).write_description({})
    RunFolder(replace(config(tmp_path), seed=2)).check()


def test_fewer_steps_than_were_trained_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(begun(tmp_path))
    folder.checkpoints.mkdir()
    (folder.checkpoints / "latest").write_text("step-000300\n")
    RunFolder(replace(config(tmp_path), train=Train(steps=300))).check()
    with pytest.raises(UserError, match=r"train.steps: is 200, but .* is trained to step 300"):
        RunFolder(replace(config(tmp_path), train=Train(steps=200))).check()


def test_a_folder_is_held_by_one_run(tmp_path: Path) -> None:
    first = RunFolder(config(tmp_path))
    first.check()
    first.hold()
    with pytest.raises(UserError, match=r"another process is training in it"):
        RunFolder(config(tmp_path)).hold()
    RunFolder(config(tmp_path)).check()  # a lock alone is no run
    del first
    RunFolder(config(tmp_path)).hold()


def test_a_requeued_job_waits_for_a_lock_that_lingers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    lost = [RunFolder(config(tmp_path))]
    lost[0].hold()
    threading.Timer(1.5, lost.clear).start()
    RunFolder(config(tmp_path)).hold()
    assert not lost, "the lock was taken while it was held"


def test_a_path_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint.resume: nowhere is no checkpoint"):
        RunFolder(replace(config(tmp_path), checkpoint=Checkpoint(resume="nowhere"))).check()


def test_a_new_run_may_begin_and_writes_its_description(tmp_path: Path) -> None:
    folder = RunFolder(config(tmp_path))
    folder.check()
    assert list(tmp_path.iterdir()) == [], "a check writes nothing"
    folder.write_description({"host": "ünï"})
    assert from_yaml(folder.path / "config.yaml") == config(tmp_path)
    assert json.loads((folder.path / "environment.json").read_text("utf-8")) == {"host": "ünï"}


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "a run").mkdir()
    RunFolder(config(tmp_path)).check()


def test_drafts_of_a_killed_process_are_no_run_and_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    (folder / ".model.0123abcd.part").mkdir(parents=True)
    for name in (".config.yaml.0123abcd.part", ".model.0123abcd.part/config.json"):
        (folder / name).touch()
    run = RunFolder(config(tmp_path))
    run.check()
    run.hold()
    assert [file.name for file in folder.iterdir()] == [".lock"]
    (folder / ".toy.0123abcd.part").mkdir()  # an evaluation that writes its report here
    run._remove_drafts()
    assert (folder / ".toy.0123abcd.part").exists()
    with pytest.raises(UserError, match=r"holds files but no run"):
        run.check()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"log": Log(every=1)},
        {"train": Train(steps=7, chunk_size=3)},
        {"checkpoint": Checkpoint(every=3, keep=9)},
    ],
)
def test_a_run_is_resumed_when_only_free_keys_differ(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    RunFolder(replace(begun(tmp_path), **changes)).check()


def test_a_run_folder_that_moved_is_still_that_run(tmp_path: Path) -> None:
    begun(tmp_path / "old")
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "a run").rename(tmp_path / "new" / "a run")
    RunFolder(config(tmp_path / "new")).check()


def test_another_run_in_the_folder_is_refused_with_the_keys(tmp_path: Path) -> None:
    new = replace(begun(tmp_path), seed=2, optim=Optim(lr=0.5), log=Log(every=1))
    with pytest.raises(UserError) as refusal:
        RunFolder(new).check()
    message = str(refusal.value)
    assert "seed: was 1, is 2" in message
    assert "optim.lr: was 3e-05, is 0.5" in message
    assert "log.every" not in message


def test_resume_never_refuses_a_run_that_exists(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint.resume: is never, but .*a run holds a run"):
        RunFolder(replace(begun(tmp_path), checkpoint=Checkpoint(resume="never"))).check()


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_files_that_are_no_run_are_refused(tmp_path: Path, resume: str) -> None:
    (tmp_path / "a run").mkdir()
    (tmp_path / "a run" / "thesis.txt").touch()
    with pytest.raises(UserError, match=r"holds files but no run; choose another run.name"):
        RunFolder(config(tmp_path, checkpoint=Checkpoint(resume=resume))).check()


def test_a_broken_description_is_refused_with_its_file(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "a run" / "config.yaml").write_text("seed: [")
    with pytest.raises(UserError, match=r"a run/config.yaml: is not valid YAML"):
        RunFolder(config(tmp_path)).check()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # a file where a folder is needed: not even root may write below it
    with pytest.raises(UserError, match=r"run.dir: .*/file/a run cannot be written"):
        RunFolder(config(tmp_path / "file")).write_description({})


def test_a_run_folder_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    closed = RunFolder(begun(tmp_path)).path
    with (
        nobody(closed),
        pytest.raises(UserError, match=r"run.dir: .* cannot be read \(Permission denied\)"),
    ):
        RunFolder(config(tmp_path)).check()


def test_an_interrupted_run_is_marked_until_it_is_resumed(tmp_path: Path) -> None:
    folder = RunFolder(begun(tmp_path))
    folder.checkpoints.mkdir()
    (folder.checkpoints / "latest").write_text("step-000007\n")
    folder.mark_interrupted("SIGUSR2")
    assert json.loads(folder.interrupted.read_text()) == {"step": 7, "reason": "SIGUSR2"}
    RunFolder(config(tmp_path)).check()
    folder.write_description({})
    assert not folder.interrupted.exists()


def test_a_signal_is_remembered_and_files_count_once(tmp_path: Path) -> None:
    interruption = Interruption()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        interruption.listen()
        requests = Requests(tmp_path, Ranks(), interruption)
        assert requests.at_edge(now=False) == PendingRequests()
        for name, expected in (
            ("SAVE", PendingRequests(save=True)),
            ("STOP", PendingRequests("STOP")),
        ):
            (tmp_path / name).touch()
            requests._last_look -= 2
            assert requests.at_edge(now=False) == expected
            assert not (tmp_path / name).exists()
        requests = Requests(tmp_path, Ranks(), interruption)
        (tmp_path / "PROFILE").touch()
        for is_traced in (False, True):
            requests._last_look -= 2
            expected = PendingRequests(profile=not is_traced)
            assert requests.at_edge(now=False, is_traced=is_traced) == expected
        assert (tmp_path / "PROFILE").exists(), "until its traces are written"
        assert requests.at_edge(now=False, failed=True) == PendingRequests(failed=True)
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGINT)  # the first one counts; one keystroke may come twice
        assert requests.at_edge(now=False) == PendingRequests("SIGUSR2")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_request_to_stop_is_seen_between_edges_and_kept_for_the_next(tmp_path: Path) -> None:
    requests = Requests(tmp_path, Ranks(), Interruption())
    assert requests.asked() == 0
    (tmp_path / "STOP").touch()
    requests._last_look -= 2
    assert name_of(requests.asked()) == "STOP"
    assert not (tmp_path / "STOP").exists()
    assert requests.at_edge(now=True) == PendingRequests("STOP")


def test_an_evaluation_that_was_left_belongs_to_its_step(tmp_path: Path) -> None:
    folder = RunFolder(begun(tmp_path))
    assert folder.left_evaluation(7) is None
    folder.leave_evaluation(7, {"train/loss": 0.5, "train/kind": "größer"})
    folder.check()
    assert folder.left_evaluation(7) == {"train/loss": 0.5, "train/kind": "größer"}
    assert folder.left_evaluation(6) is None, "the run goes on from another checkpoint"
    assert not folder.evaluation_due.exists()
    folder.evaluation_due.write_text("[]")
    with pytest.raises(UserError, match=r"evaluation_due.json: is no evaluation that was left; re"):
        folder.left_evaluation(7)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_evaluations_that_are_no_better_are_counted_from_the_best(higher_is_better: bool) -> None:
    metric, progress = SelectionMetric("x", higher_is_better), Progress()
    history = []
    for step, value in enumerate([-math.inf, 1.0, 1.0, 0.5, 2.0, math.nan, 1.5]):
        score = value if higher_is_better else -value
        progress = metric.record(replace(progress, step=step), score)
        history.append((progress.best_step, progress.no_better))
    assert history == [(None, 1), (1, 0), (1, 1), (1, 2), (4, 0), (4, 1), (4, 2)]


CHOSEN = Progress(20, 0.25, 10, 1, 0, "eval/toy/map.multilingual", True)
RANKS, MAP = (
    SelectionMetric("eval/toy/rank_distance", False),
    SelectionMetric("eval/toy/map.multilingual", True),
)


def test_scores_of_two_metrics_are_never_compared() -> None:
    """An mAP of 0.25 would beat every rank distance for good."""
    anew, why = resume_selection(CHOSEN, RANKS, will_evaluate=True, has_model=True)
    assert anew == Progress(20, None, None, 0, 0, RANKS.figure, False)
    assert why is not None and "was eval/toy/map.multilingual and is eval/toy/rank_dist" in why
    assert RANKS.record(replace(anew, step=30), 3.5).best == 3.5
    turned = SelectionMetric(MAP.figure, higher_is_better=False)
    assert resume_selection(CHOSEN, turned, will_evaluate=True, has_model=True)[0].best is None


@pytest.mark.parametrize(("metric", "will_evaluate"), [(MAP, True), (MAP, False), (RANKS, False)])
def test_the_best_stays_where_it_can_be_compared_or_nothing_is_evaluated(
    metric: SelectionMetric, will_evaluate: bool
) -> None:
    assert resume_selection(CHOSEN, metric, will_evaluate, has_model=True) == (CHOSEN, None)
    assert resume_selection(Progress(5), metric, will_evaluate, has_model=False) == (
        Progress(5),
        None,
    )


def test_a_best_without_a_metric_is_taken_to_be_of_the_present_one() -> None:
    old = replace(CHOSEN, metric=None, higher_is_better=None)
    progress, why = resume_selection(old, MAP, will_evaluate=True, has_model=True)
    assert progress == CHOSEN
    assert why is not None and "assuming eval/toy/map.multilingual" in why


def test_a_best_model_that_another_run_has_is_none_of_this_one() -> None:
    progress, why = resume_selection(CHOSEN, MAP, will_evaluate=True, has_model=False)
    assert (progress.best, progress.best_step, progress.no_better) == (None, None, 0)
    assert why is not None and "is not in this run's folder" in why


RATES = {
    "linear": {0: 0.25, 3: 1.0, 4: 1.0, 8: 0.5, 10: 0.25, 11: 0.125, 12: 0.0, 99: 0.0},
    "cosine": {0: 0.25, 3: 1.0, 4: 1.0, 6: 0.8535534, 8: 0.5, 10: 0.1464466, 12: 0.0, 99: 0.0},
    "constant": {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0, 11: 1.0, 99: 1.0},
}


@pytest.mark.parametrize("schedule", RATES)
def test_the_learning_rate_rises_then_follows_its_schedule(schedule: Any) -> None:
    optim = Optim(lr=2.0, warmup_steps=4, schedule=schedule)
    for step, share in RATES[schedule].items():
        assert learning_rate(step, 12, optim) == pytest.approx(2 * share, abs=1e-7), step


@pytest.mark.parametrize("schedule", RATES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (4, 4), (4, 9)])
def test_short_runs_have_a_rate_above_zero_at_every_step(
    schedule: Any, steps: int, warmup: int
) -> None:
    optim = Optim(lr=1.0, warmup_steps=warmup, schedule=schedule)
    rates = [learning_rate(step, steps, optim) for step in range(steps)]
    assert min(rates) > 0
    assert max(rates) == min(1.0, steps / max(warmup, 1))


def test_matrices_decay_and_vectors_do_not() -> None:
    model = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    model.temperature = nn.Parameter(torch.zeros(1))
    model.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    groups = adamw(model, Optim(lr=0.25, weight_decay=0.125)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    expected = {id(p): 0.125 if p.ndim == 2 else 0.0 for p in model.parameters() if p.requires_grad}
    assert decay == expected
    assert {group["lr"] for group in groups} == {0.25}


@pytest.mark.parametrize(
    ("environment", "world", "expected"),
    [
        ({"WORLD_SIZE": "2"}, 1, "2 processes were requested, but this one knows of 1"),
        ({"WORLD_SIZE": "2"}, 4, "2 processes were requested, but this one knows of 4"),
        ({"HYBRID_DIST_WORLD_SIZE": "4", "WORLD_SIZE": "2"}, 2, "4 processes were requested"),
        (
            {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_PORT": "29500"},
            1,
            "several processes were requested and accelerate started one",
        ),
    ],
)
def test_fewer_processes_than_were_requested_are_rejected(
    environment: dict[str, str], world: int, expected: str
) -> None:
    with pytest.raises(LaunchError, match=expected):
        check_launch(environment, world)


@pytest.mark.parametrize(
    ("environment", "world"),
    [
        ({}, 1),
        ({"WORLD_SIZE": "4", "MASTER_PORT": "29500", "ACCELERATE_MIXED_PRECISION": "no"}, 4),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, 1),
        ({"MASTER_PORT": "29500"}, 1),
    ],
)
def test_the_requested_processes_may_start(environment: dict[str, str], world: int) -> None:
    check_launch(environment, world)
