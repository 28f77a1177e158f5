"""WebFAQ's retrieval data: for each language, tables of queries, of passages and of judgements."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading, Text, short
from hybrid_dist.data.sources.collecting import Answer, Answers, Pair, Placed, blocks, collect
from hybrid_dist.data.sources.completeness import Missing, check_complete
from hybrid_dist.data.sources.judged import with_title
from hybrid_dist.data.sources.lines import BadRecord, key, text
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.tables.table_files import ALL, find_tables
from hybrid_dist.data.tables.table_rows import read_columns
from hybrid_dist.errors import UserError

Judged = dict[str, dict[str, Answer]]
"""By passage: the queries that it answers, with grades above 0."""


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Every query with each passage that answers it, by default of the split `train`."""
    return blocks(_pairs(paths, reading))


def _pairs(paths: Sequence[str], reading: Reading) -> Iterator[Pair]:
    for path, code, lang in _languages(paths, reading):
        judged, queries = _judged(reading, path, code, "train")
        absent = dict.fromkeys(judged)
        for place, passage in _passages(reading, path, code, lang, judged):
            absent.pop(passage.id, None)
            for query in judged[passage.id]:
                if query in queries:
                    uid = f"{lang}:{query}:{passage.id}"
                    yield Pair(uid, lang, queries[query][1], passage.text, [], place)
        _check(reading, path, code, lang, "passages", absent, len(judged))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """All passages, and the queries of a split, by default `test`."""
    answers: Answers = {}
    queries: list[Placed] = []
    parts = list(_languages(paths, reading))
    for path, code, lang in parts:
        judged, texts = _judged(reading, path, code, "test")
        for passage, asked in judged.items():
            for query, answer in asked.items():
                answers.setdefault(f"{lang}:{query}", {})[lang, passage] = answer
        queries += [
            (place, Text(f"{lang}:{name}", lang, query)) for name, (place, query) in texts.items()
        ]
    wanted = {key: -1 for keys in answers.values() for key in keys}
    passages = (one for part in parts for one in _passages(reading, *part))
    result = collect(reading, queries, passages, answers, wanted=wanted)
    for path, code, lang in parts:
        absent = [name for (of, name), number in wanted.items() if of == lang and number < 0]
        total = sum(of == lang for of, _ in wanted)
        _check(reading, path, code, lang, "passages", absent, total)
    return result


def _languages(paths: Sequence[str], reading: Reading) -> Iterator[tuple[str, str, str]]:
    """Every path with each language: its code in the names of configurations, and its name."""
    given = reading.options.get("languages", "")
    if not given:
        raise UserError(f"{paths[0]}: give the languages, as in the option languages=deu,fra")
    for path in paths:
        for code in given.split(","):
            try:
                yield path, code, reading.language(code)
            except ValueError as error:
                raise UserError(f"option languages={given}: {error}") from None


def _rows(
    reading: Reading, path: str, config: str, split: str, needed: Sequence[str]
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Places, in numbers and in words, and records of a table."""
    for file, _ in find_tables([path], config, split):
        first = reading.place(file, 0)
        for number, record in read_columns(reading, file, needed, optional=("title",)):
            yield first + number, f"{file}:{number}", record


def _judged(
    reading: Reading, path: str, code: str, usual: str
) -> tuple[Judged, dict[str, tuple[int, str]]]:
    """The judgements of a split, and the places and texts of the queries in them."""
    split = reading.options.get("split", usual)
    graded: defaultdict[str, dict[str, Answer]] = defaultdict(dict)
    names: dict[str, None] = {}
    for place, where, record in _rows(
        reading, path, f"{code}-qrels", split, ("query-id", "corpus-id", "score")
    ):
        try:
            grade = _grade(record["score"])
            query, passage = key(record, "query-id"), key(record, "corpus-id")
        except BadRecord as problem:
            reading.refuse(where, str(problem))
            continue
        first = graded[passage].setdefault(query, Answer(grade, place))
        if first.grade != grade:
            reading.refuse(
                where,
                f"{passage} is judged {grade} for query {query}, but {first.grade} at "
                f"{reading.where(first.place)}; keep one of the two rows",
            )
        elif grade > 0:
            names[query] = None
    judged = {
        passage: {query: answer for query, answer in of.items() if answer.grade > 0}
        for passage, of in graded.items()
        if any(answer.grade > 0 for answer in of.values())
    }
    queries: dict[str, tuple[int, str]] = {}
    for place, where, record in _rows(reading, path, f"{code}-queries", ALL, ("_id", "text")):
        try:
            if (name := key(record, "_id")) not in names:
                continue
            query = text(record, "text")
        except BadRecord as problem:
            reading.refuse(where, str(problem))
            continue
        before, other = queries.setdefault(name, (place, query))
        if other != query:
            reading.refuse(where, f"query {name!r} has other text than at {reading.where(before)}")
    absent = [name for name in names if name not in queries]
    _check(reading, path, code, reading.language(code), "queries", absent, len(names))
    return judged, queries


def _grade(score: Any) -> int:
    if type(score) not in (int, float) or not abs(score) < 1e9 or score != int(score):
        raise BadRecord(f"expected a whole number as 'score', found {short(score)}")
    return int(score)


def _passages(
    reading: Reading, path: str, code: str, lang: str, only: Judged | None = None
) -> Iterator[Placed]:
    """The passages of a language, or some of them."""
    for place, where, record in _rows(reading, path, f"{code}-corpus", ALL, ("_id", "text")):
        try:
            name = key(record, "_id")
            if only is None or name in only:
                yield place, Text(name, lang, with_title(record))
        except BadRecord as problem:
            reading.refuse(where, str(problem))


def _check(
    reading: Reading,
    path: str,
    code: str,
    lang: str,
    what: str,
    absent: Iterable[str],
    named: int,
) -> None:
    """Refuse judgements that name queries or passages that are not there."""
    ids = list(absent)
    if ids:
        holder = f"{code}-{'corpus' if what == 'passages' else what}"
        where = f"{path}, {code}-qrels"
        gap = Missing(where, f"judged {what}", lang, ids, named, holder)
        check_complete(reading, [gap])


SOURCE = Source(
    "webfaq_retrieval",
    "WebFAQ's retrieval data; give languages",
    "configurations xxx-queries (_id, text), xxx-corpus (_id, text), xxx-qrels (query-id, "
    "corpus-id, score)",
    pairs,
    collection,
    {
        "languages": "codes in the names of the configurations, as in languages=deu,fra",
        "split": "which judgements; train to train, test to evaluate",
    },
)
