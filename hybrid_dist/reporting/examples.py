"""Examples for a report: the queries with the best and the worst rankings, with their texts."""

import math
from typing import Any

import numpy as np

from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task

BEST, WORST = 3, 6
SHOWN = 5
"""Top passages that are shown for a query."""
CLIP = 400
"""Characters of a text that are shown."""


def choose(task: Task, ranking: Ranking, precision: np.ndarray, top: TopK) -> dict[str, Any]:
    """The queries of highest and lowest average precision.

    For variety, only one of several parallel queries is chosen, and no language is repeated before
    all others have been used.
    """
    order = np.argsort(precision, kind="stable")
    return {
        "best": [
            _example(task, ranking, precision, top, q) for q in _spread(task, order[::-1], BEST)
        ],
        "worst": [_example(task, ranking, precision, top, q) for q in _spread(task, order, WORST)],
    }


def _spread(task: Task, order: np.ndarray, count: int) -> list[int]:
    query_languages = len(np.unique(task.query_language))
    chosen: list[int] = []
    ids: set[str] = set()
    languages: set[int] = set()
    for query in order.tolist():
        language = int(task.query_language[query])
        if task.query_ids[query] not in ids and language not in languages:
            chosen.append(query)
            ids.add(task.query_ids[query])
            languages.add(language)
        if len(chosen) == count:
            break
        if len(languages) == query_languages:
            languages.clear()
    return chosen


def _example(
    task: Task, ranking: Ranking, precision: np.ndarray, top: TopK, query: int
) -> dict[str, Any]:
    pairs = slice(task.relevant_starts[query], task.relevant_starts[query + 1])
    relevant = task.relevant[pairs].tolist()
    ranks = ranking.pooled if task.one_pool else ranking.in_language
    ranked = zip(relevant, ranks[pairs].tolist(), strict=True)
    pools = set(range(len(task.languages)))
    if not task.one_pool:
        pools = set(task.passage_language[relevant].tolist())
    own = [p for p in relevant if task.passage_language[p] == task.query_language[query]]
    results = zip(top.numbers[query].tolist(), top.scores[query].tolist(), strict=True)
    return {
        "query": {
            "id": task.query_ids[query],
            "language": task.languages[int(task.query_language[query])],
            "text": _clip(task.query_texts[query]),
        },
        "average_precision": float(precision[query]),
        "answer": _passage(task, (own or relevant)[0]),
        "ranks": [
            {"language": _language(task, passage), "rank": rank if rank < math.inf else None}
            for passage, rank in ranked
        ],
        "found": [
            {**_passage(task, passage), "score": score, "right": passage in relevant}
            for passage, score in list(results)[:SHOWN]
            if passage >= 0 and int(task.passage_language[passage]) in pools
        ],
    }


def _passage(task: Task, number: int) -> dict[str, Any]:
    text = _clip(task.passage_texts[number])
    return {"id": task.passage_ids[number], "language": _language(task, number), "text": text}


def _language(task: Task, passage: int) -> str:
    return task.languages[int(task.passage_language[passage])]


def _clip(text: str) -> str:
    return text if len(text) <= CLIP else text[:CLIP].rstrip() + " ..."
