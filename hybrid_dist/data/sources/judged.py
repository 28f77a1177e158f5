"""Queries, documents and graded judgements: what BEIR, MIRACL and mMARCO have in common."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hybrid_dist.data.reading import Collection, Reading, Subset, Text, short
from hybrid_dist.data.sources.collecting import Answer, Answers, Key, Pair, Placed, collect
from hybrid_dist.data.sources.completeness import Missing, check_complete, judged_gaps
from hybrid_dist.data.sources.lines import BadRecord, Record, columns, key, nfc
from hybrid_dist.errors import UserError, nearest

Named = Callable[[Reading], Iterator[tuple[int, tuple[str, str]]]]
"""Reads the places, ids and texts of queries or documents."""


@dataclass(frozen=True)
class Corpus:
    """The documents of one language."""

    lang: str
    documents: Named


GRADE = re.compile("-?[0-9]{1,9}")
WHOLE = re.compile(rf"({GRADE.pattern})(\.0*)?")
Judgements = dict[str, dict[str, Answer]]
"""By query id, then document id."""
Holders = Callable[[str], Sequence[str]]
"""Looks up the languages of the corpora that have a document."""


@dataclass(frozen=True)
class Part:
    """The queries of one language, their judgements, and the corpora that these refer to."""

    lang: str
    queries: Named
    judgements: Callable[[Reading], Judgements]
    corpora: tuple[Corpus, ...]
    where: str
    """The file of the judgements, or what has them."""
    prefix: str = ""
    """Stands before the ids of queries, where the same id is another query in other parts."""
    subset: Subset | None = None
    """What this is called, if the data set is published in subsets."""

    @classmethod
    def of_file(
        cls, lang: str, queries: Named, file: Path, corpora: tuple[Corpus, ...], prefix: str = ""
    ) -> "Part":
        """With judgements in a file of tab-separated columns."""
        return cls(lang, queries, judged_in(file), corpora, str(file), prefix)


def judged_in(file: Path) -> Callable[[Reading], Judgements]:
    """Returns a reader of BEIR's lines (query-id, corpus-id, score; a header) or TREC's (qid, Q0,
    docid, grade)."""
    return lambda reading: judgements(reading, columns(reading, file, _judgement), str(file))


def judgements(
    reading: Reading, rows: Iterable[tuple[int, tuple[str, str, int | None]]], where: str
) -> Judgements:
    """As `by_query`; a UserError if no document is right."""
    result = by_query(reading, rows)
    if not any(answer.grade > 0 for answers in result.values() for answer in answers.values()):
        raise UserError(
            f"{where}: judges no document as right (no grade above 0); copy it again, or leave its "
            "queries out"
        )
    return result


def by_query(
    reading: Reading, rows: Iterable[tuple[int, tuple[str, str, int | None]]]
) -> Judgements:
    """Rows of a query, a document and a grade, by query; None as the grade is a header."""
    result: Judgements = {}
    for place, (query, document, grade) in rows:
        if grade is None:
            continue
        first = result.setdefault(query, {}).setdefault(document, Answer(grade, place))
        if first.grade != grade:
            reading.refuse(
                reading.where(place),
                f"{document} is judged {grade} for query {query}, but {first.grade} at "
                f"{reading.where(first.place)}; keep one of the two lines",
            )
    return result


def _judgement(cells: list[str]) -> tuple[str, str, int | None]:
    cells = cells if len(cells) > 1 else cells[0].split()
    if len(cells) == 4:
        cells = [cells[0], *cells[2:]]
    if [cell.replace("_", "-") for cell in cells] == ["query-id", "corpus-id", "score"]:
        return "", "", None
    try:
        query, document, grade = cells
        if not GRADE.fullmatch(grade) or not query.strip() or not document.strip():
            raise ValueError
        return nfc(query), nfc(document), int(grade)
    except ValueError:
        raise BadRecord(
            "expected query-id, corpus-id and score with tabs in between, or TREC's qid, Q0, docid "
            f"and a whole number; found {' '.join(cells)[:80]!r}"
        ) from None


def grade(value: Any, name: str) -> int:
    """The grade in a field: a whole number, also as text or with a decimal point."""
    if isinstance(value, str) and (found := WHOLE.fullmatch(value.strip())):
        return int(found[1])
    if type(value) not in (int, float) or not abs(value) < 10**9 or value != int(value):
        raise BadRecord(f"expected a whole number as {name!r}, found {short(value)}")
    return int(value)


def titled(name: str) -> Callable[[Record], tuple[str, str]]:
    """Returns a parser of documents: the id in the field `name`, and the title and text."""

    def parse(record: Record) -> tuple[str, str]:
        return key(record, name), with_title(record)

    return parse


def with_title(record: Record, body: str = "text") -> str:
    """A document's title, if it has one, and the text in the field `body`."""
    given = []
    for name, kind in (("title", str | None), (body, str)):
        part = record.get(name)
        if not isinstance(part, kind):
            has = f"found {short(part)}" if name in record else f"found only {', '.join(record)}"
            raise BadRecord(f"expected a text as {name!r}, {has}")
        if part and part.strip():
            given.append(part)
    if not given:
        raise BadRecord(f"expected a document with title and {body}, one not empty")
    return nfc(" ".join(given))


def collection(reading: Reading, parts: Sequence[Part]) -> Collection:
    """All documents, and the queries with a relevant one.

    Queries that share an id, with its prefix, share the relevant documents of all languages.
    """
    answers: Answers = {}
    wanted: dict[Key, int] = {}
    judged_parts = _read_judgements(reading, parts)
    for one in judged_parts:
        for name, documents in one.judged.items():
            right = answers.setdefault(one.uid(name), {})
            for document, answer in documents.items():
                keys = one.keys(document)
                wanted.update(dict.fromkeys(keys, -1))
                if answer.grade > 0:
                    right.update(dict.fromkeys(keys, answer))
    corpora = {id(corpus): corpus for part in parts for corpus in part.corpora}

    def queries() -> Iterator[Placed]:
        for one in judged_parts:
            for place, (name, text) in one.part.queries(reading):
                if name in one.judged:
                    one.queries_present.add(name)
                    yield place, Text(one.uid(name), one.part.lang, text)

    def passages() -> Iterator[Placed]:
        for corpus in corpora.values():
            for place, (name, text) in corpus.documents(reading):
                yield place, Text(name, corpus.lang, text)

    result = collect(reading, queries(), passages(), answers, wanted=wanted)
    held = {key for key, number in wanted.items() if number >= 0}
    check_complete(reading, [gap for one in judged_parts for gap in one.missing(reading, held)])
    subsets = [one.counted(one.part.subset) for one in judged_parts if one.part.subset]
    return replace(result, subsets=tuple(subsets))


def check_parallel(reading: Reading, parts: Sequence[Part], cure: str) -> None:
    """Refuse queries of one id that another part judges differently."""
    check_equal(((part.where, part.judgements(reading)) for part in parts), cure)


def check_equal(judged: Iterable[tuple[str, Judgements]], cure: str) -> None:
    """Refuse queries with other relevant documents, or grades of these, than in an earlier file."""
    seen: dict[str, tuple[str, dict[str, int]]] = {}
    for where, judgements in judged:
        for query, documents in judgements.items():
            right = {name: answer.grade for name, answer in documents.items() if answer.grade > 0}
            first, before = seen.setdefault(query, (where, right))
            if before != right:
                raise UserError(
                    f"{where}: query {query} has other documents or grades than in {first}; {cure}"
                )


def _read_judgements(reading: Reading, parts: Sequence[Part]) -> list["_Judged"]:
    """All parts with their judgements; those that parts share, and corpora, are read once."""
    read: dict[tuple[Callable[[Reading], Judgements], tuple[int, ...]], tuple[Judgements, Holders]]
    read = {}
    judged_parts = []
    for part in parts:
        shared = part.judgements, tuple(map(id, part.corpora))
        if shared not in read:
            judged = part.judgements(reading)
            read[shared] = judged, _holders(part, judged)
        judged_parts.append(_Judged(part, *read[shared]))
    return judged_parts


class _Judged:
    """A part with its judgements, and which of their queries have been read."""

    def __init__(self, part: Part, judged: Judgements, holders: Holders) -> None:
        self.part, self.judged, self._holders = part, judged, holders
        self.queries_present: set[str] = set()

    def uid(self, name: str) -> str:
        return f"{self.part.prefix}{name}"

    def keys(self, document: str) -> list[Key]:
        """The keys that a document may have: corpora of several languages may contain it."""
        return [(lang, document) for lang in self._holders(document)]

    def counted(self, subset: Subset) -> Subset:
        """The subset, with the number of its queries that have no relevant document."""
        right = {
            query
            for query, judged in self.judged.items()
            if any(answer.grade > 0 for answer in judged.values())
        }
        return replace(subset, unanswered=len(self.queries_present - right))

    def missing(self, reading: Reading, held: AbstractSet[Key]) -> Iterator[Missing]:
        """Queries with a relevant document, and judged documents, that no file contains."""

        def has_document(name: str) -> bool:
            return any(key in held for key in self.keys(name))

        documents = " or ".join(dict.fromkeys(corpus.lang for corpus in self.part.corpora))
        has_query = self.queries_present.__contains__
        langs = self.part.lang, documents
        return judged_gaps(reading, self.judged, has_query, has_document, langs)


def _holders(part: Part, judged: Judgements) -> Holders:
    """Returns a lookup of the languages of a document; if no corpus has it, that of the first."""
    if len({corpus.lang for corpus in part.corpora}) == 1:
        return lambda document: [part.corpora[0].lang]
    later = Reading(skip_bad=sys.maxsize)  # bad lines are reported when the documents are kept
    held = languages_of(
        judged,
        (
            (corpus.lang, name)
            for corpus in part.corpora
            for _, (name, _) in corpus.documents(later)
        ),
    )
    return lambda document: held.get(document) or [part.corpora[0].lang]


def languages_of(judged: Judgements, held: Iterable[Key]) -> dict[str, list[str]]:
    """By the id of a judged document, the languages that hold it."""
    wanted = {document for documents in judged.values() for document in documents}
    languages: dict[str, list[str]] = {}
    for lang, name in held:
        if name in wanted and lang not in (known := languages.setdefault(name, [])):
            known.append(lang)
    return languages


def pairs(reading: Reading, parts: Sequence[Part]) -> Iterator[Pair]:
    """Every query with each relevant document; those judged 0 or less are negatives."""
    gaps: list[Missing] = []
    for part in parts:
        foreign = [corpus.lang for corpus in part.corpora if corpus.lang != part.lang]
        if foreign:
            raise UserError(
                f"{part.where}: its queries are in {part.lang}, its documents in "
                f"{', '.join(foreign)}; a training pair is in one language, so this can only be "
                "evaluated on"
            )
        (one,) = _read_judgements(reading, [part])
        texts = _texts(reading, part, one.judged)
        for _, (name, text) in part.queries(reading):
            if name in one.judged:
                one.queries_present.add(name)
                yield from _pairs(part, one.uid(name), text, one.judged[name], texts)
        gaps += one.missing(reading, {(part.lang, document) for document in texts})
    check_complete(reading, gaps)


def _texts(reading: Reading, part: Part, judged: Judgements) -> dict[str, str]:
    """The judged documents by id."""
    wanted = {document for documents in judged.values() for document in documents}
    texts: dict[str, tuple[str, int]] = {}
    for corpus in part.corpora:
        for place, (name, text) in corpus.documents(reading):
            if name in wanted:
                first, before = texts.setdefault(name, (text, place))
                if first != text:
                    reading.refuse(
                        reading.where(place),
                        f"document {name!r} has other text than at {reading.where(before)}",
                    )
    return {name: text for name, (text, _) in texts.items()}


def _pairs(
    part: Part, uid: str, query: str, judged: Mapping[str, Answer], texts: Mapping[str, str]
) -> Iterator[Pair]:
    wrong = [texts[name] for name, answer in judged.items() if answer.grade <= 0 and name in texts]
    for name, answer in judged.items():
        if answer.grade > 0 and name in texts:
            yield Pair(f"{uid}:{name}", part.lang, query, texts[name], wrong, answer.place)


def only_split(reading: Reading, splits: Sequence[str], usual: str, where: str) -> str:
    """The split of the option, otherwise the usual one, otherwise the only one."""
    there = sorted(set(splits))
    wanted = reading.options.get("split") or (usual if usual in there else "")
    if not wanted and len(there) == 1:
        return there[0]
    if wanted not in there:
        problem = f"no split {wanted!r}{nearest(wanted, there)}" if wanted else "which split?"
        raise UserError(f"{where}: {problem} (option split={'|'.join(there)})")
    return wanted
