"""MTEB's retrieval data: passages, queries and judgements by subset, as tables joined by id."""

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.reading import Collection, Reading, Subset, short
from hybrid_dist.data.sources import judged
from hybrid_dist.data.sources.collecting import blocks
from hybrid_dist.data.sources.judged import Corpus, Judgements, Named, Part
from hybrid_dist.data.sources.lines import BadRecord, Record, T, key, nfc, parsed, text
from hybrid_dist.data.sources.mteb_files import Snapshot, Table, languages_of
from hybrid_dist.data.sources.source import Source, yes_or_no
from hybrid_dist.data.tables.table_files import one_of
from hybrid_dist.data.tables.table_rows import read_columns
from hybrid_dist.data.text_sequence import Texts
from hybrid_dist.errors import UserError

IGNORE = "ignore_identical_ids"
"""MTEB's name for it."""
JUDGED = ("query-id", "corpus-id", "score")
TEXT = ("_id", "id", "title", "instruction")
"""Columns that tables of texts may have beside `text`."""


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Every query with each relevant passage; those judged 0 or less are negatives."""
    parts = _parts(paths, reading, _passage, "train")
    return blocks(judged.pairs(reading, parts))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """All passages, and the queries of a split. Passages without text stay in the pool."""
    empty: dict[str, None] = {}

    def parse(record: Record) -> tuple[str, str]:
        if _is_blank(record.get("text")) and _is_blank(record.get("title") or ""):
            empty[_id(record)] = None
            return _id(record), ""
        return _passage(record)

    result = judged.collection(reading, _parts(paths, reading, parse, "test"))
    if empty:
        reading.notes.append(f"{len(empty):,} passages have no text; they stay in the pool")
    if yes_or_no(reading, IGNORE):
        result = replace(result, excluded=_identical(result))
    for subset in result.subsets:
        if subset.unanswered:
            reading.notes.append(
                f"{subset.unanswered:,} judged queries of subset {subset.name} without a relevant "
                "passage, which MTEB counts as 0"
            )
    return result


def _identical(result: Collection) -> np.ndarray:
    """[queries]: the passage with the query's id in the pool of its subset, or -1."""
    queries, passages = (
        side if isinstance(side, Texts) else Texts.of(side)
        for side in (result.queries, result.passages)
    )
    names, langs = queries.column("id"), queries.column("lang")
    excluded = np.full(len(queries), -1)
    for subset in result.subsets:
        own = pc.and_(pc.starts_with(names, subset.prefix), pc.equal(langs, subset.query_lang))
        rows = np.flatnonzero(own.to_numpy())
        wanted = pc.utf8_slice_codeunits(names.take(pa.array(rows)), len(subset.prefix))
        pool = np.flatnonzero(pc.equal(passages.column("lang"), subset.passage_lang).to_numpy())
        found = pc.index_in(wanted, passages.column("id").take(pa.array(pool)))
        is_there = found.is_valid().to_numpy()
        excluded[rows[is_there]] = pool[found.drop_null().to_numpy()]
    return excluded


def _parts(
    paths: Sequence[str],
    reading: Reading,
    passage: Callable[[Record], tuple[str, str]],
    usual: str,
) -> list[Part]:
    """The chosen subsets. `usual`: the split where none is given."""
    if len(paths) != 1:
        raise UserError(f"mteb: give one folder, given {', '.join(paths)}")
    snapshot = Snapshot.of(paths[0])
    names = snapshot.subsets(reading.options.get("subset"))
    parallel = yes_or_no(reading, "parallel")
    if parallel and yes_or_no(reading, IGNORE):
        raise UserError(f"mteb: options parallel and {IGNORE}: give one of the two")
    corpora: dict[tuple[str, ...], Corpus] = {}
    parts = []
    crossed: list[str] = []
    for name in names:
        split = _split(reading, snapshot, name, usual)
        query_lang, lang = languages_of(reading, snapshot, name)
        if query_lang != lang and "language" not in reading.options:
            crossed.append(f"subset {name}: passages in {lang}, queries in {query_lang}")
        qrels = snapshot.table(name, "qrels", split, others=False)
        table = snapshot.table(name, "corpus", split)
        corpus = corpora.setdefault(
            (lang, *map(str, table.files)), Corpus(lang, _reader(table, ("text",), passage))
        )
        prefix = "" if parallel or len(names) == 1 else f"{name}:"
        subset = Subset(name, split, query_lang, lang, prefix, revision=snapshot.revision)
        queries = _queries(reading, snapshot, name, split)
        parts.append(
            Part(query_lang, queries, _judgements(qrels), (corpus,), qrels.where, prefix, subset)
        )
        if snapshot.find(name, "top_ranked"):
            reading.notes.append(f"candidates of {name} (top_ranked): all passages are searched")
    if crossed:
        others = f" (and {len(crossed) - 1:,} more like it)" if crossed[1:] else ""
        reading.notes.append(f"{crossed[0]}{others}; language=QUERIES,PASSAGES if not")
    if parallel and len(names) > 1:
        judged.check_parallel(reading, parts, "leave the option parallel=yes out")
    return own_pools(paths[0], parts)


def _split(reading: Reading, snapshot: Snapshot, subset: str, usual: str) -> str:
    """The split of the option, otherwise the usual one; to evaluate, otherwise the only one."""
    given = reading.options.get("split")
    splits = list(snapshot.find(subset, "qrels") or {})
    if given is None and splits != [""] and (usual == "train" or usual in splits):
        return usual
    return one_of(f"{snapshot.path}, qrels of subset {subset}", "split", given, splits)


def _reader(
    table: Table, needed: Sequence[str], parse: Callable[[Record], T]
) -> Callable[[Reading], Iterator[tuple[int, T]]]:
    """Reads places and `parse` results of a table's rows."""

    def read(reading: Reading) -> Iterator[tuple[int, T]]:
        for file in table.files:
            yield from parsed(reading, file, read_columns(reading, file, needed, TEXT), parse)

    return read


def _judgements(table: Table) -> Callable[[Reading], Judgements]:
    rows = _reader(table, JUDGED, _judgement)
    return lambda reading: judged.judgements(reading, rows(reading), table.where)


def _judgement(record: Record) -> tuple[str, str, int]:
    grade = judged.grade(record.get("score"), "score")
    return key(record, "query-id"), key(record, "corpus-id"), grade


def _is_blank(given: Any) -> bool:
    return isinstance(given, str) and not given.strip()


def _passage(record: Record) -> tuple[str, str]:
    return _id(record), judged.with_title(record).strip()


def _queries(reading: Reading, snapshot: Snapshot, subset: str, split: str) -> Named:
    """The queries, each with its instruction behind it, as MTEB joins them."""
    wanted = yes_or_no(reading, "instructions") is not False
    given: dict[str, str | None] = {}
    if wanted and snapshot.find(subset, "instruction"):
        table = snapshot.table(subset, "instruction", split)
        read = _reader(table, ("query-id", "instruction"), _instruction)
        given = dict(item for _, item in read(reading))

    def parse(record: Record) -> tuple[str, str]:
        name = _id(record)
        instruction = given.get(name, record.get("instruction")) if wanted else None
        if not isinstance(instruction, str | None):
            raise BadRecord(f"expected a text as 'instruction', found {short(instruction)}")
        turns = record.get("text")
        if isinstance(turns, list):
            return name, nfc(" ".join(filter(None, (instruction, _conversation(turns)))))
        return name, nfc(" ".join(filter(None, (text(record, "text"), instruction))))

    return _reader(snapshot.table(subset, "queries", split), ("text",), parse)


def _instruction(record: Record) -> tuple[str, str | None]:
    given = record.get("instruction")
    return key(record, "query-id"), None if given is None else text(record, "instruction")


def _conversation(turns: Sequence[Any]) -> str:
    """A query of several turns as one text: `role: content; role: content`."""
    said = [
        f"{turn.get('role')}: {turn.get('content')}" if isinstance(turn, Mapping) else turn
        for turn in turns
    ]
    if not said or not all(isinstance(one, str) for one in said):
        raise BadRecord(f"expected a text, or a list of turns, as 'text', found {short(turns)}")
    return "; ".join(said)


def _id(record: Record) -> str:
    return key(record, "_id" if "_id" in record or "id" not in record else "id")


def own_pools(path: str, parts: Sequence[Part]) -> list[Part]:
    """The parts with a pool each: subsets of one language have the same passages, or separate pools
    of languages such as `en-x-android`."""
    held: dict[str, dict[int, Part]] = {}
    for part in parts:
        held.setdefault(part.corpora[0].lang, {}).setdefault(id(part.corpora[0]), part)
    corpora: dict[int, Corpus] = {}
    for lang, firsts in held.items():
        equal: dict[tuple[int, int], list[Part]] = {}
        for part in firsts.values():
            content = _content(part.corpora[0]) if len(firsts) > 1 else (0, 0)
            equal.setdefault(content, []).append(part)
        names = {_own_name(lang, some[0]) for some in equal.values()}
        if len(names) < len(equal):
            raise UserError(
                f"{path}: the names of its subsets differ in letters that a language tag cannot "
                "have; evaluate them one by one"
            )
        for some in equal.values():
            name = lang if len(equal) == 1 else _own_name(lang, some[0])
            shared = replace(some[0].corpora[0], lang=name)
            corpora |= {id(part.corpora[0]): shared for part in some}
    return [_with_pool(part, corpora[id(part.corpora[0])]) for part in parts]


def _with_pool(part: Part, corpus: Corpus) -> Part:
    is_own = part.lang == part.corpora[0].lang
    lang = corpus.lang if is_own else part.lang
    subset = part.subset and replace(part.subset, query_lang=lang, passage_lang=corpus.lang)
    return replace(part, lang=lang, corpora=(corpus,), subset=subset)


def _own_name(lang: str, part: Part) -> str:
    name = part.subset.name.lower() if part.subset else ""
    return "-".join([lang, "x", *re.findall("[a-z0-9]{1,8}", name)])


def _content(corpus: Corpus) -> tuple[int, int]:
    """A number that corpora with the same passages have in common, and how many there are."""
    later = Reading(skip_bad=sys.maxsize)  # bad lines are reported when the passages are kept
    total = count = 0
    for _, (name, passage) in corpus.documents(later):
        digest = hashlib.blake2b(f"{name}\0{passage}".encode(), digest_size=16).digest()
        total += int.from_bytes(digest, "little")
        count += 1
    return total % (1 << 128), count


SOURCE = Source(
    "mteb",
    "retrieval data of MTEB and of BEIR as MTEB has it, also WebFAQ's; several subsets with subset",
    "configurations corpus (_id, title, text), queries (_id, text), qrels or default (query-id, "
    "corpus-id, score), perhaps instruction (query-id, instruction); of subsets: de-corpus, ...",
    pairs,
    collection,
    {
        "subset": "one, several (subset=de,fr) or all; the only one, or default",
        "split": "which judgements; test where there is one (to train: train)",
        "language": "of texts, if the subset's name does not tell it; of queries and passages: "
        "language=en,de",
        "parallel": "parallel=yes: queries of one id in several subsets are translations",
        IGNORE: f"{IGNORE}=yes: no query finds the passage of its own id, as in ArguAna and Quora",
        "instructions": "instructions=no: queries without their instructions",
    },
)
