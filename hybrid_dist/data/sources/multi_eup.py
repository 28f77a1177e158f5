"""Multi-EuP: speeches of the European Parliament; the titles of debates are the queries.

A row is a speech in one language, with the title of its debate in all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.collecting import Answer, Answers, Placed, collect
from hybrid_dist.data.sources.lines import BadRecord, key, text
from hybrid_dist.data.sources.source import Source, check_languages, wanted_languages
from hybrid_dist.data.tables.table_files import find_tables
from hybrid_dist.data.tables.table_rows import read_columns

CODES = """
bg cs da de el en es et fi fr ga hr hu it lt lv mt nl pl pt ro sk sl sv
"""
COLUMNS = ("did", "TEXT", "LANGUAGE")
TITLES = {
    code: tuple((f"title_{shown}", f"qid_{shown}") for shown in (code.upper(), code))
    for code in CODES.split()
}
"""By language: the columns of a title and of its id, in capitals or not."""


class _Speech(NamedTuple):
    passage: Text
    topic: str
    titles: list[Text]


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """A debate's title is a query in every language; all of its speeches are relevant."""
    only = wanted_languages(reading)
    queries: list[Placed] = []
    passages: list[Placed] = []
    answers: Answers = {}
    there: set[str] = set()
    for place, speech in _speeches(paths, reading):
        passage = speech.passage
        there |= {passage.lang, *(title.lang for title in speech.titles)}
        queries += ((place, title) for title in speech.titles if only is None or title.lang in only)
        if only is None or passage.lang in only:
            passages.append((place, passage))
            answers.setdefault(speech.topic, {})[passage.lang, passage.id] = Answer(1, place)
    check_languages(reading, there, ", ".join(paths))
    return collect(reading, queries, passages, answers)


def _speeches(paths: Sequence[str], reading: Reading) -> Iterator[tuple[int, _Speech]]:
    optional = [name for pairs in TITLES.values() for pair in pairs for name in pair]
    for file, _ in find_tables(paths, None, None):
        first = reading.place(file, 0)
        for number, record in read_columns(reading, file, COLUMNS, optional):
            try:
                yield first + number, _speech(reading, record)
            except ValueError as problem:
                reading.refuse(f"{file}:{number}", str(problem))


def _speech(reading: Reading, record: Mapping[str, Any]) -> _Speech:
    lang = reading.language(text(record, "LANGUAGE"))
    passage = Text(key(record, "did"), lang, text(record, "TEXT"))
    titles = []
    topic = ""
    for code, pairs in TITLES.items():
        for title, qid in pairs:
            if record.get(title) and record.get(qid) not in (None, ""):
                topic = topic or key(record, qid)
                titles.append(Text(topic, code, text(record, title)))
    if not titles:
        raise BadRecord("expected the debate's title and id, as in title_EN and qid_EN; found none")
    return _Speech(passage, topic, titles)


SOURCE = Source(
    "multi_eup",
    "Multi-EuP: speeches, and debates' titles in 24 languages; to evaluate on",
    "a CSV file with did, TEXT, LANGUAGE, title_EN, qid_EN, title_DE, qid_DE, ...",
    collection=collection,
    options={"languages": "titles and speeches in these only, as in languages=de,fr"},
)
