"""Reports as files, for the tests of their readers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_dist.tracking.report_json import report_id

MAPS = ("monolingual", "cross_lingual", "multilingual")


def report(
    maps: Sequence[float | None] = (0.5, 0.25, 0.125),
    distance: float | None = 2.0,
    model: str = "a model",
    task: str = "toy",
    queries: int = 20,
    **more: Any,
) -> dict[str, Any]:
    """The parts of a report that its readers use."""
    counts = {"queries": queries // 2, "passages": 15}
    return {
        "format": 2,
        "task": task,
        "model": model,
        "counts": {
            "queries": queries,
            "passages": 30,
            "by_language": {"de": counts, "en": counts},
        },
        "map": dict(zip(MAPS, maps, strict=True)),
        "map_by_language": {"de": 0.5, "en": maps[2]},
        "map_by_pair": {"de": {"de": 0.5, "en": 0.25}, "en": {"de": 0.125}},
        "bias": {"rank_distance": {"mean": distance}},
        "intervals": {},
        "made_from": {},
    } | more


def write(file: Path, content: dict[str, Any]) -> Path:
    """Write a report.json with the id of its content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = content | {"id": report_id(content)}
    file.write_text(json.dumps(content), "utf-8")
    return file
