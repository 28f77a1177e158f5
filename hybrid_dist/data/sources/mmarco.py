"""mMARCO: MS MARCO's passages and queries in 14 languages, parallel by id.

`collections/german_collection.tsv`, `queries/train/german_queries.train.tsv`, with MS MARCO's own
`triples.train.ids.small.tsv` and `qrels.*.tsv`. A collection is 8.8 million passages: texts stay in
the files and are read by the offsets of their lines.
"""

import mmap
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa

from hybrid_dist.data.blocks import BROKEN, open_decompressed
from hybrid_dist.data.languages import english_names
from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources import judged
from hybrid_dist.data.sources.collecting import Pair, blocks
from hybrid_dist.data.sources.completeness import is_allowed
from hybrid_dist.data.sources.judged import Corpus, Named, Part, only_split
from hybrid_dist.data.sources.lines import BadRecord, column, columns, nfc, parse_integer
from hybrid_dist.data.sources.paths import MatchedFile, find, local, search, without_compression
from hybrid_dist.data.sources.source import Source, check_languages, note_unjudged, wanted_languages
from hybrid_dist.errors import UserError, file_error, nearest
from hybrid_dist.runtime.files import DISK_IS_FULL, OTHER_TMPDIR, writing

COLLECTIONS = r"(?:.*/)?(?P<name>[a-z]+)_collection\.tsv"
QUERIES = r"(?:.*/)?(?P<name>[a-z]+)_queries\.(?P<split>[a-z.]+)\.tsv"
QRELS = r"(?:.*/)?qrels\.(?P<split>[a-z.]+)\.tsv"
TRIPLES = r"(?:.*/)?triples\.train\.ids(\.small)?\.tsv"
Triple = tuple[int, int, int | None]
"""Ids of a query, a relevant passage, and one that is not relevant."""
Parse = Callable[[list[str]], Triple | None]
EXPECTED = (
    "collections/german_collection.tsv, queries/train/german_queries.train.tsv (dev alike), and "
    "triples.train.ids.small.tsv or qrels.train.tsv"
)


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """The triples; the qrels if there are no triples, or if the option says so."""
    kind = reading.options.get("pairs")
    parse: Parse
    if kind not in (None, "triples", "qrels"):
        raise UserError(f"mmarco: option pairs={kind}: give triples or qrels")
    triples = [match.file for match in _beside(paths, TRIPLES)]
    if kind == "triples" and not triples:
        raise UserError(f"{', '.join(paths)}: no triples.train.ids.small.tsv in it or above it")
    judged_in = [f for f, match in _beside(paths, QRELS) if match["split"] == "train"]
    if kind == "triples" or (kind is None and triples):
        given, parse = triples[0], _triple
    elif judged_in:
        given, parse = judged_in[0], _qrel
    else:
        raise UserError(f"{', '.join(paths)}: no qrels.train.tsv in it or above it")
    return blocks(_pairs(paths, reading, given, parse))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """The judged queries in every language, and the whole collections."""
    where = ", ".join(paths)
    qrels = {match["split"]: file for file, match in _beside(paths, QRELS)}
    if not qrels:
        raise UserError(f"{where}: no qrels.dev.small.tsv in it or above it")
    split = only_split(reading, list(qrels), "dev.small", where)
    queries = _by_language(paths, reading, QUERIES, (split, split.partition(".")[0]))
    parts = []
    collections = _by_language(paths, reading, COLLECTIONS)
    note_unjudged(reading, queries, collections, "collection")
    for lang, file in collections.items():
        if lang not in queries:
            raise UserError(f"{file}: the queries of {split} are missing; expected {EXPECTED}")
        corpora = (Corpus(lang, _named(file)),)
        parts.append(Part.of_file(lang, _named(queries[lang]), qrels[split], corpora))
    return judged.collection(reading, parts)


def _beside(paths: Sequence[str], pattern: str) -> list[MatchedFile]:
    """Matching files in the folder or above it, where MS MARCO's own files are."""
    matches = list(search(paths, pattern))
    for above in () if matches else list(local(paths[0]).absolute().parents)[:2]:
        files = (str(file) for file in sorted(above.iterdir()) if file.is_file())
        matches += search(files, pattern)
    return matches


def _by_language(
    paths: Sequence[str], reading: Reading, pattern: str, splits: Sequence[str] = ()
) -> dict[str, Path]:
    """Files by language; of several splits, the first that a language has."""
    only = wanted_languages(reading)
    files: dict[str, dict[str, Path]] = {}
    for file, match in find(paths, pattern, EXPECTED):
        name = match["name"]
        if name not in english_names():
            known = ", ".join(english_names())
            raise UserError(
                f"{file}: unknown language {name!r}{nearest(name, english_names())} "
                f"(known: {known})"
            )
        reading.named[name] = lang = english_names()[name]
        split = match.groupdict().get("split", "")
        if split in files.setdefault(lang, {}):
            raise UserError(
                f"{file}: {files[lang][split]} is in {lang} too; name a folder of one translation"
            )
        files[lang][split] = file
    check_languages(reading, files, ", ".join(paths))
    chosen = {
        lang: next((by_split[s] for s in splits or [""] if s in by_split), None)
        for lang, by_split in files.items()
        if only is None or lang in only
    }
    return {lang: file for lang, file in chosen.items() if file is not None}


def _named(file: Path) -> Named:
    return lambda reading: columns(reading, file, _line)


def _line(cells: list[str]) -> tuple[str, str]:
    return column(cells, 0, "an id"), column(cells, 1, "a text")


def _triple(cells: list[str]) -> Triple:
    try:
        query, right, wrong = map(parse_integer, cells)
    except ValueError:
        raise BadRecord("expected ids of a query, a right and a wrong passage") from None
    return query, right, wrong


def _qrel(cells: list[str]) -> Triple | None:
    try:
        query, _, passage, grade = map(parse_integer, cells)
    except ValueError:
        raise BadRecord("expected the id of a query, 0, that of a passage, and a grade") from None
    return (query, passage, None) if grade > 0 else None


def _pairs(paths: Sequence[str], reading: Reading, given: Path, parse: Parse) -> Iterator[Pair]:
    """The pairs of one language after the other, in the order of the lines."""
    queries = _by_language(paths, reading, QUERIES, ("train",))
    for lang, file in _by_language(paths, reading, COLLECTIONS).items():
        if lang not in queries:
            raise UserError(f"{file}: its train queries are missing; expected {EXPECTED}")
        lost, first = 0, ""
        with TextFile(reading, queries[lang]) as query_texts, TextFile(reading, file) as passages:
            for place, triple in columns(reading, given, parse):
                if triple is None:
                    continue
                query, right, wrong = triple
                try:
                    query_text, passage_text = query_texts[query], passages[right]
                    negatives = [] if wrong is None else [passages[wrong]]
                except KeyError as error:
                    if is_allowed(reading):
                        lost, first = lost + 1, first or f"{reading.where(place)}: {error.args[0]}"
                    else:
                        reading.refuse(reading.where(place), str(error.args[0]))
                    continue
                uid = ":".join(str(part) for part in triple if part is not None)
                yield Pair(uid, lang, query_text, passage_text, negatives, place)
        if lost:
            reading.notes.append(f"{lost:,} lines name ids that are missing in {lang} ({first})")


class TextFile:
    """The texts of a file of `id <tab> text`, by id.

    They stay in the file, or in a temporary copy if it is compressed; 24 bytes a text are kept.
    """

    def __init__(self, reading: Reading, file: Path) -> None:
        self._file = file
        is_plain = without_compression(file.name) == file.name
        self._stream = file.open("rb") if is_plain else _uncompressed(file)
        if not self._stream.seek(0, 2):
            raise UserError(f"{file}:1: is empty; expected lines of an id, a tab and a text")
        self._bytes = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)
        ids, starts, numbers = array("q"), array("q"), array("q")
        start = 0
        for number, line in enumerate(iter(self._bytes.readline, b""), 1):
            try:
                name, _, text = line.decode().partition("\t")
                ids.append(parse_integer(name if text.strip() else ""))
                starts.append(start + len(name) + 1)
                numbers.append(number)
            except UnicodeDecodeError as error:
                reading.refuse(f"{file}:{number}", f"not UTF-8 ({error.reason})")
            except (ValueError, OverflowError):
                shown = f"found {line[:60].decode('utf-8', 'replace')!r}"
                reading.refuse(f"{file}:{number}", f"expected an id, a tab and a text, {shown}")
            start += len(line)
        order = np.argsort(ids, kind="stable")
        self._ids, self._starts = np.array(ids)[order], np.array(starts)[order]
        for place in np.flatnonzero(self._ids[1:] == self._ids[:-1]).tolist():
            if self._text(place) != self._text(place + 1):
                first, again = (numbers[order[p]] for p in (place, place + 1))
                reading.refuse(f"{file}:{again}", f"this id has other text than in line {first}")

    def __getitem__(self, name: int) -> str:
        if name.bit_length() > 63:
            raise KeyError(f"{name} is no id in {self._file}")
        place = int(np.searchsorted(self._ids, name))
        if place == len(self._ids) or self._ids[place] != name:
            raise KeyError(f"{name} is no id in {self._file}")
        return self._text(place)

    def _text(self, place: int) -> str:
        self._bytes.seek(int(self._starts[place]))
        return nfc(self._bytes.readline().decode().rstrip("\r\n"))

    def __enter__(self) -> "TextFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.close()
        self._stream.close()


def _uncompressed(file: Path) -> BinaryIO:
    copy = tempfile.TemporaryFile(prefix="hybrid_dist-")  # noqa: SIM115 - its TextFile closes it
    line = 1
    with writing(Path(tempfile.gettempdir()), cure=OTHER_TMPDIR):
        try:
            with open_decompressed(file) as stream:
                while piece := stream.read(1 << 20):
                    line += piece.count(b"\n")
                    copy.write(piece)
            copy.flush()
        except (*BROKEN, OSError) as error:
            if file_error(error) in DISK_IS_FULL:
                raise
            raise UserError(f"{file}:{line}: broken file ({error}); copy it again") from None
    return cast(BinaryIO, copy)


SOURCE = Source(
    "mmarco",
    "mMARCO: collections and queries in 14 languages, with MS MARCO's triples or qrels",
    "collections/*.tsv, queries/train/*.tsv, triples.train.ids.small.tsv or qrels.train.tsv",
    pairs,
    collection,
    {
        "pairs": "triples (the default where they are) or qrels",
        "split": "which qrels to evaluate on; dev.small where there are some",
        "languages": "read these only, as in languages=de,fr",
    },
)
