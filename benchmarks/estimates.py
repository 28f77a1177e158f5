"""`hybrid-dist estimate --gpu cpu` against runs of the same config on this machine's CPUs.

Each setting is estimated, trained for some steps with random weights on the English pairs of
XQuAD-R (HYBRID_DIST_DATA/xquad-r), and estimated again, all in processes of their own. Told are the
median step, the memory, and how far the estimates are from them. `--model` names a folder whose
tokenizer is used, and its sizes for the first settings.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import data

SETTINGS: dict[str, dict[str, Any]] = {
    "the model's own sizes": {},
    "the same in bf16": {"train.precision": "bf16"},
    "4 chunks": {"train.chunk_size": 8},
    "6 layers of 768": {"layers": 6, "hidden": 768},
    "4 layers of 128": {"layers": 4, "hidden": 128, "batching.size": 64},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a model folder")
    parser.add_argument("--steps", type=int, default=12, help="steps of each setting")
    parser.add_argument("--only", help="settings whose name has this in it")
    options = parser.parse_args()
    pairs = data("xquad-r/en.json.gz", "XQuAD-R")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        hybrid_dist("prepare", "squad", str(pairs), "--out", str(store))
        for number, (name, setting) in enumerate(SETTINGS.items()):
            if options.only is None or options.only in name:
                report(name, compare(Path(folder, str(number)), options, store, setting))


def compare(
    folder: Path, options: argparse.Namespace, store: Path, setting: Mapping[str, Any]
) -> dict[str, float]:
    """Seconds of a step and GiB: estimated before, measured, and estimated after."""
    model = resized(Path(options.model), folder / "model", setting)
    keys = {
        "model.name_or_path": model,
        "model.init": "scratch",
        "data.train": store,
        "batching.size": 32,
        "batching.mix.monolingual": 1,
        "batching.mix.cross_lingual": 0,
        "train.steps": options.steps,
        "train.precision": "fp32",
        "train.chunk_size": 0,
        "log.every": 1,
        "log.wandb": "disabled",
        "checkpoint.every": 0,
        "run.dir": folder,
        "run.name": "run",
        **{key: value for key, value in setting.items() if "." in key},
    }
    flags = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    before = estimated(flags)
    hybrid_dist("train", *flags)
    lines = (folder / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines][2:]
    after = estimated(flags)
    return {
        "measured": statistics.median(record["system/step_ms"] for record in records) / 1000,
        "estimated": (before["seconds_of_step"] + after["seconds_of_step"]) / 2,
        "measured GiB": max(record["system/memory_gib"] for record in records),
        "estimated GiB": before["memory"]["single"]["total"] / 2**30,
    }


def resized(model: Path, folder: Path, setting: Mapping[str, Any]) -> Path:
    """The tokenizer of a model, with its config or that of other sizes."""
    folder.mkdir(parents=True)
    for file in model.iterdir():
        if file.suffix in (".json", ".model", ".txt"):
            shutil.copy(file, folder)
    config = json.loads((model / "config.json").read_text("utf-8"))
    if "hidden" in setting:
        hidden = setting["hidden"]
        config |= {"num_hidden_layers": setting["layers"], "hidden_size": hidden}
        config |= {"intermediate_size": 4 * hidden, "num_attention_heads": max(2, hidden // 64)}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def estimated(flags: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hybrid_dist("estimate", "--gpu", "cpu", "--json", *flags))
    return found


def hybrid_dist(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hybrid_dist", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def report(name: str, found: Mapping[str, float]) -> None:
    time, memory = (
        f"{guess:.2f} estimated, {value:.2f} measured, ratio {guess / value:.2f}"
        for guess, value in (
            (found[f"estimated{unit}"], found[f"measured{unit}"]) for unit in ("", " GiB")
        )
    )
    print(f"{name}: seconds a step: {time}; GiB: {memory}", flush=True)


if __name__ == "__main__":
    main()
