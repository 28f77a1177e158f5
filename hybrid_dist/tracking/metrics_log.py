"""metrics.jsonl: one object per logged step, the truth about a run."""

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class MetricsLog:
    """Appends records; on resume, forgets those after the checkpoint's step."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, record: Record) -> None:
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")

    def read(self) -> list[Record]:
        """All whole records; a line torn by a crash is passed over."""
        if not self._file.exists():
            return []
        records = []
        for line in self._file.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(record, dict):
                records.append(record)
        return records

    def cut_back(self, step: int) -> None:
        """Keep what was logged up to a step."""
        draft = self._file.with_name(self._file.name + ".tmp")
        kept = "".join(
            json.dumps(r, ensure_ascii=False) + "\n" for r in self.read() if r["step"] <= step
        )
        draft.write_text(kept, encoding="utf-8")
        draft.replace(self._file)
