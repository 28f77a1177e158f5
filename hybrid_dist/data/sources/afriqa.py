"""AfriQA's gold passages: queries in African languages, passages in English or French."""

from collections.abc import Sequence

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.collecting import Answer, Answers, Placed, collect
from hybrid_dist.data.sources.judged import only_split, with_title
from hybrid_dist.data.sources.lines import Record, key, nfc, records, text
from hybrid_dist.data.sources.paths import find
from hybrid_dist.data.sources.source import (
    Source,
    check_languages,
    language_of,
    wanted_languages,
)

NAME = (
    r"(?:.*/)?gold_span_passages\.afriqa\.(?P<code>[a-z]{3})\.(?P<pivot>[a-z]{2})"
    r"\.(?P<split>train|dev|test)\.json"
)
EXPECTED = "gold_span_passages.afriqa.bem.en.test.json, ..."
NOTE = "rows without a question or a passage are left out, as AfriQA has some"


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """The queries of a split, and the distinct passages of all files."""
    found = find(paths, NAME, EXPECTED)
    split = only_split(reading, [one.match["split"] for one in found], "test", ", ".join(paths))
    only = wanted_languages(reading)
    queries: list[Placed] = []
    passages: dict[tuple[str, str], Placed] = {}
    answers: Answers = {}
    languages = set()
    for file, match in found:
        lang, pivot = (language_of(reading, match[name], file) for name in ("code", "pivot"))
        is_asked = match["split"] == split and (only is None or lang in only)
        languages.add(lang)
        for place, record in records(reading, file, _complete):
            if record is None:
                if NOTE not in reading.notes:
                    reading.notes.append(NOTE)
                continue
            name, query, passage = record
            uid = f"{lang}:{match['split']}:{name}"
            text_of = Text(uid, pivot, passage)
            _, first = passages.setdefault((pivot, passage), (place, text_of))
            if is_asked:
                queries.append((place, Text(uid, lang, query)))
                answers[uid] = {(pivot, first.id): Answer(1, place)}
    check_languages(reading, languages, ", ".join(paths))
    return collect(reading, queries, passages.values(), answers)


def _complete(record: Record) -> tuple[str, str, str] | None:
    """The id, the query and the passage of a row; None where one of the two is empty."""
    name = key(record, "id")
    if any(record.get(field) in (None, "") for field in ("question_lang", "context")):
        return None
    passage = with_title(record, "context")
    return name, text(record, "question_lang"), nfc(passage)


SOURCE = Source(
    "afriqa",
    "AfriQA's gold passages; queries and passages are in different languages; to evaluate on",
    "gold_span_passages.afriqa.bem.en.test.json, ...: id, question_lang, title, context",
    collection=collection,
    options={
        "split": "train, dev or test, which is the usual one",
        "languages": "queries in these only, as in languages=bem,yor",
    },
)
