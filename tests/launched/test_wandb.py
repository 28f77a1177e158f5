"""What W&B records of real runs: read back from its own offline files."""

import json
import re
import subprocess
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from hybrid_dist.reporting.dashboard_panels import RUNS, laid_out
from hybrid_dist.reporting.logged_run import LoggedRun
from hybrid_dist.tracking.wandb_run import BY_PAIR
from tests.support.launch import (
    kill,
    run_in_folder,
    start,
    start_forked,
    train,
    train_command,
    wait_for,
)
from tests.support.runs import metrics, options, succeed
from tests.support.tensorboard_files import points
from tests.support.wandb_files import offline_runs

SECRETS = {
    "WANDB_API_KEY": "5ec7e7" * 6 + "aaaa",
    "HF_TOKEN": "hf_planted" + "Q" * 24,
    "AWS_SECRET_ACCESS_KEY": "planted/key+" + "Z" * 28,
    "HTTPS_PROXY": "http://me:planted-proxy@127.0.0.1:9",
}
"""What the environment of a job may hold."""
REMOTE = "https://planted-token:x-oauth-basic@example.org/me/project.git"
PLANTED = [*SECRETS.values(), "planted-"]


def test_a_run_is_recorded_whole(toy: Path, tmp_path: Path) -> None:
    changed = {
        "train__steps": "10",
        "eval__every": "5",
        "eval__tasks": f"toy:{toy}",
        "log__wandb": "offline",
        "log__group": "a group",
        "log__job_type": "a job",
    }
    args = [*options(toy, tmp_path, "run", **changed), "--log.tags", "x", "y"]
    for words in (["init", "-q"], ["remote", "add", "origin", REMOTE]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    done = succeed(run_in_folder(tmp_path, train_command(args, "cpu", 2), **SECRETS))
    folder = tmp_path / "run"
    assert any(file.suffix == ".wandb" for file in files_with(folder, ["a group"]))
    assert not files_with(folder, PLANTED)
    assert not any(secret in done.output for secret in PLANTED)
    last_line = done.output.splitlines()[-1]
    assert last_line.endswith(f"model, the report {folder / 'eval' / 'toy' / 'report.html'}")
    (recorded,) = offline_runs(folder)
    assert (recorded.project, recorded.name, recorded.group) == ("hybrid_dist", "run", "a group")
    assert (recorded.tags, recorded.job_type) == (["x", "y"], "a job")
    assert recorded.config["optim"]["lr"] == 1e-3
    described = json.loads((folder / "environment.json").read_text())
    assert recorded.config["commit"] == described["commit"]

    records = metrics(tmp_path, "run")
    assert [row["train/step"] for row in recorded.history[:10]] == list(range(1, 11))
    for record, row in zip(records, recorded.history, strict=False):
        step = record.pop("step")
        sent = {key: value for key, value in record.items() if not key.startswith(f"{BY_PAIR}/")}
        assert {key: row[key] for key in sent} == sent, "the same values as metrics.jsonl"
        assert not [key for key in row if key.startswith(f"{BY_PAIR}/q")], "no curve for each pair"
        assert (f"{BY_PAIR}/path" in row) == (step in (5, 10))
        assert ("eval/toy/map_by_pair/path" in row) == (step in (5, 10))
    assert {"train", "eval", "system"} <= {key.partition("/")[0] for key in records[4]}

    (files,) = (folder / "wandb").glob("offline-run-*/files")
    by_step = folder / "eval" / "step-000005" / "toy"
    image = (files / recorded.history[4]["eval/toy/map_by_pair/path"]).read_bytes()
    assert image == (by_step / "map_by_pair.png").read_bytes()
    report = json.loads((by_step / "report.json").read_text())
    table = json.loads((files / recorded.history[4]["eval/toy/map_by_pair_table/path"]).read_text())
    rows = {
        (query_language, passage_language): value
        for query_language, passage_language, value in table["data"]
    }
    assert len(rows) == 16
    assert rows["qaa", "qab"] == report["map_by_pair"]["qaa"]["qab"]
    by_language = recorded.history[4]["eval/toy/map_by_language/qaa"]
    assert by_language == report["map_by_language"]["qaa"]
    losses = json.loads((files / recorded.history[9][f"{BY_PAIR}/path"]).read_text())["data"]
    for query_language, passage_language, loss, step in losses:
        pair = f"{BY_PAIR}/{query_language}_to_{passage_language}"
        assert loss == records[step - 1][pair]
        assert not any(pair in record for record in records[step:]), "the last one"
    assert {f"{BY_PAIR}/{row[0]}_to_{row[1]}" for row in losses} == {
        key for record in records for key in record if key.startswith(f"{BY_PAIR}/")
    }

    last = recorded.history[-1]
    mix = json.loads((files / last["plan/mix/path"]).read_text())["data"]
    assert sum(count for *_, count in mix) == 10
    assert {kind for kind, *_ in mix} == {"monolingual", "cross_lingual"}
    assert (files / last["final/toy/map_by_pair/path"]).is_file()
    best = max(r["eval/toy/map.multilingual"] for r in records if "eval/best" in r)
    assert recorded.summary["eval/best"] == best
    assert recorded.summary["final/toy/map.multilingual"] == best
    line = re.search(
        r"W&B was offline; send this run with: wandb sync --include-online (.*)", done.output
    )
    assert line is not None
    assert sorted(Path(line[1]).parent.glob(Path(line[1]).name)) == [files.parent]


def test_the_panels_of_a_dashboard_show_all_that_was_sent(toy: Path, tmp_path: Path) -> None:
    changed = {
        "train__steps": "4",
        "eval__every": "2",
        "eval__tasks": f"toy:{toy}",
        "data__dev": str(toy / "dev.jsonl"),
        "log__wandb": "offline",
    }
    succeed(train(options(toy, tmp_path, "run", **changed)))
    (recorded,) = offline_runs(tmp_path / "run")
    rows = [*recorded.history, recorded.summary]
    sent = {key.removesuffix("/path") for row in rows for key in row}
    logged = LoggedRun.read(tmp_path / "run").keys
    shown = {
        key for section in laid_out(RUNS, logged) for panel in section.panels for key in panel.keys
    }
    assert shown <= sent
    written = {
        name
        for record in metrics(tmp_path, "run")
        for name, value in record.items()
        if isinstance(value, int | float) and not name.startswith(f"{BY_PAIR}/")
    }
    assert written - shown == {"step", "eval/best_step"}
    of_reports = {"map_by_pair", "map_by_language/qaa", "map.multilingual"}
    assert {f"{part}/toy/{name}" for part in ("eval", "final") for name in of_reports} <= shown


def test_a_requeued_run_is_one_curve_and_no_step_is_sent_twice(toy: Path, tmp_path: Path) -> None:
    changed = {"train__steps": "70", "checkpoint__every": "7", "log__wandb": "offline"}
    has_tensorboard = find_spec("tensorboard") is not None
    changed["log__tensorboard"] = str(has_tensorboard).lower()
    args = options(toy, tmp_path, "run", **changed)
    folder = tmp_path / "run"

    def lines() -> int:
        file = folder / "metrics.jsonl"
        return file.read_text().count("\n") if file.exists() else 0

    first = start_forked(train_command(args))
    wait_for(lambda: lines() >= 20)
    (folder / "STOP").touch()
    first.communicate()
    stopped = lines()
    second = start(train_command(args))
    wait_for(lambda: lines() >= stopped + 20)
    kill(second)
    second.communicate()
    succeed(train(args))
    parts = [
        recorded for recorded in offline_runs(folder) if recorded.id
    ]  # or killed before it wrote
    assert {recorded.id for recorded in parts} == {(folder / "wandb_id").read_text().strip()}
    sent = [
        row["train/step"] for recorded in parts for row in recorded.history if "train/loss" in row
    ]
    assert sent[:stopped] == list(range(1, stopped + 1))
    assert sent == sorted(set(sent)), "no step is sent twice, and none goes back"
    assert sent[-1] == 70
    assert len(sent) > 35, "what a killed process had not written is lost, and no more"
    if has_tensorboard:
        assert [step for step, _ in points(folder, "train/loss")] == list(range(1, 71))


def files_with(folder: Path, secrets: Iterable[str]) -> list[Path]:
    """Files of a folder that contain any of these."""
    words = [secret.encode() for secret in secrets]
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if any(word in file.read_bytes() for word in words)]


def test_a_server_that_does_not_answer_changes_nothing(toy: Path, tmp_path: Path) -> None:
    changed = {"train__steps": "30", "log__wandb": "online"}
    args = options(toy, tmp_path, "dead", **changed)
    dead = "http://127.0.0.1:9"
    done = succeed(train(args, WANDB_BASE_URL=dead, WANDB_API_KEY="a" * 40))
    succeed(train(options(toy, tmp_path, "none", train__steps="30")))
    assert "this run is recorded offline" in done.output
    assert "wandb sync" in done.output
    for key in ("train/loss", "train/grad_norm"):
        pair = [[r[key] for r in metrics(tmp_path, name)] for name in ("dead", "none")]
        assert pair[0] == pair[1]
    (recorded,) = offline_runs(tmp_path / "dead")
    assert [row["train/step"] for row in recorded.history if "train/loss" in row] == [*range(1, 31)]
