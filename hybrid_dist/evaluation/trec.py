"""TREC runs: ranked lists as lines of `query Q0 passage rank score name`."""

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
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.text import printable

LARGEST = float(np.finfo(np.float32).max)
SHOWN = 40
"""Characters of a rejected score in messages."""
COLUMNS = "six columns: query, Q0, passage, rank, score, name"


@dataclass(frozen=True)
class Run:
    """The R lines of a run, by query, then descending score, then the task's order of ties."""

    name: str
    query: np.ndarray
    """[R]: query numbers."""
    passage: np.ndarray
    """[R]: passage numbers."""
    score: np.ndarray
    """[R]: float32."""
    notes: tuple[str, ...]
    """Remarks for the report, such as queries without a line."""

    def ranking(self, task: Task) -> Ranking:
        """Ranks among the listed passages; infinite for relevant passages that are not listed."""
        count = len(task.passage_ids)
        group = self.query * len(task.languages) + task.passage_language[self.passage]
        listed = self.query * count + self.passage
        relevant = task.pair_query * count + task.relevant
        order = np.argsort(listed)
        line = order[np.searchsorted(listed[order], relevant).clip(max=len(listed) - 1)]
        is_listed = listed[line] == relevant
        in_language, pooled = (
            np.where(is_listed, _positions(groups)[line], np.inf) for groups in (group, self.query)
        )
        return Ranking(in_language, pooled)

    def top(self, task: Task, k: int) -> TopK:
        """The top k passages of every query."""
        position = _positions(self.query)
        first = position <= k
        numbers = np.full((len(task.query_ids), k), NO_PASSAGE)
        scores = np.full(numbers.shape, -np.inf, np.float32)
        cell = self.query[first], position[first] - 1
        numbers[cell], scores[cell] = self.passage[first], self.score[first]
        return TopK(numbers, scores, f"the run {self.name}")


def _positions(groups: np.ndarray) -> np.ndarray:
    """The position of each row among the rows of its group, from 1, in the order given."""
    order = np.argsort(groups, kind="stable")
    sorted_groups = groups[order]
    positions = np.empty(len(groups), np.int64)
    positions[order] = np.arange(1, len(groups) + 1) - np.searchsorted(sorted_groups, sorted_groups)
    return positions


def read_run(file: Path, task: Task) -> Run:
    """Read a run of the task. Scores decide and the rank column is ignored, as in trec_eval."""
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
            raise UserError(f"{file}:{number}: expected {COLUMNS}; it has {len(words)} columns")
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
    score = exact.astype(np.float32)  # as in trec_eval
    underflows = int(np.count_nonzero(exact) - np.count_nonzero(score))
    if underflows and not score.any():
        raise UserError(
            f"{file}: its {underflows:,} scores are all 0 in float32 and would tie; rescale them"
        )
    order = np.lexsort((passage, -score, query))
    query, passage, score = query[order], passage[order], score[order]
    _check_unique(file, task, query, passage)
    notes = _unlisted_queries(file, task, query)
    if underflows:
        notes += (f"{underflows:,} scores of {file.name} underflow to 0 in float32",)
    return Run(str(file), query, passage, score, notes)


def _score(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if np.isnan(value):
        raise UserError(f"{where}: {text[:SHOWN]!r} is not a score; expected {COLUMNS}")
    if LARGEST < abs(value) < np.inf:
        raise UserError(
            f"{where}: the score {text[:SHOWN]} is infinite in float32, the precision of scores; "
            "rescale them"
        )
    return value


def _check_known(
    file: Path,
    task: Task,
    unknown: Mapping[str, Mapping[str, None]],
    known: Mapping[str, Mapping[str, int]],
) -> None:
    for kind, names in unknown.items():
        if names:
            raise UserError(
                f"{file}: {len(names):,} {kind} are not in task {task.name} "
                f"({first_of(names)}); its ids look like {next(iter(known[kind]))}"
            )


def _check_unique(file: Path, task: Task, query: np.ndarray, passage: np.ndarray) -> None:
    listed = np.sort(query * len(task.passage_ids) + passage)
    repeated = listed[1:][listed[1:] == listed[:-1]]
    if len(repeated):
        query_ids, passage_ids = query_names(task), passage_names(task)
        pairs = (divmod(int(pair), len(passage_ids)) for pair in repeated[:3])
        raise UserError(
            f"{file}: {len(repeated):,} passages are listed twice for a query "
            f"({first_of(f'{passage_ids[p]} for {query_ids[q]}' for q, p in pairs)})"
        )


def _unlisted_queries(file: Path, task: Task, query: np.ndarray) -> tuple[str, ...]:
    """A note on the queries without a line, which score 0 as with trec_eval -c.

    A UserError where all queries of a language have none.
    """
    listed = np.bincount(query, minlength=len(task.query_ids))
    absent = np.flatnonzero(listed == 0)
    missing = set(np.unique(task.query_language).tolist())
    missing -= set(np.unique(task.query_language[listed > 0]).tolist())
    names = query_names(task)
    if missing:
        languages = ", ".join(task.languages[code] for code in sorted(missing))
        raise UserError(
            f"{file}: has no line for any query in {languages} "
            f"({first_of(names[q] for q in absent)}); add the lines of these languages"
        )
    if not len(absent):
        return ()
    return (
        f"{len(absent):,} queries without a line in {file.name} score 0 "
        f"({first_of(names[q] for q in absent)})",
    )


def check_names(task: Task) -> None:
    """Refuse a task whose ids cannot be written to a run."""
    check_words(query_names(task), f"task {task.spec}")
    check_words(passage_names(task), f"task {task.spec}")


def write_run(file: Path, task: Task, top: TopK, name: str) -> None:
    """Write the top passages of every query, in the pool of all languages."""
    check_names(task)
    query_ids, passage_ids = query_names(task), passage_names(task)
    tag = "_".join(printable(name).split()) or "hybrid_dist"
    with file.open("w", encoding="utf-8") as out:
        for query, row in enumerate(top.numbers.tolist()):
            scores = top.scores[query].tolist()
            for rank, (number, score) in enumerate(zip(row, scores, strict=True), 1):
                if number != NO_PASSAGE:
                    line = f"{query_ids[query]} Q0 {passage_ids[number]} {rank} {score:.9g} {tag}\n"
                    out.write(line)
