"""metrics.jsonl: one object per logged step, the truth about a run."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hybrid_dist.runtime.files import json_problem, write_atomically
from hybrid_dist.text import json_text

Record = dict[str, Any]
NUMBERS = ("train/", "system/", "dev/", "eval/")
"""Figures under these names are numbers, or null where there is no finite one."""
TEXTS = ("train/kind", "train/stream", "system/slowest_node")
LARGEST = 1 << 53
"""Of whole numbers: what every reader of JSON keeps exactly."""


class MetricsLog:
    """Appends records; on resume, forgets those after the checkpoint's step."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, record: Record) -> None:
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json_text(record) + "\n")

    def read(self) -> list[Record]:
        """All whole records."""
        return self.scan()[0]

    def scan(self) -> tuple[list[Record], list[str]]:
        """All whole records, and what is wrong with the other lines, each with its number.

        A last line without its end is no fault: it is being written, or was torn by a crash.
        """
        if not self._file.exists():
            return [], []
        records, problems = [], []
        *whole, last = self._file.read_bytes().split(b"\n")
        for number, line in enumerate([*whole, last], 1):
            try:
                records.append(_parsed(line))
            except (ValueError, RecursionError) as error:
                if number <= len(whole):
                    problems.append(f"line {number}: {json_problem(error)}")
        return records, problems

    def truncate_after(self, step: int) -> list[str]:
        """Keep what was logged up to a step; what is wrong with lines that are lost thereby.

        Where there are such lines, the file is kept as it was under the name of `damaged`.
        """
        records, problems = self.scan()
        if problems:
            write_atomically(self.damaged, self._file.read_bytes())
        kept = "".join(json_text(r) + "\n" for r in records if r["step"] <= step)
        write_atomically(self._file, kept)
        return problems

    @property
    def damaged(self) -> Path:
        return self._file.with_name(f"{self._file.name}.damaged")


def finite_only(record: Record) -> Record:
    """The record without values that are missing, NaN or infinite."""
    return dict(_finite(record))


def _finite(record: Record) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            yield name, value


def evaluated_figures(record: Record) -> Record:
    """The figures of a record that come from an evaluation or from held-out pairs."""
    return {name: v for name, v in record.items() if name.startswith(("eval/", "dev/"))}


def _parsed(line: bytes) -> Record:
    """The record of a line. Raises ValueError for what is none."""
    record = json.loads(line.decode("utf-8"), parse_constant=lambda _: None)
    if not isinstance(record, dict):
        raise ValueError("no object")
    step: Any = record.get("step")
    if not _whole(step) or step < 0:
        raise ValueError("it has no step that is a whole number")
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):  # such as 1e999
            record[name] = None
        elif name in TEXTS:
            if not isinstance(value, str):
                raise ValueError(f"{name} is no text")
        elif name.startswith(NUMBERS) and not (
            value is None or isinstance(value, float) or _whole(value)
        ):
            raise ValueError(f"{name} is no number")
    return record


def _whole(value: Any) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and abs(value) <= LARGEST
