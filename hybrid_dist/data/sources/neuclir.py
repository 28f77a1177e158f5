"""NeuCLIRBench: topics in four languages, news in three, graded judgements for each pool."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources import judged
from hybrid_dist.data.sources.judged import Corpus, Named, Part, judged_in, titled
from hybrid_dist.data.sources.lines import column, columns, records
from hybrid_dist.data.sources.paths import find
from hybrid_dist.data.sources.source import (
    Source,
    check_languages,
    language_of,
    wanted_languages,
)
from hybrid_dist.errors import UserError, nearest

QUERIES = r"(?:.*/)?news\.(?P<code>[a-z]{3})\.tsv"
QRELS = r"(?:.*/)?qrels\.(?P<pool>[a-z]{3,4})\.gains\.txt"
CORPUS = r"(?:.*/)?(?P<code>[a-z]{3})-\d+-of-\d+\.(?:jsonl|parquet)"
EXPECTED = "news.eng.tsv, ... and qrels.mlir.gains.txt, ... of neuclir/bench"
EXPECTED_CORPUS = (
    "fas-00000-of-00001.jsonl.gz, ... of neuclir/neuclir1; give its folder by the option corpus"
)
ALL = "mlir"
"""The pool of all languages."""


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """Topics in all languages, and the documents of one language or of all."""
    pool = reading.options.get("pool", ALL)
    qrels = {match["pool"]: file for file, match in find(paths, QRELS, EXPECTED)}
    if pool not in qrels:
        raise UserError(
            f"option pool={pool}: no such judgements{nearest(pool, qrels)} "
            f"(known: {', '.join(sorted(qrels))})"
        )
    corpora = _corpora(paths, reading, pool)
    topics = {
        language_of(reading, match["code"], file): file
        for file, match in find(paths, QUERIES, EXPECTED)
    }
    check_languages(reading, topics, ", ".join(paths))
    only = wanted_languages(reading)
    judgements, where = judged_in(qrels[pool]), str(qrels[pool])
    parts = [
        Part(lang, _topics(file), judgements, corpora, where)
        for lang, file in topics.items()
        if only is None or lang in only
    ]
    return judged.collection(reading, parts)


def _corpora(paths: Sequence[str], reading: Reading, pool: str) -> tuple[Corpus, ...]:
    given = reading.options.get("corpus")
    where = paths if given is None else [given]
    files: dict[str, list[Path]] = {}
    for file, match in find(where, CORPUS, EXPECTED_CORPUS):
        if pool in (ALL, match["code"]):
            files.setdefault(language_of(reading, match["code"], file), []).append(file)
    if not files:
        raise UserError(f"{', '.join(where)}: no documents of {pool}; expected {EXPECTED_CORPUS}")
    return tuple(Corpus(lang, _documents(some)) for lang, some in files.items())


def _documents(files: Sequence[Path]) -> Named:
    def read(reading: Reading) -> Iterator[tuple[int, tuple[str, str]]]:
        for file in files:
            yield from records(reading, file, titled("id"))

    return read


def _topics(file: Path) -> Named:
    return lambda reading: columns(
        reading, file, lambda cells: (column(cells, 0, "an id"), column(cells, 1, "a query"))
    )


SOURCE = Source(
    "neuclir",
    "NeuCLIRBench: news in three languages, topics in four, graded; to evaluate on",
    "news.eng.tsv, ... (id, query), qrels.mlir.gains.txt, ... (TREC's four columns), "
    "fas-*.jsonl or .parquet, ... (id, title, text)",
    collection=collection,
    options={
        "pool": f"{ALL} for the documents of all languages, the usual one, or fas, rus or zho",
        "corpus": "where the documents are, if elsewhere: a folder, or hf://neuclir/neuclir1",
        "languages": "topics in these only, as in languages=eng",
    },
)
