"""TREC runs: what a search listed, as `query Q0 passage place score name` lines."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.lines import lines
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.names import (
    check_words,
    first_of,
    numbered,
    passage_names,
    query_names,
)
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import NOTHING, TopK
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.text import printable

LARGEST = float(np.finfo(np.float32).max)
SHOWN = 40
"""Letters of a score that is refused."""
COLUMNS = "six columns: query, Q0, passage, place, score, name"


@dataclass(frozen=True)
class Run:
    """Listed passages, by query, then best first: by score, then as the task orders ties."""

    name: str
    query: np.ndarray
    passage: np.ndarray
    score: np.ndarray
    notes: tuple[str, ...]
    """What it leaves open, for people."""

    def ranking(self, task: Task) -> Ranking:
        """Ranks among what is listed; what is not has none."""
        count = len(task.passage_ids)
        group = self.query * len(task.languages) + task.passage_language[self.passage]
        listed = self.query * count + self.passage
        wanted = task.pair_query * count + task.relevant
        order = np.argsort(listed)
        place = order[np.searchsorted(listed[order], wanted).clip(max=len(listed) - 1)]
        known = listed[place] == wanted
        in_language, pooled = (
            np.where(known, _places(groups)[place], np.inf) for groups in (group, self.query)
        )
        return Ranking(in_language, pooled)

    def top(self, task: Task, k: int) -> TopK:
        place = _places(self.query)
        first = place <= k
        numbers = np.full((len(task.query_ids), k), NOTHING)
        scores = np.full(numbers.shape, -np.inf, np.float32)
        cell = self.query[first], place[first] - 1
        numbers[cell], scores[cell] = self.passage[first], self.score[first]
        return TopK(numbers, scores, f"the run {self.name}")


def _places(groups: np.ndarray) -> np.ndarray:
    """Of each row: its place among the rows of its group, from 1, in the order of the rows."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(1, len(groups) + 1) - np.searchsorted(ordered, ordered)
    return places


def read_run(file: Path, task: Task) -> Run:
    """A run of the task. The column of places is passed over: scores decide, as in trec_eval."""
    if not file.is_file():
        raise UserError(f"--run: no file {file}")
    queries = numbered(query_names(task), f"task {task.spec}")
    passages = numbered(passage_names(task), f"task {task.spec}")
    query_numbers, passage_numbers, scores = array("q"), array("q"), array("d")
    unknown: dict[str, dict[str, None]] = {"queries": {}, "passages": {}}
    for number, line in lines(Reading(), file):
        if not (words := line.split()):
            continue
        if len(words) != 6:
            raise UserError(f"{file}:{number}: expected {COLUMNS}; found {len(words)} columns")
        query_numbers.append(queries.get(words[0], -1))
        passage_numbers.append(passages.get(words[2], -1))
        if query_numbers[-1] < 0:
            unknown["queries"][words[0]] = None
        if passage_numbers[-1] < 0:
            unknown["passages"][words[2]] = None
        scores.append(_score(words[4], f"{file}:{number}"))
    _check_known(file, task, unknown, {"queries": queries, "passages": passages})
    query, passage = np.array(query_numbers, np.int64), np.array(passage_numbers, np.int64)
    exact = np.array(scores)
    score = exact.astype(np.float32)  # as trec_eval keeps them
    vanished = int(np.count_nonzero(exact) - np.count_nonzero(score))
    if vanished and not score.any():
        raise UserError(
            f"{file}: its {vanished:,} scores are all 0 as float32, so that they tie; scale them"
        )
    order = np.lexsort((passage, -score, query))
    query, passage, score = query[order], passage[order], score[order]
    _check_once(file, task, query, passage)
    notes = _missing(file, task, query)
    if vanished:
        notes += (f"{vanished:,} scores of {file.name} are 0 as float32, in which they are kept",)
    return Run(str(file), query, passage, score, notes)


def _score(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if np.isnan(value):
        raise UserError(f"{where}: {text[:SHOWN]!r} is no score; expected {COLUMNS}")
    if LARGEST < abs(value) < np.inf:
        raise UserError(
            f"{where}: the score {text[:SHOWN]} is infinite as float32, in which scores are kept; "
            "scale them"
        )
    return value


def _check_known(
    file: Path,
    task: Task,
    unknown: Mapping[str, Mapping[str, None]],
    known: Mapping[str, Mapping[str, int]],
) -> None:
    for what, names in unknown.items():
        if names:
            raise UserError(
                f"{file}: {len(names):,} {what} are not in task {task.name} "
                f"({first_of(names)}); they are called as in {next(iter(known[what]))}"
            )


def _check_once(file: Path, task: Task, query: np.ndarray, passage: np.ndarray) -> None:
    listed = np.sort(query * len(task.passage_ids) + passage)
    again = listed[1:][listed[1:] == listed[:-1]]
    if len(again):
        query_ids, passage_ids = query_names(task), passage_names(task)
        pairs = (divmod(int(one), len(passage_ids)) for one in again[:3])
        raise UserError(
            f"{file}: {len(again):,} passages are listed twice for a query "
            f"({first_of(f'{passage_ids[p]} for {query_ids[q]}' for q, p in pairs)})"
        )


def _missing(file: Path, task: Task, query: np.ndarray) -> tuple[str, ...]:
    """Queries without a line score 0, as with trec_eval -c; a whole language is refused."""
    listed = np.bincount(query, minlength=len(task.query_ids))
    absent = np.flatnonzero(listed == 0)
    gone = set(np.unique(task.query_language).tolist())
    gone -= set(np.unique(task.query_language[listed > 0]).tolist())
    names = query_names(task)
    if gone:
        languages = ", ".join(task.languages[code] for code in sorted(gone))
        raise UserError(
            f"{file}: lists nothing for any query in {languages} "
            f"({first_of(names[q] for q in absent)}); add the lines of these languages"
        )
    if not len(absent):
        return ()
    return (
        f"{len(absent):,} queries of which {file.name} lists nothing score 0 "
        f"({first_of(names[q] for q in absent)})",
    )


def check_names(task: Task) -> None:
    """Refuse ids that a run cannot list."""
    check_words(query_names(task), f"task {task.spec}")
    check_words(passage_names(task), f"task {task.spec}")


def write_run(file: Path, task: Task, top: TopK, name: str) -> None:
    """The best passages of every query, in the pool of all languages."""
    check_names(task)
    query_ids, passage_ids = query_names(task), passage_names(task)
    tag = "_".join(printable(name).split()) or "hybrid_dist"
    with file.open("w", encoding="utf-8") as out:
        for query, row in enumerate(top.numbers.tolist()):
            scores = top.scores[query].tolist()
            for place, (number, score) in enumerate(zip(row, scores, strict=True), 1):
                if number != NOTHING:
                    line = (
                        f"{query_ids[query]} Q0 {passage_ids[number]} {place} {score:.9g} {tag}\n"
                    )
                    out.write(line)
