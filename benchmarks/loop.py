"""What a run costs beyond forward, backward and optimizer.

  start       from `accelerate launch` to the first step, beside torchrun and the imports themselves
  loop        a step's parts: the update, and everything that the loop does around it
  wandb       steps with W&B off, offline, and online without a server that answers
  checkpoint  one of ours, beside a bare torch.save of the same

Training is the product's own, on toy data with a model whose step takes about 200 ms on one core,
so that the other core is free for what runs beside it, as on a machine with GPUs. Sides take turns
in processes of their own; medians are printed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("start", "loop", "wandb", "checkpoint")
STEPS, LOG_EVERY = 60, 10
DEAD = "http://127.0.0.1:9"
IMPORTS = """
import time
import torch, torch._dynamo
from accelerate import Accelerator
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.models.xlm_roberta import modeling_xlm_roberta
import numpy, pyarrow, pydantic, rich.progress, safetensors.torch, tyro, yaml
print("READY", flush=True)
"""
"""What a training step needs of others' code: torch's optimizers import torch._dynamo."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", nargs="*", help=f"{', '.join(PARTS)}; all, unless some are named")
    parser.add_argument("--turns", type=int, default=3, help="turns each")
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)  # by this file itself
    options = parser.parse_args()
    if options.run:
        print("MEASURED " + json.dumps(measured_run(*options.run.split(","))))
        return
    wanted = options.what or list(PARTS)
    for what in wanted:
        if what not in PARTS:
            parser.error(f"{what!r} is none of {', '.join(PARTS)}")
    if "wandb" in wanted and find_spec("wandb") is None:
        print("wandb: skipped, the package wandb is not installed", flush=True)
        wanted.remove("wandb")
    with tempfile.TemporaryDirectory() as folder:
        make_toy(Path(folder))
        if "start" in wanted:
            start(Path(folder), options.turns)
        if {"loop", "wandb", "checkpoint"} & set(wanted):
            runs(Path(folder), options.turns, wanted)


def make_toy(folder: Path) -> None:
    """Data, and two models: a small one to start with, and one whose step takes a while."""
    from hybrid_dist.demo.toy import ToyOptions, generate

    sizes = {"small": {}, "large": {"layers": 4, "hidden": 256}}
    for name, size in sizes.items():
        generate(folder / name, ToyOptions(train_uids=1000, test_uids=50, **size))


def flags(folder: Path, size: str, name: str, **changed: object) -> list[str]:
    """A run on the toy data; keys are config keys with __ for the dot."""
    values = {
        "run__dir": folder / "runs",
        "run__name": name,
        "model__name_or_path": folder / size / "model",
        "model__init": "scratch",
        "model__max_passage_tokens": 128,
        "data__train": folder / size / "train.jsonl",
        "batching__size": 32,
        "train__precision": "fp32",
        "checkpoint__every": 0,
        "log__wandb": "disabled",
        **changed,
    }
    return [
        str(word)
        for key, value in values.items()
        for word in (f"--{key.replace('__', '.')}", value)
    ]


# --- from the launch to the first step


def start(folder: Path, turns: int) -> None:
    print("start: two processes, seconds from the launch; median of", turns, flush=True)
    imports = folder / "imports.py"
    imports.write_text(IMPORTS)
    seconds_of: dict[str, list[float]] = defaultdict(list)
    for turn in range(-1, turns):  # the first reads files from the disk: it is not counted
        few = {"train__steps": 1, "log__every": 1, "log__wandb": "offline"}
        args = flags(folder, "small", f"start{turn}", **few)
        ours = seconds_until(
            [
                *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
                *("--config_file", str(ROOT / "launchers" / "cpu.yaml")),
                *("-m", "hybrid_dist.train", *args),
            ],
            (folder / "runs" / f"start{turn}" / "metrics.jsonl").is_file,
        )
        theirs = seconds_until(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc_per_node", "2", str(imports)),
            ],
            None,
        )
        if turn >= 0:
            seconds_of["accelerate launch to the first step"].append(ours)
            seconds_of["torchrun and the imports"].append(theirs)
    ours, theirs = (tell(name, values, 1, "s") for name, values in seconds_of.items())
    print(f"  beyond torchrun and the imports: {ours - theirs:.2f} s (at most 3 are wanted)")


def seconds_until(command: list[str], there: Callable[[], bool] | None) -> float:
    """Until a file is there, or else until all processes have printed READY."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=quiet()
    )
    assert process.stdout is not None  # noqa: S101
    if there is None:
        output = ""
        while output.count("READY") < 2:
            line = process.stdout.readline()
            output += line
            if not line:
                raise SystemExit(f"{command} ended too early:\n{output}")
    else:
        while not there():
            if process.poll() is not None and not there():
                raise SystemExit(process.stdout.read())
            time.sleep(0.01)
    seconds = time.perf_counter() - begin
    process.communicate()
    return seconds


def quiet(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | more


# --- runs in processes of their own, with clocks in the product's own parts


def runs(folder: Path, turns: int, wanted: list[str]) -> None:
    modes = ("disabled", "offline", "dead") if "wandb" in wanted else ("offline",)
    measured: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in range(turns):
        for mode in modes:
            measured[mode].append(in_its_own_process(folder, mode, f"{mode}{turn}"))
    if "loop" in wanted:
        tell_loop(measured["offline"])
    if "wandb" in wanted:
        tell_wandb(measured)
    if "checkpoint" in wanted:
        tell_checkpoint([each for mode in modes for each in measured[mode]])


def in_its_own_process(folder: Path, mode: str, name: str) -> dict[str, Any]:
    more = {"WANDB_BASE_URL": DEAD, "WANDB_API_KEY": "a" * 40} if mode == "dead" else {}
    command = [sys.executable, __file__, "--run", f"{folder},{mode},{name}"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=quiet(**more), check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
    if done.returncode or not lines:
        raise SystemExit(done.stdout + done.stderr)
    measured: dict[str, Any] = json.loads(lines[0].removeprefix("MEASURED "))
    return measured


class Clocks:
    """Seconds spent in functions of the product."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - begin)

    def around(self, owner: Any, method: str, name: str) -> None:
        whole = getattr(owner, method)

        def timed(*args: Any, **more: Any) -> Any:
            with self(name):
                return whole(*args, **more)

        setattr(owner, method, timed)


def measured_run(folder: str, mode: str, name: str) -> dict[str, Any]:
    """One run in this process, and what its parts took."""
    import torch

    torch.set_num_threads(1)
    from hybrid_dist.commands import train
    from hybrid_dist.runtime import launch as starting
    from hybrid_dist.tracking.metrics_log import MetricsLog
    from hybrid_dist.tracking.terminal import Terminal
    from hybrid_dist.tracking.wandb_run import WandbRun
    from hybrid_dist.training import run
    from hybrid_dist.training.checkpoint.export import Exporter
    from hybrid_dist.training.checkpoint.manager import Checkpoints
    from hybrid_dist.training.requests import Requests
    from hybrid_dist.training.step import Updater
    from hybrid_dist.training.step_log import StepLog

    vars(starting)["limit_threads"] = lambda processes: None
    clocks, made = Clocks(), list[Updater]()
    make = Updater.__init__

    def remembered(self: Updater, *args: Any) -> None:
        make(self, *args)
        made.append(self)

    def bare_first(self: Checkpoints, progress: Any) -> None:
        file = Path(folder) / "bare.pt"
        with clocks("torch.save"):
            states = {"model": made[0].model.state_dict(), "adamw": made[0].optimizer.state_dict()}
            torch.save(states, file)
        sizes["torch.save"] = file.stat().st_size
        with clocks("checkpoint"):
            save(self, progress)
        last = max((Path(folder) / "runs" / name / "checkpoints").glob("step-*"))
        sizes["checkpoint"] = sum(f.stat().st_size for f in last.iterdir())

    sizes: dict[str, int] = {}
    save = Checkpoints.save
    Updater.__init__ = remembered  # type: ignore[method-assign,assignment]
    Checkpoints.save = bare_first  # type: ignore[method-assign]
    clocks.around(Updater, "update", "update")
    clocks.around(Requests, "at_edge", "requests")
    clocks.around(StepLog, "note", "note")
    clocks.around(StepLog, "step", "record")
    clocks.around(MetricsLog, "write", "metrics.jsonl")
    clocks.around(WandbRun, "write", "wandb")
    clocks.around(Terminal, "show", "terminal")
    clocks.around(Exporter, "write", "export")
    clocks.around(run, "train", "all")
    wandb = {"log__wandb": "online" if mode == "dead" else mode}
    saves = {"checkpoint__every": STEPS // 2, "train__steps": STEPS, "log__every": LOG_EVERY}
    train.main(flags(Path(folder), "large", name, **wandb, **saves))
    records = Path(folder, "runs", name, "metrics.jsonl").read_text().splitlines()
    waits = [json.loads(line)["system/data_wait_pct"] for line in records]
    shutil.rmtree(Path(folder, "runs", name))
    return {"seconds": clocks.seconds, "sizes": sizes, "data_wait_pct": waits}


def tell_loop(measured: list[dict[str, Any]]) -> None:
    print(
        f"loop: {STEPS} steps, a record every {LOG_EVERY}, W&B offline; ms a step, median of runs"
    )

    def of(each: dict[str, Any], *names: str) -> float:
        return 1000 * sum(sum(each["seconds"][name]) for name in names) / STEPS

    logs = ("note", "record", "metrics.jsonl", "wandb", "terminal")
    not_of_steps = ("checkpoint", "torch.save", "export")
    outside = [of(each, "all") - of(each, "update", *not_of_steps) for each in measured]
    update = statistics.median(of(each, "update") for each in measured)
    print(f"  forward, backward, optimizer: {update:.1f}")
    for name, text in (("requests", "signals and files agreed on"), ("note", "meters, each step")):
        print(f"  {text}: {statistics.median(of(each, name) for each in measured):.3f}")
    for name in logs[1:]:
        print(f"  {name}: {statistics.median(of(each, name) for each in measured):.3f}")
    logging = statistics.median(of(each, *logs) for each in measured)
    everything = statistics.median(outside)
    print(f"  logging and W&B: {logging:.2f}, {logging / 200:.2%} of 200 ms (below 1% is wanted)")
    print(f"  all but the update: {everything:.2f}, {everything / 200:.2%} (below 3% is wanted)")


def tell_wandb(measured: dict[str, list[dict[str, Any]]]) -> None:
    print("wandb: ms of an update, the first five steps left out; median of all steps of all runs")
    medians = {}
    for mode, each in measured.items():
        updates = [value for run in each for value in run["seconds"]["update"][5:]]
        medians[mode] = statistics.median(updates)
        print(f"  {mode}: {1000 * medians[mode]:.1f}")
    for mode in ("offline", "dead"):
        print(f"  {mode} / disabled: {medians[mode] / medians['disabled']:.3f}")


def tell_checkpoint(measured: list[dict[str, Any]]) -> None:
    print("checkpoint: ours is gathered, checksummed and renamed")
    medians = {}
    for name in ("torch.save", "checkpoint"):
        values = [value for each in measured for value in each["seconds"][name]]
        medians[name] = tell(name, values, 2, "s")
        print(f"    {measured[0]['sizes'][name] / 2**20:.1f} MiB")
    print(f"  checkpoint / torch.save: {medians['checkpoint'] / medians['torch.save']:.2f}")


def tell(name: str, values: list[float], digits: int, unit: str) -> float:
    median = statistics.median(values)
    spread = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
    print(f"  {name}: {median:.{digits}f} {unit} ({spread})")
    return median


if __name__ == "__main__":
    main()
