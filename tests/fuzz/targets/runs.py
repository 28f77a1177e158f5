"""A run's folder as `watch` shows it."""

import io
import json
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from hybrid_dist import watch
from hybrid_dist.config import Config, Data, Eval, Run, Train
from hybrid_dist.config_file import to_yaml
from tests.fuzz.target import Target, Variants


def _record(step: int, **more: Any) -> dict[str, Any]:
    told = {
        "step": step,
        "train/loss": 4.0 / step,
        "train/loss/monolingual": 0.5,
        "train/kind": "monolingual",
        "train/batches/monolingual": 3 * step // 4,
        "train/batches/cross_lingual": step // 4,
        "train/skipped": 1,
        "system/pairs_per_s": 1234.5,
        "system/tokens_per_s": 99999.0,
        "system/step_ms": 500.0,
        "system/data_wait_pct": 0.5,
        "system/memory_gib": 2.5,
    }
    return told | more


def _write(folder: Path) -> None:
    config = Config(
        run=Run(dir="runs", name="a run"),
        data=Data(train=("a",), dev=("b",)),
        train=Train(steps=100),
        eval=Eval(tasks=("toy:somewhere",), metric="map.multilingual"),
    )
    (folder / "config.yaml").write_text(to_yaml(config), "utf-8")
    (folder / "environment.json").write_text('{"torch": "2.13", "training_languages": ["en"]}\n')
    evaluated = {"eval/toy/map.multilingual": 0.25, "dev/loss": 1.5}
    records = [_record(4), _record(20, **evaluated), _record(40, **evaluated)]
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
        standing = watch.Standing.read(folder)
        Console(file=shown, width=120).print(watch._screen(standing))
        return "\n".join([*watch._lines(standing), shown.getvalue()])

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        if any(ord(letter) < 32 and letter != "\n" for letter in value):
            return f"letters that steer a terminal in what is shown\n{value!r}"
        return None
