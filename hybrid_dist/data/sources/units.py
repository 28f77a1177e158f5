"""Units that say the same thing in several languages, with a table of passages; and MKQA.

A unit's line has `unit`, `lang`, `query`, and either `passage` or the `passage_id` of a line
`{"_id", "text"}` in the passage table beside it: `pairs.jsonl` and `passages.jsonl`, or
`ar.pairs.jsonl` and `ar.passages.jsonl`. MKQA's lines have `queries` and `answers` by language.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading, Text, short
from hybrid_dist.data.sources.collecting import Answer, Answers, Pair, Placed, blocks, collect
from hybrid_dist.data.sources.completeness import Missing, check_complete
from hybrid_dist.data.sources.lines import BadRecord, key, nfc, records, text
from hybrid_dist.data.sources.paths import find, search, without_compression
from hybrid_dist.data.sources.source import Source, check_languages, wanted_languages
from hybrid_dist.errors import UserError

EXPECTED = "JSON lines of units (unit, lang, query, and passage or passage_id), or mkqa.jsonl"
TABLE = r"(?:.*/)?(?:.+\.)?passages\.jsonl"


class Unit(NamedTuple):
    """A query in a language, and its passage."""

    id: str
    lang: str
    query: str
    passage: Text
    passage_place: int
    """Of the passage's line in its table; 0 where it stands in the unit's own line."""


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Every unit's query and passage."""
    return blocks(
        Pair(unit.id, unit.lang, unit.query, unit.passage.text, [], place)
        for place, unit in _units(paths, reading, {})
    )


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """All passages of the tables and the distinct passages in units' own lines."""
    tables: dict[Path, Table] = {}
    only = wanted_languages(reading)
    queries: list[Placed] = []
    passages: dict[tuple[str, str], Placed] = {}
    answers: Answers = {}
    names: dict[tuple[str, str], str] = {}
    for place, unit in _units(paths, reading, tables):
        passage = unit.passage
        if not unit.passage_place:  # named by the first unit that has it
            passage = passage._replace(id=names.setdefault((unit.lang, passage.text), unit.id))
            passages.setdefault((passage.lang, passage.id), (place, passage))
        queries.append((place, Text(unit.id, unit.lang, unit.query)))
        answers.setdefault(unit.id, {})[passage.lang, passage.id] = Answer(1, place)
    for table in tables.values():
        given = table.values() if only is None else (p for p in table.values() if p[1].lang in only)
        passages |= {(text.lang, text.id): (place, text) for place, text in given}
    return collect(reading, queries, passages.values(), answers)


Table = dict[tuple[str, str], Placed]
"""Passages by language and id."""


def _units(
    paths: Sequence[str], reading: Reading, tables: dict[Path, Table]
) -> Iterator[tuple[int, Unit]]:
    """All units with their places; adds the passage tables that they refer to to `tables`."""
    only = wanted_languages(reading)
    candidates = [match.file for match in find(paths, r".*\.jsonl", EXPECTED)]
    files = [file for file in candidates if not re.fullmatch(TABLE, without_compression(file.name))]
    if not files:
        raise UserError(
            f"{', '.join(paths)}: no units beside {candidates[0].name}; expected {EXPECTED}"
        )
    there: set[str] = set()
    gaps: list[Missing] = []
    for file in files:
        line = _Line(reading, file, tables)
        for place, units in records(reading, file, line):
            for unit in units:
                there.add(unit.lang)
                if only is None or unit.lang in only:
                    yield place, unit
        there |= line.missing.keys()
        gaps += line.gaps(only)
    check_languages(reading, there, ", ".join(paths))
    check_complete(reading, gaps)


class _Line:
    """Parses a line of units; keeps the tables that lines refer to."""

    def __init__(self, reading: Reading, file: Path, tables: dict[Path, Table]) -> None:
        self.reading, self.file, self.tables = reading, file, tables
        self.fields = reading.options.get("fields", "text").split(",")
        self.table: Table | None = None
        self.table_file = file
        self.named: defaultdict[str, set[str]] = defaultdict(set)
        self.missing: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """By language: passages that units refer to, and those of them that the table lacks."""

    def __call__(self, record: Mapping[str, Any]) -> list[Unit]:
        if "queries" in record and "answers" in record:
            return self._mkqa(record)
        lang = self.reading.language(text(record, "lang"))
        name, query = key(record, "unit"), text(record, "query")
        if "passage_id" not in record:
            return [Unit(name, lang, query, Text("", lang, text(record, "passage")), 0)]
        passage = key(record, "passage_id")
        if self.table is None:
            self.table = self._table()
        self.named[lang].add(passage)
        if (lang, passage) not in self.table:
            self.missing[lang][passage] = None
            return []
        place, passage_text = self.table[lang, passage]
        return [Unit(name, lang, query, passage_text, place)]

    def gaps(self, only: AbstractSet[str] | None) -> Iterator[Missing]:
        """Passages missing from the table, in the chosen languages."""
        for lang, ids in self.missing.items():
            if only is None or lang in only:
                named, holder = len(self.named[lang]), str(self.table_file)
                yield Missing(
                    str(self.file), "passages that units name", lang, list(ids), named, holder
                )

    def _mkqa(self, record: Mapping[str, Any]) -> list[Unit]:
        """The query in every language, with its first textual answer."""
        name, queries, answers = key(record, "example_id"), record["queries"], record["answers"]
        if not isinstance(queries, dict) or not isinstance(answers, dict):
            raise BadRecord("expected queries and answers by language, as MKQA has")
        units = []
        for code in queries:
            lang = self.reading.language(code)
            given = answers.get(code)
            if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
                raise BadRecord(f"expected a list of answers in {code!r}, as MKQA has")
            texts = [one["text"] for one in given if one.get("text") is not None]
            if not all(isinstance(answer, str) for answer in texts):
                raise BadRecord(f"expected answers with a text in {code!r}, found {short(given)}")
            if texts and texts[0].strip():
                passage = Text("", lang, nfc(texts[0]))
                units.append(Unit(name, lang, text(queries, code), passage, 0))
            elif MKQA_NOTE not in self.reading.notes:
                self.reading.notes.append(MKQA_NOTE)
        return units

    def _table(self) -> Table:
        """The passage table beside the file, read once."""
        name = without_compression(self.file.name).replace("pairs", "passages")
        below = [match.file for match in search([str(self.file.parent)], TABLE)]
        beside = [file for file in below if file.parent == self.file.parent]
        tables = [file for file in beside if without_compression(file.name) == name] or beside
        if len(tables) != 1:
            raise UserError(
                f"{self.file}: its lines name passages by passage_id; expected one table of them, "
                f"{name} (or .gz), beside it, found {len(tables)}"
            )
        file = self.table_file = tables[0]
        if file not in self.tables:
            table: Table = {}
            for place, passage in records(self.reading, file, self._passage):
                key_in_table = passage.lang, passage.id
                first, before = table.setdefault(key_in_table, (place, passage))
                if before != passage:
                    self.reading.refuse(
                        self.reading.where(place),
                        f"passage {passage.id} has other text than at {self.reading.where(first)}",
                    )
            self.tables[file] = table
        return self.tables[file]

    def _passage(self, record: Mapping[str, Any]) -> Text:
        lang = self.reading.language(text(record, "lang"))
        passage = "\n".join(_lines(record, field) for field in self.fields)
        if not passage.strip():
            raise BadRecord(f"expected a passage in {', '.join(self.fields)}, found none")
        return Text(key(record, "_id"), lang, passage)


def _lines(record: Mapping[str, Any], field: str) -> str:
    """A text, or a list of texts as lines."""
    value = record.get(field)
    if not isinstance(value, list):
        return text(record, field)
    if not all(isinstance(line, str) for line in value):
        raise BadRecord(f"expected a text or a list of texts as {field!r}, found {short(value)}")
    return nfc("\n".join(value))


MKQA_NOTE = "MKQA's queries without an answer that is text (long, or none) are left out"

SOURCE = Source(
    "units",
    "units that are parallel, with a passage table; MKQA",
    "pairs.jsonl (unit, lang, query, passage or passage_id), passages.jsonl (_id, "
    "lang, text); mkqa.jsonl",
    pairs,
    collection,
    {
        "fields": "fields of the passage table that make the passage, as in fields=text,code",
        "languages": "read these only, as in languages=af,de",
    },
)
