"""Questions, documents, and judgements of which document answers which question, and how well.

What BEIR's folders, MIRACL and mMARCO have in common, whatever their files are called.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.collecting import Answer, Answers, Pair, Placed, collect
from hybrid_dist.data.sources.lines import Bad, Record, columns, key, normal
from hybrid_dist.errors import UserError, nearest

Named = Callable[[Reading], Iterator[tuple[int, tuple[str, str]]]]
"""Reads the places, ids and texts of questions or documents."""


@dataclass(frozen=True)
class Corpus:
    """The documents of one language."""

    lang: str
    documents: Named


@dataclass(frozen=True)
class Part:
    """The questions of one language, and the corpora that their judgements speak of."""

    lang: str
    questions: Named
    judgements: Path
    corpora: tuple[Corpus, ...]


Judgements = dict[str, dict[str, Answer]]
"""By question and document."""


def judgements(reading: Reading, file: Path) -> Judgements:
    """BEIR's lines (query-id, corpus-id, score; a header) or TREC's (qid, Q0, docid, grade)."""
    found: Judgements = {}
    for place, (question, document, grade) in columns(reading, file, _judgement):
        if grade is not None:
            found.setdefault(question, {})[document] = Answer(grade, place)
    return found


def _judgement(cells: list[str]) -> tuple[str, str, int | None]:
    cells = cells if len(cells) > 1 else cells[0].split()
    if len(cells) == 4:
        cells = [cells[0], *cells[2:]]
    if [cell.replace("_", "-") for cell in cells] == ["query-id", "corpus-id", "score"]:
        return "", "", None
    try:
        question, document, grade = cells
        return normal(question), normal(document), int(grade)
    except ValueError:
        raise Bad(
            "expected query-id, corpus-id and score with tabs in between, or TREC's qid, Q0, docid "
            f"and a whole number; found {' '.join(cells)[:80]!r}"
        ) from None


def titled(name: str) -> Callable[[Record], tuple[str, str]]:
    """Reads a document: its id, and its text behind its title."""

    def parse(record: Record) -> tuple[str, str]:
        return key(record, name), with_title(record)

    return parse


def with_title(record: Record) -> str:
    """A document's text, behind its title where it has one."""
    parts = [record.get("title") or "", record.get("text")]
    given = [part for part in parts if isinstance(part, str) and part.strip()]
    if not isinstance(parts[1], str) or not given:
        raise Bad("expected a document with title and text, one not empty")
    return normal(" ".join(given))


def collection(reading: Reading, parts: Sequence[Part], parallel: bool) -> Collection:
    """All documents, and the questions with an answer. Where parallel, questions of one id have
    the answers of all languages."""
    answers: Answers = {}
    names: list[dict[str, str]] = []
    for part in parts:
        judged = judgements(reading, part.judgements)
        names.append({name: name if parallel else f"{part.lang}:{name}" for name in judged})
        holds = _holders(part, judged)
        for name, documents in judged.items():
            right = answers.setdefault(names[-1][name], {})
            for document, answer in documents.items():
                if answer.grade > 0:
                    right |= {(lang, document): answer for lang in holds(document)}
    corpora = {id(corpus): corpus for part in parts for corpus in part.corpora}

    def questions() -> Iterator[Placed]:
        for part, known in zip(parts, names, strict=True):
            for place, (name, text) in part.questions(reading):
                if name in known:
                    yield place, Text(known[name], part.lang, text)

    def passages() -> Iterator[Placed]:
        for corpus in corpora.values():
            for place, (name, text) in corpus.documents(reading):
                yield place, Text(name, corpus.lang, text)

    return collect(reading, questions(), passages(), answers)


def _holders(part: Part, judged: Judgements) -> Callable[[str], Sequence[str]]:
    """Says in which languages a document is there; its first corpus's, where it is not."""
    if len({corpus.lang for corpus in part.corpora}) == 1:
        return lambda document: [part.corpora[0].lang]
    wanted = {document for documents in judged.values() for document in documents}
    held: dict[str, list[str]] = {}
    later = Reading(skip_bad=sys.maxsize)  # bad lines are told when the documents are kept
    for corpus in part.corpora:
        for _, (name, _) in corpus.documents(later):
            if name in wanted:
                held.setdefault(name, []).append(corpus.lang)
    return lambda document: held.get(document) or [part.corpora[0].lang]


def pairs(reading: Reading, parts: Sequence[Part], parallel: bool) -> Iterator[Pair]:
    """Every question with every document that answers it; those judged wrong are negatives."""
    for part in parts:
        foreign = [corpus.lang for corpus in part.corpora if corpus.lang != part.lang]
        if foreign:
            raise UserError(
                f"{part.judgements}: its questions are in {part.lang}, its documents in "
                f"{', '.join(foreign)}; a training pair is in one language, so this can only be "
                "evaluated on"
            )
        judged = judgements(reading, part.judgements)
        texts = _texts(reading, part, judged)
        for _, (name, text) in part.questions(reading):
            uid = name if parallel else f"{part.lang}:{name}"
            yield from _pairs(reading, part.lang, uid, text, judged.get(name, {}), texts)


def _texts(reading: Reading, part: Part, judged: Judgements) -> dict[str, str]:
    """The documents that were judged, by id."""
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
    reading: Reading,
    lang: str,
    uid: str,
    question: str,
    judged: Mapping[str, Answer],
    texts: Mapping[str, str],
) -> Iterator[Pair]:
    wrong = [texts[name] for name, answer in judged.items() if answer.grade <= 0 and name in texts]
    for name, answer in judged.items():
        if answer.grade > 0 and name in texts:
            yield Pair(f"{uid}:{name}", lang, question, texts[name], wrong, answer.place)
        elif answer.grade > 0:
            reading.refuse(
                reading.where(answer.place),
                f"document {name} ({lang}) is not there; add its file, or take out the line",
            )


def the_split(reading: Reading, splits: Sequence[str], usual: str, where: str) -> str:
    """The split of the option, else the usual one, else the only one."""
    there = sorted(set(splits))
    wanted = reading.options.get("split") or (usual if usual in there else "")
    if not wanted and len(there) == 1:
        return there[0]
    if wanted not in there:
        told = f"no split {wanted!r}{nearest(wanted, there)}" if wanted else "which split?"
        raise UserError(f"{where}: {told} (option split={'|'.join(there)})")
    return wanted
