"""Runs a side in a process of its own, which may be limited in memory."""

import json
import os
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from environments import Failed, last_line
from sides import Spec

HERE = Path(__file__).resolve().parent
LOOK_S = 0.05


class TooLarge(Exception):
    """The process exceeded its limit of memory, and was ended."""


def run_side(
    python: str, program: str, spec: Spec, arguments: tuple[str, ...] = (), limit_gib: float = 0.0
) -> dict[str, Any]:
    """The figures that a side prints. Raises Failed, or TooLarge."""
    out = Path(spec.out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "spec.json"
    file.write_text(json.dumps(asdict(spec) | {"started": time.time()}), "utf-8")
    command = [python, "-W", "ignore", str(HERE / program), str(file), *arguments]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        begin = time.monotonic()
        process = subprocess.Popen(
            command, stdout=stdout, stderr=stderr, env=_environment(), cwd=out
        )
        try:
            _wait(process, limit_gib)
        finally:
            process.kill()
            process.wait()
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read())
    if process.returncode:
        (out / "stderr.txt").write_text(texts[1], "utf-8")
        raise Failed(last_line(texts[1]))
    result: dict[str, Any] = json.loads(texts[0].splitlines()[-1])
    return result | {"wall_s": time.monotonic() - begin}


def _wait(process: "subprocess.Popen[bytes]", limit_gib: float) -> None:
    """Until it ends, or its memory has exceeded the limit; the kernel keeps the peak."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        if limit_gib:
            found = status.read_text().partition("VmHWM:")[2].split()
            if found and int(found[0]) / 2**20 > limit_gib:
                process.kill()
                raise TooLarge
        time.sleep(LOOK_S)


def _environment() -> dict[str, str]:
    """Without a hub and GPUs; sides import what lies beside them, and ours the checkout."""
    paths = [HERE, HERE.parent, HERE.parent.parent]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TOKENIZERS_PARALLELISM": "true",
    }
