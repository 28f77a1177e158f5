"""Reads W&B's offline files back: its log of records, without W&B's own reader or a server.

The file is a log in LevelDB's manner: a header of 7 bytes, then blocks of 32 KiB; each piece of a
record has its checksum (4 bytes), length (2) and type (1: whole, 2: first, 3: middle, 4: last).
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2

BLOCK = 32 * 1024
HEADER = struct.Struct("<IHB")
WHOLE, LAST = 1, 4


@dataclass
class OfflineRun:
    """What one offline file says."""

    id: str = ""
    project: str = ""
    name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    """The step metric of every defined metric, by its name or glob."""
    alerts: list[tuple[str, str]] = field(default_factory=list)
    """Title and text."""


def offline_runs(folder: Path) -> list[OfflineRun]:
    """All offline runs below a folder, oldest first."""
    wandb.teardown()  # the service may still be writing when `finish` returns
    files = folder.glob("**/offline-run-*/run-*.wandb")
    return [read(file) for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]


def read(file: Path) -> OfflineRun:
    run = OfflineRun()
    for content in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        match record.WhichOneof("record_type"):
            case "run":
                run.id, run.project = record.run.run_id, record.run.project
                run.name, run.group = record.run.display_name, record.run.run_group
                run.tags, run.job_type = list(record.run.tags), record.run.job_type
                run.config |= _values(record.run.config.update)
            case "config":
                run.config |= _values(record.config.update)
            case "history":
                run.history.append(_values(record.history.item))
            case "summary":
                run.summary |= _values(record.summary.update)
            case "alert":
                run.alerts.append((record.alert.title, record.alert.text))
            case "metric":
                metric = record.metric
                run.metrics[metric.name or metric.glob_name] = metric.step_metric
    return run


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(log: bytes) -> Iterator[bytes]:
    if not log.startswith(b":W&B"):
        raise ValueError("not a W&B log")
    at, pieces = 7, b""
    while at + HEADER.size <= len(log):
        left = BLOCK - at % BLOCK
        if left < HEADER.size:
            at += left
            continue
        checksum, length, kind = HEADER.unpack_from(log, at)
        if kind == 0:
            at += left
            continue
        piece = log[at + HEADER.size : at + HEADER.size + length]
        if zlib.crc32(bytes([kind]) + piece) != checksum:
            raise ValueError(f"broken record at byte {at}")
        at += HEADER.size + length
        pieces += piece
        if kind in (WHOLE, LAST):
            yield pieces
            pieces = b""
