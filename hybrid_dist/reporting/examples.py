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
FAILED, MOST_FAILED, FAILED_CLIP = 5, 400, 240
"""Failed queries of a language, those of all languages together, and characters of their texts."""


def choose(task: Task, ranking: Ranking, precision: np.ndarray, top: TopK) -> dict[str, Any]:
    """The queries of highest and lowest average precision, and those of each language that failed.

    For variety, only one of several parallel queries is chosen, and no language is repeated before
    all others have been used.
    """
    order = np.argsort(precision, kind="stable")
    return {
        "best": [
            _example(task, ranking, precision, top, q) for q in _spread(task, order[::-1], BEST)
        ],
        "worst": [_example(task, ranking, precision, top, q) for q in _spread(task, order, WORST)],
        "failed": _failed(task, ranking, precision, top, order),
    }


def _failed(
    task: Task, ranking: Ranking, precision: np.ndarray, top: TopK, order: np.ndarray
) -> list[dict[str, Any]]:
    """By language: how many queries have no relevant passage first, and the worst of these."""
    passages = len(task.passage_ids)
    pairs = task.pair_query * passages + task.relevant
    first = np.arange(len(task.query_ids)) * passages + top.numbers[:, 0]
    found = (top.numbers[:, 0] >= 0) & np.isin(first, pairs)
    missed = ~found if task.one_pool else precision < 1
    worst = order[missed[order]]
    language = task.query_language[worst]
    counts = np.bincount(language, minlength=len(task.languages)).tolist()
    shown = max(1, min(FAILED, MOST_FAILED // len(task.languages)))
    return [
        {
            "language": task.languages[code],
            "count": count,
            "queries": [
                _example(task, ranking, precision, top, query, FAILED_CLIP)
                for query in worst[language == code][:shown].tolist()
            ],
        }
        for code, count in enumerate(counts)
        if count
    ]


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
    task: Task,
    ranking: Ranking,
    precision: np.ndarray,
    top: TopK,
    query: int,
    clip: int = CLIP,
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
            "text": _clip(task.query_texts[query], clip),
        },
        "average_precision": float(precision[query]),
        "answer": _passage(task, (own or relevant)[0], clip),
        "ranks": [
            {"language": _language(task, passage), "rank": rank if rank < math.inf else None}
            for passage, rank in ranked
        ],
        "found": [
            {**_passage(task, passage, clip), "score": score, "right": passage in relevant}
            for passage, score in list(results)[:SHOWN]
            if passage >= 0 and int(task.passage_language[passage]) in pools
        ],
    }


def _passage(task: Task, number: int, clip: int) -> dict[str, Any]:
    text = _clip(task.passage_texts[number], clip)
    return {"id": task.passage_ids[number], "language": _language(task, number), "text": text}


def _language(task: Task, passage: int) -> str:
    return task.languages[int(task.passage_language[passage])]


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length].rstrip() + " ..."
