"""A benchmark in one YAML file, with its tables."""

import re
from pathlib import Path

from tests.support.published_files import json_lines, tsv, write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"

OWN = re.findall(r"```yaml\n(queries:.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
"""The file that docs/evaluation.md shows."""


def own_benchmark(folder: Path) -> Path:
    """Queries and passages of one id are parallel, but not all are in both languages."""
    write(
        folder / "queries.csv",
        "nr,of,ask\nq1,de,wer schrieb es?\nq1,en,who wrote it?\nq2,en,what grows?\n",
    )
    json_lines(
        folder / "de.jsonl",
        {"doc": "d1", "title": "Ada", "text": "Sie war es."},
        {"doc": "d2", "title": None, "text": "Roggen wächst."},
    )
    json_lines(folder / "en.jsonl", {"doc": "d1", "title": "Ada", "text": "Ada did."})
    judged = [("q1", "d1", 2), ("q2", "d2", 1), ("q2", "d1", 0)]
    tsv(folder / "qrels.tsv", ("query", "passage", "grade"), *judged)
    return write(folder / "own.yaml", OWN)
