"""Multi-EuP: speeches of the European Parliament; the titles of debates are the queries.

A row is a speech in one language, with the title of its debate in all of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.collecting import Answer, Answers, Key, Placed, collect
from hybrid_dist.data.sources.lines import BadRecord, key, text
from hybrid_dist.data.sources.source import Source, check_languages, wanted_languages
from hybrid_dist.data.store.numbering import components
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
NO_ID = (None, "", "null")
"""In the column of an id: the debate has no title in this language."""


class _Speech(NamedTuple):
    passage: Text
    titles: list[Text]
    """Those of its debate, with the ids that they have in their languages."""


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """A debate's title is a query in every language; all of its speeches are relevant."""
    only = wanted_languages(reading)
    queries: list[Placed] = []
    passages: list[Placed] = []
    answers: Answers = {}
    there: set[str] = set()
    speeches = list(_speeches(paths, reading))
    debates = _debates(titles for _, (_, titles) in speeches)
    for place, (passage, titles) in speeches:
        debate = debates[titles[0].lang, titles[0].id]
        there |= {passage.lang, *(title.lang for title in titles)}
        queries += (
            (place, title._replace(id=debate))
            for title in titles
            if only is None or title.lang in only
        )
        if only is None or passage.lang in only:
            passages.append((place, passage))
            answers.setdefault(debate, {})[passage.lang, passage.id] = Answer(1, place)
    check_languages(reading, there, ", ".join(paths))
    return collect(reading, queries, passages, answers)


def _debates(rows: Iterable[Sequence[Text]]) -> dict[Key, str]:
    """By language and id of a title: the name of its debate, the first id of any of its titles.

    Titles of a row are of one debate, and so are those of rows with a title in common.
    """
    number: dict[Key, int] = {}
    links: list[tuple[int, int]] = []
    for titles in rows:
        same = [number.setdefault((title.lang, title.id), len(number)) for title in titles]
        links += ((same[0], other) for other in same)
    one, other = np.array(links, np.int64).reshape(-1, 2).T
    first = components(one, other, len(number)).tolist()
    keys = list(number)
    uses = Counter(keys[at][1] for at in set(first))
    names = [id_ if uses[id_] == 1 else f"{lang}:{id_}" for lang, id_ in keys]
    return {key: names[at] for key, at in zip(keys, first, strict=True)}


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
    titles = [
        Text(key(record, qid), code, text(record, title))
        for code, pairs in TITLES.items()
        for title, qid in pairs
        if record.get(title) and record.get(qid) not in NO_ID
    ]
    if not titles:
        raise BadRecord("expected the debate's title and id, as in title_EN and qid_EN; found none")
    return _Speech(passage, titles)


SOURCE = Source(
    "multi_eup",
    "Multi-EuP: speeches, and debates' titles in 24 languages; to evaluate on",
    "a CSV file with did, TEXT, LANGUAGE, title_EN, qid_EN, title_DE, qid_DE, ...",
    collection=collection,
    options={"languages": "titles and speeches in these only, as in languages=de,fr"},
)
