"""A run's folder as `watch` shows it."""

import io
import json
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from hybrid_dist.commands import watch
from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.reporting import run_view
from hybrid_dist.reporting.run_screen import screen
from hybrid_dist.reporting.run_status import RunStatus
from tests.fuzz.target import Target, Variants
from tests.support.watched_run import record, run_config


def _write(folder: Path) -> None:
    (folder / "config.yaml").write_text(to_yaml(run_config("runs", dev=("b",))), "utf-8")
    (folder / "environment.json").write_text('{"torch": "2.13", "training_languages": ["en"]}\n')
    skipped = {"train/skipped": 1}
    evaluated = skipped | {"eval/toy/map.multilingual": 0.25, "dev/loss": 1.5}
    records = [record(4, **skipped), record(20, **evaluated), record(40, **evaluated)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "latest").write_text("step-000040\n")
    (folder / "interrupted").write_text('{"step": 40, "reason": "SIGTERM"}\n')


def _write_running(folder: Path) -> None:
    _write(folder)
    (folder / "interrupted").unlink()


class Watched(Target):
    name = "watch"
    heavy = True
    variants: ClassVar[Variants] = {"interrupted": _write, "running": _write_running}

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        watch.main([str(folder)])
        shown = io.StringIO()
        status = RunStatus.read(folder)
        console = Console(file=shown, width=120)
        console.print(screen(status, console))
        return "\n".join([*run_view.lines(status), shown.getvalue()])

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        if any(ord(letter) < 32 and letter != "\n" for letter in value):
            return f"letters that steer a terminal in what is shown\n{value!r}"
        return None
