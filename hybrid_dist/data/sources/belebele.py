"""Belebele: questions on passages of FLORES, parallel in 122 variants of languages.

The link names a passage in all languages, the link and the question's number name a question.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.collecting import Answer, Answers, Placed, collect
from hybrid_dist.data.sources.lines import Record, key, records, text
from hybrid_dist.data.sources.paths import find
from hybrid_dist.data.sources.source import Source, check_languages, wanted_languages

EXPECTED = "acm_Arab.jsonl, afr_Latn.jsonl, ... with link, question_number, flores_passage, ..."


class _Question(NamedTuple):
    number: str
    lang: str
    text: str
    passage: Text


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """Every question in every language, with its passage in all of them."""
    only = wanted_languages(reading)
    queries: list[Placed] = []
    passages: list[Placed] = []
    translations: Answers = {}
    answers: Answers = {}
    there: set[str] = set()

    def parse(record: Record) -> _Question:
        lang, link = reading.language(text(record, "dialect")), text(record, "link")
        passage = Text(link, lang, text(record, "flores_passage"))
        return _Question(key(record, "question_number"), lang, text(record, "question"), passage)

    for file, _ in find(paths, r".*\.(jsonl|parquet)", EXPECTED):
        for place, question in records(reading, file, parse):
            lang, passage = question.lang, question.passage
            there.add(lang)
            if only is None or lang in only:
                name = f"{passage.id}#{question.number}"
                queries.append((place, Text(name, lang, question.text)))
                passages.append((place, passage))
                answers[name] = translations.setdefault(passage.id, {})
                answers[name][lang, passage.id] = Answer(1, place)
    check_languages(reading, there, ", ".join(paths))
    return collect(reading, queries, passages, answers)


SOURCE = Source(
    "belebele",
    "Belebele: questions on passages, parallel in 122 variants of languages; to evaluate on",
    "acm_Arab.jsonl, ...: link, question_number, flores_passage, question, dialect",
    collection=collection,
    options={"languages": "read these only, as in languages=eng_Latn,ben_Beng,ben_Latn"},
)
