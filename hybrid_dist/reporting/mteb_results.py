"""Scores in the format of MTEB's results: a JSON file for each task, with an entry per subset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybrid_dist.data.languages import three_letters
from hybrid_dist.data.reading import Subset
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.language_table import attributes
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.subset_scores import subset_scores, subsets_of
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.runtime.files import read_json, write_atomically
from hybrid_dist.text import json_text
from hybrid_dist.tracking.report_json import MADE_FROM

DIGITS = 6
"""As in MTEB's files."""
OWN = "hybrid_dist"
"""The key of what MTEB does not read."""
NO_REVISION = "no_revision_available"


def results_file(folder: Path, task: Task) -> Path:
    return folder / f"{task.name}.json"


def check_results_place(folder: Path, task: Task, made_from: Mapping[str, Any] | None) -> None:
    """Refuse to replace the scores of another evaluation. None: replace any."""
    file = results_file(folder, task)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--mteb-results: {folder} is a file; name a folder")
    if made_from is None or not file.exists():
        return
    content = read_json(file)
    own = content.get(OWN) if isinstance(content, dict) else None
    if not isinstance(own, dict) or own.get(MADE_FROM) != made_from:
        raise UserError(
            f"{file}: holds the results of another evaluation; choose another --mteb-results, or "
            "replace them with --overwrite"
        )


def write_results(
    folder: Path,
    task: Task,
    ranking: Ranking,
    seconds: float,
    report: str,
    made_from: Mapping[str, Any],
) -> Path:
    """Write a task's scores, with the id of their report and what identifies the evaluation."""
    scores: dict[str, list[dict[str, Any]]] = {}
    subsets = subsets_of(task)
    for subset in subsets:
        values = subset_scores(task, ranking, subset)
        scores.setdefault(subset.split, []).append(
            {
                **{name: round(value, DIGITS) for name, value in values.items()},
                "hf_subset": subset.name,
                "languages": _languages(subset),
            }
        )
    content = {
        "dataset_revision": subsets[0].revision or NO_REVISION,
        "task_name": task.name,
        "mteb_version": None,
        "scores": scores,
        "evaluation_time": seconds,
        "kg_co2_emissions": None,
        OWN: {"report": report, MADE_FROM: dict(made_from)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = results_file(folder, task)
    write_atomically(file, json_text(content, indent=2))
    return file


def _languages(subset: Subset) -> list[str]:
    """As MTEB names languages, `deu-Latn`: that of the passages first."""
    names = [_language(lang) for lang in (subset.passage_lang, subset.query_lang)]
    return list(dict.fromkeys(names))


def _language(lang: str) -> str:
    script = attributes(lang).script
    code = three_letters(lang.partition("-")[0])
    return f"{code}-{script}" if script else code
