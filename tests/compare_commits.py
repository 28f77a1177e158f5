"""Compare two commits bit by bit: losses, gradient norms and the figures of reports.

For refactorings, which must not change a result. Each commit is unpacked into a temporary folder.
It trains the demo with each batch strategy in two processes, once under ZeRO-2 and once with a
resume halfway, and evaluates one model from the command line. RENAMED maps old keys to new ones.

  python tests/compare_commits.py BEFORE [AFTER] [--steps 60]      # AFTER is HEAD by default

Prints the number of figures of each run and every difference; exits with 1 if there is any.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RENAMED = {"questions": "queries", "question": "query"}
"""Words in the keys of BEFORE, and what AFTER calls them."""
NOT_RESULTS = re.compile(
    r"seconds|_s$|per_second|memory|system/|time|version|digest|id$|commit|^format$"
)
"""Keys of figures that differ between two runs of one commit."""
RESULTS = ("train/loss", "train/grad_norm", "step")
RUNS: dict[str, tuple[str, list[str]]] = {
    "monolingual": ("cpu", ["--batching.mix.cross_lingual", "0"]),
    "cross_lingual": ("cpu", ["--batching.mix.monolingual", "0"]),
    "hybrid": ("cpu", []),
    "zero2": ("zero2", []),
    "resumed": ("cpu", ["--optim.schedule", "constant"]),
}
"""The launcher file and the further options of each run."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default="HEAD")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before, after = (
            results(
                unpacked(commit, Path(folder, name)), Path(folder, f"{name}-runs"), options.steps
            )
            for name, commit in (("before", options.before), ("after", options.after))
        )
    before = {renamed(key): value for key, value in before.items()}
    different = [
        f"{key}: {before.get(key)} before, {after.get(key)} after"
        for key in sorted(before.keys() | after.keys())
        if not same(before.get(key), after.get(key))
    ]
    print("\n".join(different[:40]))
    for run in sorted({key.split(" ")[0] for key in after}):
        count = sum(key.startswith(f"{run} ") for key in after)
        print(f"{run}: {count} figures")
    print(f"{len(different)} of {len(after)} differ" if different else "all equal, bit for bit")
    return int(bool(different))


def unpacked(commit: str, folder: Path) -> Path:
    """The files of a commit, and no git worktree, which an interruption would leave registered."""
    folder.mkdir()
    git = ["git", "-C", str(ROOT), "archive", commit]
    archive = subprocess.run(git, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], check=True, input=archive)
    return folder


def results(checkout: Path, work: Path, steps: int) -> dict[str, Any]:
    """Every figure of a commit's runs and its evaluation. Keys start with the name of the run."""
    toy, runs = work / "toy", work / "runs"
    command(checkout, "-m", "hybrid_dist.cli", "toy", "--out", str(toy))
    values: dict[str, Any] = {}
    for name, (launcher, changes) in RUNS.items():
        stops = (steps // 2, steps) if name == "resumed" else (steps,)
        for stop in stops:
            command(
                checkout,
                *("-m", "accelerate.commands.launch", "--num_processes", "2"),
                *("--config_file", f"launchers/{launcher}.yaml", "-m", "hybrid_dist.train"),
                *("--config", "configs/demo.yaml", "--run.dir", str(runs), "--run.name", name),
                *("--model.name_or_path", str(toy / "model"), "--eval.tasks", f"toy:{toy}"),
                *("--data.train", str(toy / "train.jsonl"), "--data.dev", str(toy / "dev.jsonl")),
                *("--train.steps", str(stop), "--checkpoint.every", str(steps // 2)),
                *("--log.every", "1", "--log.wandb", "disabled", "--eval.every", str(steps)),
                *changes,
            )
        for record in map(json.loads, (runs / name / "metrics.jsonl").open()):
            for key in RESULTS:
                if key in record:
                    values[f"{name} step {record['step']} {key}"] = record[key]
        report = json.loads((runs / name / "eval" / "toy" / "report.json").read_text())
        values |= {f"{name} report {key}": value for key, value in figures(report)}
    out = work / "evaluated"
    command(
        checkout,
        *("-m", "hybrid_dist.evaluate", "--model", str(runs / "hybrid"), "--out", str(out)),
        *("--task", f"toy:{toy}"),
    )
    report = json.loads((out / "toy" / "report.json").read_text())
    return values | {f"evaluated {key}": value for key, value in figures(report)}


def command(checkout: Path, *words: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def figures(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a JSON document, each with its path."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from figures(part, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from figures(part, f"{key}[{place}]")
    elif isinstance(value, int | float) and not NOT_RESULTS.search(key):
        yield key, value


def renamed(key: str) -> str:
    for old, new in RENAMED.items():
        key = re.sub(old, new, key)
    return key


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


if __name__ == "__main__":
    raise SystemExit(main())
