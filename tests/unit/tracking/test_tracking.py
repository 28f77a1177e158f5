"""metrics.jsonl is the truth about a run; W&B gets the same and never stops it."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.config.schema import Log
from hybrid_dist.errors import UserError
from hybrid_dist.reporting.plots import log_bars
from hybrid_dist.runtime.progress_bar import part
from hybrid_dist.tracking import wandb_run as wandb_run_module
from hybrid_dist.tracking.metrics_log import MetricsLog
from hybrid_dist.tracking.terminal import Terminal
from hybrid_dist.tracking.wandb_run import WandbRun
from tests.support import stored_reports, watched_run
from tests.support.launch import wait_for
from tests.support.wandb_files import offline_runs, read
from tests.support.wandb_server import Server, serving

CONFIG = {"seed": 1, "optim": {"lr": 0.5}, "data": {"train": ["ä.jsonl"]}}


def record(step: int, **figures: Any) -> dict[str, Any]:
    return {"step": step, "train/loss": step / 10, **figures}


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.read() == []
    records = [record(10, kind="ünï\u2028\x85\n"), record(20, language=None)]
    for each in records:
        log.write(each)
    assert log.read() == records
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()] == records


@pytest.mark.parametrize("torn", ["", '{"step": 30, "train/lo', "\x00\x00\x00"])
def test_cutting_back_forgets_later_steps_and_a_torn_line(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "metrics.jsonl"
    log = MetricsLog(file)
    for step in (5, 10, 15, 20):
        log.write(record(step))
    with file.open("a") as lines:
        lines.write(torn)
    log.truncate_after(10)
    assert log.read() == [record(5), record(10)]
    log.write(record(11))
    assert [json.loads(line)["step"] for line in file.open()] == [5, 10, 11]


def refused(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


NAN, INFINITE = float("nan"), float("inf")


def test_what_is_no_finite_number_is_null_for_every_reader(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    log = MetricsLog(file)
    log.write(record(10, **{"train/grad_norm": NAN, "dev/loss": INFINITE}))
    (line,) = file.read_text().splitlines()
    parsed = json.loads(line, parse_constant=refused)
    assert parsed == record(10) | {"train/grad_norm": None, "dev/loss": None}
    assert log.read() == [parsed]
    file.write_text('{"step": 1, "train/loss": NaN, "dev/loss": -Infinity, "x": 1e999}\n')
    log.truncate_after(1)  # written by an earlier version
    (line,) = file.read_text().splitlines()
    assert json.loads(line, parse_constant=refused) == {
        "step": 1,
        "train/loss": None,
        "dev/loss": None,
        "x": None,
    }


DAMAGED = {
    "{" * 100_000: "nested too deeply|expecting property name",
    '{"step": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}": "nested too deeply",
    '{"step": ' + "9" * 5000 + "}": r"Exceeds the limit \(4300 digits\)",
    '{"step": 10' + "0" * 20 + "}": "it has no step that is a whole number",
    '{"step": true}': "it has no step that is a whole number",
    '{"step": -1}': "it has no step that is a whole number",
    '{"train/loss": 1.0}': "it has no step that is a whole number",
    '{"step": 1, "train/loss": "low"}': "train/loss is no number",
    '{"step": 1, "train/loss": [1]}': "train/loss is no number",
    '{"step": 1, "train/kind": 7}': "train/kind is no text",
    "[1]": "no object",
    "\x00": "expecting value, line 1 column 1",
    '{"step": 1, "a": "\xff"}': "not UTF-8, byte 18",
}


@pytest.mark.parametrize(("line", "problem"), DAMAGED.items())
def test_a_damaged_line_is_named_and_not_lost(tmp_path: Path, line: str, problem: str) -> None:
    file = tmp_path / "metrics.jsonl"
    first, last = (json.dumps(record(step)) for step in (5, 10))
    content = f"{first}\n{line}\n{last}\n".encode("latin-1")
    file.write_bytes(content)
    log = MetricsLog(file)
    records, problems = log.scan()
    assert records == [record(5), record(10)]
    assert len(problems) == 1 and re.search(f"^line 2: .*({problem})", problems[0])
    assert log.truncate_after(5) == problems
    assert log.read() == [record(5)]
    assert log.damaged.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name, log.damaged.name]
    assert log.truncate_after(5) == []


@pytest.mark.parametrize("line", DAMAGED)
def test_a_last_line_that_is_torn_is_no_damage(tmp_path: Path, line: str) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(f"{json.dumps(record(5))}\n{line}".encode("latin-1"))
    assert MetricsLog(file).scan() == ([record(5)], [])


def test_truncating_a_missing_log_gives_an_empty_one(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.truncate_after(0)
    assert log.read() == []


def wandb_run(folder: Path, messages: list[str], speaks: bool = True, **log: Any) -> WandbRun:
    options = Log(wandb=log.pop("mode", "offline"), project="a project", **log)
    return WandbRun(options, folder, CONFIG, messages.append, speaks)


def test_a_step_number_that_was_lost_does_not_end_wandb(tmp_path: Path) -> None:
    (tmp_path / "wandb_sent").write_text("")  # as a loss of power may leave it
    messages = list[str]()
    with wandb_run(tmp_path, messages) as run:
        run.write(record(10))
    (offline,) = offline_runs(tmp_path)
    assert [row["train/step"] for row in offline.history] == [10]
    assert not any("W&B is off" in line for line in messages)
    assert (tmp_path / "wandb_sent").read_text() == "10\n"


def test_an_offline_run_has_config_metrics_and_steps_and_a_resumed_one_continues(
    tmp_path: Path,
) -> None:
    folder, messages = tmp_path / "my run", list[str]()
    folder.mkdir()
    run = wandb_run(folder, messages, group="a group", tags=("x", "y"), job_type="a job")
    for step in (10, 20, 30):
        run.write(record(step, language=None, kind="monolingual"))
    run.finish()
    # the run died at step 30 and is resumed from the checkpoint of step 10
    with wandb_run(folder, messages) as run:
        for step in (20, 30, 40):
            run.write(record(step))
        run.summarize({"final/toy/map.multilingual": 0.75})

    first, second = offline_runs(folder)
    assert first.id == second.id == (folder / "wandb_id").read_text().strip()
    assert (first.project, first.name, first.group) == ("a project", "my run", "a group")
    assert (first.tags, first.job_type) == (["x", "y"], "a job")
    for offline in (first, second):
        assert {key: offline.config[key] for key in CONFIG} == CONFIG
        sections = {name: step for name, step in offline.metrics.items() if name != "train/step"}
        assert sections.keys() >= {"train/*", "eval/*", "system/*"}
        assert set(sections.values()) == {"train/step"}
    steps = [
        [(r["train/step"], r["_step"]) for r in offline.history] for offline in (first, second)
    ]
    assert steps == [[(10, 10), (20, 20), (30, 30)], [(40, 40)]]
    assert [r["train/loss"] for r in first.history] == [1.0, 2.0, 3.0]
    assert "language" not in first.history[0]
    assert second.summary["final/toy/map.multilingual"] == 0.75
    folders = sorted((folder / "wandb").glob("offline-run-*"))
    named = [Path(line.partition("wandb sync --include-online ")[2]) for line in messages]
    assert len(named) == 2, "each part of the run ends with the line that sends them all"
    for glob in named:
        assert sorted(glob.parent.glob(glob.name)) == folders


def test_heatmaps_and_tables_come_with_the_record_of_their_step(tmp_path: Path) -> None:
    by_pair = {"de": {"de": 0.5, "en": 0.25}, "en": {"de": 0.125}}
    report = tmp_path / "eval" / "step-000020" / "toy" / "report.json"
    stored_reports.write(report, stored_reports.report(map_by_pair=by_pair))
    image = log_bars({"a": 1.0}, "a plot")
    report.with_name("map_by_pair.png").write_bytes(image)
    with wandb_run(tmp_path, []) as run:
        run.write(record(10))
        run.reports(report.parents[1], "eval")
        run.write(record(20))
        run.table("plan/mix", ("kind", "batches"), [("monolingual", 7)])

    (offline,) = offline_runs(tmp_path)
    before, step, end = offline.history
    assert "eval/toy/map_by_pair/path" not in before
    curves = {key: v for key, v in step.items() if key.startswith("eval/toy/map_by_language/")}
    by_language = stored_reports.report()["map_by_language"]
    assert curves == {f"eval/toy/map_by_language/{lang}": v for lang, v in by_language.items()}
    assert step["train/step"] == 20
    (files,) = (tmp_path / "wandb").glob("offline-run-*/files")
    assert (files / step["eval/toy/map_by_pair/path"]).read_bytes() == image
    table = json.loads((files / step["eval/toy/map_by_pair_table/path"]).read_text())
    assert table["columns"] == ["query", "passage", "mAP"]
    assert table["data"] == [["de", "de", 0.5], ["de", "en", 0.25], ["en", "de", 0.125]]
    mix = json.loads((files / end["plan/mix/path"]).read_text())
    assert mix["data"] == [["monolingual", 7]]


@pytest.mark.parametrize("harm", ["no key", "broken", "no image", "a broken image"])
def test_a_report_that_cannot_be_read_costs_its_heatmap_alone(tmp_path: Path, harm: str) -> None:
    content = stored_reports.report()
    if harm == "no key":
        del content["map_by_pair"]
    file = stored_reports.write(tmp_path / "eval" / "toy" / "report.json", content)
    if harm == "broken":
        file.write_text("{")
    if harm == "a broken image":
        file.with_name("map_by_pair.png").write_bytes(b"\x89PNG")
    messages = list[str]()
    with wandb_run(tmp_path, messages) as run:
        run.reports(tmp_path / "eval", "final")
        run.write(record(10))
    (offline,) = offline_runs(tmp_path)
    assert [row["train/step"] for row in offline.history] == [10]
    assert len(messages) == 2 and messages[0].startswith(
        "W&B: cannot send the figures of languages: "
    )
    assert str(file if "image" not in harm else file.parent) in messages[0]


def test_wandb_is_sent_no_point_where_metrics_jsonl_has_null(tmp_path: Path) -> None:
    with wandb_run(tmp_path, []) as run:
        run.write(record(10, **{"dev/loss": NAN, "train/grad_norm": INFINITE, "eval/best": None}))
        run.summarize({"final/x": NAN, "final/y": 1.0})
    (offline,) = offline_runs(tmp_path)
    (row,) = offline.history
    assert row["train/loss"] == 1.0
    assert not row.keys() & {"dev/loss", "train/grad_norm", "eval/best"}
    assert "final/x" not in offline.summary and offline.summary["final/y"] == 1.0


@pytest.mark.parametrize("alerts", [False, True])
def test_a_run_that_fails_sends_an_alert_if_asked_to(alerts: bool, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 80)
    folder.mkdir()
    with pytest.raises(UserError), wandb_run(folder, [], alerts=alerts) as run:
        run.write(record(10))
        raise UserError("out of memory")
    (offline,) = offline_runs(tmp_path)
    assert offline.alerts == [(f"{'x' * 50} failed", "out of memory")] * alerts
    with wandb_run(tmp_path, [], alerts=alerts) as run:
        run.write(record(10))
    assert [one.alerts for one in offline_runs(tmp_path)[1:]] == [[]], "it ended well"


def plain_text(shown: str) -> str:
    """What a terminal shows, without its escapes."""
    return re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", shown)


def terminal_lines(name: str, *records: dict[str, Any]) -> list[str]:
    shown = io.StringIO()
    with redirect_stderr(shown), Terminal(name, 100, True) as terminal:
        for each in records:
            terminal.show(each)
        terminal.say("done [/b]")
    return shown.getvalue().splitlines()


def test_the_terminal_shows_a_dash_where_an_evaluation_gave_no_number() -> None:
    figures = {"step": 20, "dev/loss": NAN, "eval/best": None, "eval/best_step": 0}
    lines = terminal_lines("run", figures)
    assert lines[0] == "run: step 20/100  dev/loss -  best -  best_step 0"


def test_an_evaluation_is_shown_beside_the_steps_in_80_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = io.StringIO()
    with redirect_stderr(shown), Terminal("a name of a run", 4000, True) as bar:
        bar.show(watched_run.record(60, **{"train/loss": 3.31}))
        bar.step(60)
        with bar.parts(), part("embedding passages", 13014):
            bar.say("now")
        during = plain_text(shown.getvalue())
        bar.say("after")
    assert "  60/4000" in during and "0/13014" in during
    assert "loss 3.310" in plain_text(shown.getvalue()).rpartition("after")[2]


def test_the_terminal_names_the_rank_that_the_others_wait_for() -> None:
    slowest = {"system/slowest_rank": 3, "system/slowest_node": "gpu07"}
    last = watched_run.record(100, **slowest, **{"system/slowest_pct": 33.7})
    assert "  rank 3 on gpu07 is 34% slower" in terminal_lines("run", last)[0]


@pytest.mark.parametrize("ranks", [16, 17])
def test_wandb_gets_no_curves_of_very_many_ranks(ranks: int, tmp_path: Path) -> None:
    times = {f"system/rank_ms/{rank}": 1.0 for rank in range(ranks)}
    with wandb_run(tmp_path, []) as run:
        run.write(record(10, **times, **{"system/slowest_rank": 3, "system/slowest_node": "n"}))
    (row,) = offline_runs(tmp_path)[0].history
    assert len(row.keys() & times.keys()) == (ranks if ranks <= 16 else 0)
    assert (row["system/slowest_rank"], row["system/slowest_node"]) == (3, "n")


@pytest.mark.parametrize("name", ["\\[/b]", "[/]", "\x1b[31mred", "{task.id}"])
def test_a_run_s_name_is_no_markup_on_the_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    plain = name.replace("\x1b", r"\x1b")
    shown = "\n".join(terminal_lines(name))
    text = plain_text(shown)
    assert re.search(rf"{re.escape(plain)} [━╺╸ ]+ 0/100", text), "the live line"
    assert f"{plain}: done [/b]" in text
    assert "\x1b[31mred" not in shown


@pytest.mark.parametrize(
    ("url", "key", "why"),
    [
        ("http://127.0.0.1:9", "a" * 40, "Failed to authenticate"),
        ("http://127.0.0.1:9", "short", "API key must have"),
        ("http://127.0.0.1:9", "", "there is no key"),
    ],
)
def test_without_a_server_or_a_key_the_run_is_recorded_offline(
    url: str, key: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    messages: list[str] = []
    run = wandb_run(tmp_path, messages, mode="online")
    run.write(record(1))
    assert messages == [], "the one who writes does not wait"
    run.finish()
    assert why in messages[0] and messages[0].endswith("this run is recorded offline")
    assert "wandb sync" in messages[1]
    (offline,) = offline_runs(tmp_path)
    assert [r["train/step"] for r in offline.history] == [1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    yield from serving(monkeypatch)


def test_an_online_run_sends_its_records(server: Server, tmp_path: Path) -> None:
    messages: list[str] = []
    with wandb_run(tmp_path, messages, mode="online") as run:
        for step in (10, 20, 30):
            run.write(record(step))
    assert [(row["train/step"], row["_step"]) for row in server.rows] == [
        (10, 10),
        (20, 20),
        (30, 30),
    ]
    assert messages == []


def sync(message: str, server: Server, folder: Path) -> list[int]:
    """The steps that a server has after the command of a message was run in a folder."""
    line = message.partition("; send this run with: ")[2]
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m {line}"],
        env=os.environ | {"WANDB_BASE_URL": server.url},
        cwd=folder,  # it leaves its log there
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [row["train/step"] for row in server.rows]


@pytest.mark.parametrize("first", ["offline", "online"])
def test_the_printed_line_sends_all_parts_of_a_run_in_order(
    first: str, server: Server, tmp_path: Path
) -> None:
    messages: list[str] = []
    for mode, steps in ((first, (10, 20)), ("offline", (30,)), ("offline", (40, 50))):
        with wandb_run(tmp_path, messages, mode=mode) as run:
            for step in steps:
                run.write(record(step))
    assert [row["train/step"] for row in server.rows] == ([10, 20] if first == "online" else [])
    assert sync(messages[-1], server, tmp_path) == [10, 20, 30, 40, 50]


def test_the_end_waits_for_a_lost_server_but_not_for_long(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_run_module, "SECONDS_TO_FINISH", 3)
    messages: list[str] = []
    run = wandb_run(tmp_path, messages, mode="online")
    run.write(record(10))
    wait_for(lambda: server.rows)
    server.close()
    for step in (20, 30):
        run.write(record(step))
    run.finish()
    assert len(messages) == 1
    why, _, glob = messages[0].partition("; send this run with: wandb sync --include-online ")
    assert why == "W&B did not take all in time"
    (folder,) = Path(glob).parent.glob(Path(glob).name)
    (file,) = folder.glob("*.wandb")
    assert [row["train/step"] for row in read(file).history] == [10, 20, 30], "nothing is lost"
    another = Server()
    assert sync(messages[0], another, tmp_path) == [10, 20, 30], "though it was online"
    another.close()


@pytest.mark.parametrize(("mode", "speaks"), [("disabled", True), ("offline", False)])
def test_nothing_is_written_when_disabled_or_on_other_ranks(
    tmp_path: Path, mode: str, speaks: bool
) -> None:
    messages: list[str] = []
    run = wandb_run(tmp_path, messages, speaks=speaks, mode=mode)
    run.write(record(1))
    run.summarize({"final/x": 1.0})
    run.finish()
    assert list(tmp_path.iterdir()) == []
    assert messages == []


def test_a_failure_to_start_is_reported_once_and_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "wandb_id").mkdir()  # so that the id cannot be read
    messages: list[str] = []
    run = wandb_run(tmp_path, messages)
    run.write(record(1))
    run.summarize({"final/x": 1.0})
    run.finish()
    assert len(messages) == 1
    assert messages[0].startswith("W&B is off for the rest of this run: ")


def test_a_later_failure_is_reported_once_and_does_not_stop_the_run(tmp_path: Path) -> None:
    messages: list[str] = []
    run = wandb_run(tmp_path, messages)
    run.write(record(1))
    run.write({"step": 2, "train/loss": object()})  # what W&B cannot put into JSON
    run.write(record(3))
    run.summarize({"final/x": 1.0})
    run.finish()
    assert len(messages) == 1
    assert messages[0].startswith("W&B is off for the rest of this run: ")


def test_a_folder_that_cannot_be_written_is_reported_and_the_run_continues(tmp_path: Path) -> None:
    messages: list[str] = []
    run = wandb_run(tmp_path / "gone", messages)
    run.write(record(1))
    run.finish()
    assert len(messages) == 1
    assert "metrics.jsonl has everything" in messages[0]
